//! The command line. One file for each group of commands.

mod checkconfig;
mod client;
mod cluster;
mod config_show;
mod create_master;
mod force;
mod lifecycle;
mod log;
mod report;
mod target;
mod upgrade_master;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::run;

/// A CI master that works with Buildbot's workers, scripts and configuration.
#[derive(Debug, Parser)]
#[command(name = "buildguild", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A master's directory.
#[derive(Debug, Args)]
pub(crate) struct Directory {
    /// The master's directory.
    #[arg(default_value = ".")]
    basedir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a directory for a new master, with a commented configuration.
    CreateMaster(create_master::CreateMaster),
    /// Create the database, or migrate it to this version.
    UpgradeMaster(upgrade_master::UpgradeMaster),
    /// Start the master.
    Start(lifecycle::Start),
    /// Stop the master.
    Stop(lifecycle::Stop),
    /// Stop the master and start it again.
    Restart(lifecycle::Restart),
    /// Let the running master load its configuration again; fails if it is refused.
    #[command(visible_alias = "sighup")]
    Reconfig(lifecycle::Reconfig),
    /// Check a farm config and report all that is wrong with it.
    Checkconfig(checkconfig::Checkconfig),
    /// The settings of this replica.
    #[command(subcommand)]
    Config(config_show::Config),
    /// Start a build of a builder.
    Force(force::ForceArgs),
    /// Wait for a build to end; the exit code tells its result.
    Wait(wait::WaitArgs),
    /// Print a step's log.
    Log(log::LogArgs),
    /// The masters of the cluster.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Evaluate configuration functions for a master. Started by the master itself.
    #[command(hide = true)]
    Evaluator,
}

/// Runs the command.
///
/// # Errors
/// What the user is told, if the command could not do its work.
pub(crate) fn dispatch(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::CreateMaster(command) => command.run(),
        Command::UpgradeMaster(command) => command.run(),
        Command::Start(command) => command.run(),
        Command::Stop(command) => command.run(),
        Command::Restart(command) => command.run(),
        Command::Reconfig(command) => command.run(),
        Command::Checkconfig(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Force(command) => command.run(),
        Command::Wait(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Cluster(command) => command.run(),
        Command::Evaluator => run::evaluator(),
    }
}
