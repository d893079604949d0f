//! `cargo xtask bench`: Buildguild and Buildbot measured in one run.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{self, cargo, root};
use crate::setup;

/// What to measure.
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// The load harness: a directory with `bench.py`.
    #[arg(long, env = "BUILDGUILD_BENCH_HARNESS")]
    harness: PathBuf,
    /// Where results go.
    #[arg(long, default_value = "bench-out")]
    out: PathBuf,
    /// The targets; `buildguild:sqlite` and so on stand for this project's driver.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "buildguild:sqlite,buildguild:postgres,buildbot:sqlite,buildbot:postgres"
    )]
    targets: Vec<String>,
    /// Passed on to the harness, for example `--scenarios 3r --builds 2000`; `integration/bench/run.py` lists the
    /// scenarios that are added to the harness's own.
    #[arg(last = true)]
    harness_arguments: Vec<String>,
}

/// Builds the release binary, runs the harness on each target one after the other, and prints the table.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let harness = std::fs::canonicalize(&arguments.harness)
        .with_context(|| format!("no load harness at {}", arguments.harness.display()))?;
    ensure!(harness.join("bench.py").is_file(), "{} has no bench.py", harness.display());
    setup::debian_packages()?;
    let venv = setup::buildbot_environment()?;
    setup::page()?;
    command::run(cargo().args(["build", "--release", "--bins"]))?;
    command::run(cargo().args(["build", "--release", "--package", "buildguild-db", "--example", "seed"]))?;
    let built = release_directory()?;
    let mut path = std::ffi::OsString::from(venv.join("bin"));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    std::fs::create_dir_all(&arguments.out)?;
    let out = std::fs::canonicalize(&arguments.out)?;
    let python = venv.join("bin/python");
    let ours = root().join("integration/bench");
    let driver = ours.join("buildguild.py");
    let mut results = Vec::new();
    for target in &arguments.targets {
        let (name, variant) = target.split_once(':').context("a target is NAME:VARIANT")?;
        let named = if name == "buildguild" { format!("{}:{variant}", driver.display()) } else { target.clone() };
        command::run(
            Command::new(&python)
                .arg(ours.join("run.py"))
                .arg(&named)
                .arg("--out")
                .arg(&out)
                .args(&arguments.harness_arguments)
                .env("PATH", &path)
                .env("BUILDGUILD_BENCH_HARNESS", &harness)
                .env("BUILDGUILD_TOOLS", &built)
                .env("BUILDGUILD_BIN", built.join("buildguild"))
                .env("BUILDGUILD_SEED", built.join("examples/seed")),
        )?;
        results.push(out.join(format!("{name}-{variant}")));
    }
    command::run(Command::new(&python).arg(harness.join("report.py")).args(results))
}

fn release_directory() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf().join("release"))
}
