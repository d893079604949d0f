//! `cargo xtask chaos`: the long runs against a cluster of real processes.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::command::{self, cargo};
use crate::setup;

/// Which run.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ChaosArguments {
    #[command(subcommand)]
    what: Option<What>,
    /// A storm: faults at random for so long with each broker, and then nothing may differ from a calm run.
    #[arg(long, default_value = "30")]
    minutes: String,
    /// Repeats the choice of faults.
    #[arg(long, default_value = "1")]
    seed: String,
    /// Passed on: `--changes N`, `--brokers memory,redis,rabbit-mq`, `--report FILE`.
    #[arg(last = true)]
    further: Vec<String>,
}

#[derive(Subcommand)]
enum What {
    /// Measures how long it takes until another master does what a killed one did.
    Takeover {
        /// How many kills, for each clock.
        #[arg(long, default_value = "20")]
        kills: String,
        /// By how much the clock of one replica is wrong, for example `right,+5m,-5m`; needs Debian's `faketime`.
        #[arg(long, allow_hyphen_values = true)]
        skew: Option<String>,
        /// Passed on: `--broker NAME`, `--report FILE`.
        #[arg(last = true)]
        further: Vec<String>,
    },
}

/// Builds the programs, and runs.
pub(crate) fn run(arguments: &ChaosArguments) -> Result<()> {
    setup::debian_packages()?;
    command::run(cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let mut run = cargo();
    run.args(["run", "--quiet", "--package", "integration", "--bin", "chaos", "--"]);
    match &arguments.what {
        None => {
            run.args(["storm", "--minutes", &arguments.minutes, "--seed", &arguments.seed]).args(&arguments.further);
        }
        Some(What::Takeover { kills, skew, further }) => {
            run.args(["takeover", "--kills", kills]);
            if let Some(skew) = skew {
                setup::faketime()?;
                run.arg(format!("--skew={skew}"));
            }
            run.args(further);
        }
    }
    command::run(&mut run)
}
