//! The command line: the stock worker's commands and options.

mod create;
mod daemon;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::ShutdownBy;

/// `buildguild-worker`.
#[derive(Debug, Parser)]
#[command(name = "buildguild-worker", version, about = "Runs the commands of a Buildguild or Buildbot master")]
pub struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Make a worker's directory
    CreateWorker(Box<CreateArgs>),
    /// Start a worker
    Start(StartArgs),
    /// Stop a worker that runs in the background
    Stop(StopArgs),
    /// Stop a worker if it runs, then start it
    Restart(RestartArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The directory to make
    basedir: PathBuf,
    /// The master: HOST[:PORT], or ws://HOST[:PORT]/PATH, wss://HOST[:PORT]/PATH
    master: String,
    /// The worker's name
    name: String,
    /// The worker's password
    password: String,
    /// Use a directory that exists
    #[arg(short, long)]
    force: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for compatibility: directories can always be moved
    #[arg(short, long)]
    relocatable: bool,
    /// Seconds of silence after which the master is asked for a sign of life; 0 to not ask
    #[arg(short, long, default_value_t = 30)]
    keepalive: u64,
    /// The most seconds between attempts to connect
    #[arg(long, default_value_t = 300)]
    maxdelay: u64,
    /// End after that many failed attempts in a row
    #[arg(long, value_parser = none_or::<u32>)]
    maxretries: Option<Optional<u32>>,
    /// The permission bits that new files do not get, in octal
    #[arg(long, value_parser = none_or::<String>)]
    umask: Option<Optional<String>>,
    /// The number of processors to tell the master
    #[arg(long, value_parser = none_or::<u32>)]
    numcpus: Option<Optional<u32>>,
    /// Leave when the work is done: on SIGHUP, or when the file shutdown.stamp changes
    #[arg(short, long)]
    allow_shutdown: Option<ShutdownBy>,
    /// The protocol; this worker speaks msgpack_experimental_v7
    #[arg(long, default_value = "msgpack_experimental_v7")]
    protocol: String,
    /// Use TLS to the master
    #[arg(long)]
    use_tls: bool,
    /// A PEM file with the authority that signed the master's certificate
    #[arg(long)]
    tls_ca_file: Option<PathBuf>,
    /// Let the master delete directories that belong to none of its builders
    #[arg(long)]
    delete_leftover_dirs: bool,
    /// The master as a Twisted endpoint or a URL; overrides MASTER
    #[arg(long)]
    connection_string: Option<String>,
    /// The size in bytes at which the log file is rotated
    #[arg(short = 's', long, default_value_t = 10_000_000)]
    log_size: u64,
    /// How many old log files are kept
    #[arg(short = 'l', long, value_parser = none_or::<u32>)]
    log_count: Option<Optional<u32>>,
    /// Do not rotate the log file
    #[arg(short, long)]
    no_logrotate: bool,
}

#[derive(Debug, Args)]
struct StartArgs {
    /// The worker's directory
    #[arg(default_value = ".")]
    basedir: PathBuf,
    /// Stay in the foreground
    #[arg(long)]
    nodaemon: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// This is the background process itself
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, Args)]
struct StopArgs {
    /// The worker's directory
    #[arg(default_value = ".")]
    basedir: PathBuf,
    /// Let it finish its work first; does not wait for that
    #[arg(long)]
    graceful: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct RestartArgs {
    /// The worker's directory
    #[arg(default_value = ".")]
    basedir: PathBuf,
    /// Stay in the foreground
    #[arg(long)]
    nodaemon: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

/// A value that may be given as `None`, as the stock worker's options may.
#[derive(Debug, Clone)]
struct Optional<T>(Option<T>);

fn none_or<T: std::str::FromStr>(text: &str) -> Result<Optional<T>, String>
where
    T::Err: std::fmt::Display,
{
    if text == "None" {
        return Ok(Optional(None));
    }
    text.parse().map(|value| Optional(Some(value))).map_err(|error: T::Err| error.to_string())
}

fn flatten<T>(value: Option<Optional<T>>) -> Option<T> {
    value.and_then(|optional| optional.0)
}

/// Runs a command to its end.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.command {
        CliCommand::CreateWorker(args) => create::create(*args),
        CliCommand::Start(args) => start::start(&args.basedir, args.nodaemon, args.detached, args.quiet),
        CliCommand::Stop(args) => daemon::stop(&args.basedir, args.graceful, args.quiet).map(|()| ExitCode::SUCCESS),
        CliCommand::Restart(args) => daemon::stop(&args.basedir, false, args.quiet)
            .and_then(|()| start::start(&args.basedir, args.nodaemon, false, args.quiet)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("buildguild-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}
