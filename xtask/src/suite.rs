//! `cargo xtask test`: everything that is tested, with all that it needs.

use std::process::Command;

use anyhow::Result;
use clap::Args;
use test_servers::{Postgres, RabbitMq};

use crate::command::{self, cargo};
use crate::setup;

/// What to test.
#[derive(Args, Default)]
pub(crate) struct TestArguments {
    /// Leave out the page: no npm, no browser.
    #[arg(long)]
    no_page: bool,
    /// Passed on to the Rust test runner: a filter, for example.
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Runs the tests: the page's own first, because it is embedded in the binary, then all of Rust's.
pub(crate) fn run(arguments: &TestArguments) -> Result<()> {
    setup::debian_packages()?;
    let venv = setup::buildbot_environment()?;
    let schemathesis = setup::schemathesis_environment()?;
    if !arguments.no_page {
        setup::page()?;
        setup::page_tests()?;
    }
    // The end-to-end tests start these programs; building them first also shows a compile error once, not per test.
    command::run(cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    // One server for the whole run: each test clones a database of its own from a template.
    let postgres = Postgres::start()?;
    // Tests that only need queues share this one: it takes seconds to come up.
    let rabbitmq = RabbitMq::start()?;
    let environment = |command: &mut Command| {
        command
            .env("BUILDGUILD_TEST_POSTGRES_URL", postgres.url("postgres"))
            .env("BUILDGUILD_TEST_RABBITMQ_URL", rabbitmq.url())
            .env("BUILDGUILD_BUILDBOT_VENV", &venv)
            .env("BUILDGUILD_SCHEMATHESIS_VENV", &schemathesis)
            .env("BUILDGUILD_TEST_PAGE", if arguments.no_page { "0" } else { "1" });
    };
    let mut tests = cargo();
    if cargo().args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success()) {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(&arguments.runner);
    } else {
        tests.args(["test", "--workspace", "--no-fail-fast", "--all-targets"]);
        if !arguments.runner.is_empty() {
            tests.arg("--").args(&arguments.runner);
        }
    }
    environment(&mut tests);
    command::run(&mut tests)?;
    if arguments.runner.is_empty() {
        let mut examples = cargo();
        examples.args(["test", "--workspace", "--doc", "--quiet"]);
        environment(&mut examples);
        command::run(&mut examples)?;
    }
    Ok(())
}
