//! Runs one program: for `shell`, and for the `rm` and `cp` of other commands.

mod env;
mod headers;
mod kill;
mod logfile;
mod run;
mod spawn;

use std::path::PathBuf;

use nix::sys::signal::Signal;
use worker_protocol::{LogFile, ShellArgs, ShellCommand, command::RunLimits};

pub(crate) use env::child_environment;
pub(crate) use run::run;

/// What is run, and how.
#[derive(Debug, Clone)]
pub(crate) struct ProcessSpec {
    pub(crate) command: ShellCommand,
    pub(crate) workdir: PathBuf,
    /// The whole environment of the program, sorted.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) timeout_secs: Option<f64>,
    pub(crate) max_time_secs: Option<f64>,
    pub(crate) max_lines: Option<u64>,
    pub(crate) sigterm_time_secs: Option<f64>,
    pub(crate) interrupt_signal: Signal,
    pub(crate) want_stdout: bool,
    pub(crate) want_stderr: bool,
    pub(crate) logfiles: Vec<LogFile>,
    pub(crate) use_pty: bool,
    pub(crate) log_environ: bool,
    pub(crate) initial_stdin: Option<String>,
    /// Send the exit code before the `elapsedTime` header. Commands that run several programs send their own.
    pub(crate) send_rc: bool,
    /// An interrupt kills the program. `rm` and `cp` run to their end.
    pub(crate) interruptible: bool,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The exit code, -1 if a signal ended it.
    pub(crate) rc: i32,
    /// A failure of the worker itself, for `complete`.
    pub(crate) failure: Option<String>,
}

impl ProcessSpec {
    /// For `shell`.
    pub(crate) fn shell(args: ShellArgs, env: Vec<(String, String)>) -> Self {
        let interrupt_signal = parse_signal(&args.interrupt_signal);
        Self {
            command: args.command,
            workdir: args.workdir.into(),
            env,
            timeout_secs: args.timeout_secs,
            max_time_secs: args.max_time_secs,
            max_lines: args.max_lines,
            sigterm_time_secs: args.sigterm_time_secs,
            interrupt_signal,
            want_stdout: args.want_stdout,
            want_stderr: args.want_stderr,
            logfiles: args.logfiles,
            use_pty: args.use_pty,
            log_environ: args.log_environ,
            initial_stdin: args.initial_stdin,
            send_rc: true,
            interruptible: true,
        }
    }

    /// For a program that does a command's work.
    pub(crate) fn helper(argv: &[&str], workdir: PathBuf, env: Vec<(String, String)>, limits: &RunLimits) -> Self {
        Self {
            command: ShellCommand::Argv(argv.iter().map(|arg| (*arg).to_owned()).collect()),
            workdir,
            env,
            timeout_secs: limits.timeout_secs,
            max_time_secs: limits.max_time_secs,
            max_lines: None,
            sigterm_time_secs: None,
            interrupt_signal: Signal::SIGKILL,
            want_stdout: true,
            want_stderr: true,
            logfiles: Vec::new(),
            use_pty: false,
            log_environ: limits.log_environ,
            initial_stdin: None,
            send_rc: false,
            interruptible: false,
        }
    }
}

/// A signal's name without `SIG`. An unknown one becomes KILL: the command must die in any case.
fn parse_signal(name: &str) -> Signal {
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    full.parse().unwrap_or_else(|_| {
        tracing::warn!(signal = name, "unknown interrupt signal, KILL is used");
        Signal::SIGKILL
    })
}
