//! The `buildguild-worker` binary: see [`buildguild_worker::cli`].

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    buildguild_worker::cli::main(buildguild_worker::cli::Cli::parse())
}
