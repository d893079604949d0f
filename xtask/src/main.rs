#![doc = include_str!("../README.md")]

mod bench;
mod chaos;
mod command;
mod demo;
mod lint;
mod setup;
mod suite;
mod tidy;

use clap::{Parser, Subcommand};

/// Developer commands of Buildguild.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start a complete Buildguild and say what to try.
    Demo(demo::DemoArguments),
    /// Run all tests.
    Test(suite::TestArguments),
    /// Check formatting, lints, documentation and the project's own rules.
    Lint,
    /// Run lint and test.
    Ci,
    /// Measure Buildguild against Buildbot.
    Bench(bench::BenchArguments),
    /// Break a cluster on purpose for a long time, or measure take-overs.
    Chaos(chaos::ChaosArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => suite::run(&arguments),
        Task::Lint => lint::run(),
        Task::Ci => {
            lint::run()?;
            suite::run(&suite::TestArguments::default())
        }
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Chaos(arguments) => chaos::run(&arguments),
    }
}
