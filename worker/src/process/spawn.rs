//! Starts a program, on pipes or on a terminal, in a process group of its own.

use std::io;
use std::pin::Pin;
use std::process::Stdio;

use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use worker_protocol::ShellCommand;

use super::ProcessSpec;

pub(super) type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// A program that runs.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) pid: Pid,
    pub(super) stdout: Option<Reader>,
    pub(super) stderr: Option<Reader>,
    pub(super) stdin: Option<ChildStdin>,
}

/// The program and its arguments.
fn argv(command: &ShellCommand) -> Vec<&str> {
    match command {
        ShellCommand::Line(line) => vec!["/bin/sh", "-c", line],
        ShellCommand::Argv(argv) => argv.iter().map(String::as_str).collect(),
    }
}

/// Starts the program.
pub(super) fn spawn(spec: &ProcessSpec, use_pty: bool) -> io::Result<Spawned> {
    let argv = argv(&spec.command);
    let Some((program, args)) = argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "empty command"));
    };
    if use_pty { spawn_pty(spec, program, args) } else { spawn_pipes(spec, program, args) }
}

fn spawn_pipes(spec: &ProcessSpec, program: &str, args: &[&str]) -> io::Result<Spawned> {
    let mut command = tokio::process::Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&spec.workdir)
        .process_group(0)
        .stdin(if spec.initial_stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let pid = pid_of(&child)?;
    Ok(Spawned {
        pid,
        stdout: child.stdout.take().map(|out| Box::pin(out) as Reader),
        stderr: child.stderr.take().map(|err| Box::pin(err) as Reader),
        stdin: child.stdin.take(),
        child,
    })
}

/// On a terminal the child leads a session, and so a group, of its own.
fn spawn_pty(spec: &ProcessSpec, program: &str, args: &[&str]) -> io::Result<Spawned> {
    let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
    let child = pty_process::Command::new(program)
        .args(args)
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&spec.workdir)
        .spawn(pts)
        .map_err(|error| match error {
            pty_process::Error::Io(error) => error,
            other => io::Error::other(other),
        })?;
    let pid = pid_of(&child)?;
    Ok(Spawned { child, pid, stdout: Some(Box::pin(pty)), stderr: None, stdin: None })
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.map(Pid::from_raw).ok_or_else(|| io::Error::other("process has no id"))
}

/// Writes what the program is to read, and closes. A program that does not read it is no error.
pub(super) async fn write_stdin(mut stdin: ChildStdin, text: &str) {
    if let Err(error) = stdin.write_all(text.as_bytes()).await {
        tracing::debug!(%error, "program did not read all of its input");
    }
}
