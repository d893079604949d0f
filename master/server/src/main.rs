#![doc = include_str!("../README.md")]

mod basedir;
mod cli;
mod run;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// A master runs for months with bursts of builds and logs: this allocator gives memory back after them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("buildguild: {error:#}");
            ExitCode::FAILURE
        }
    }
}
