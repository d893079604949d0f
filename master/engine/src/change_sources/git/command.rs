//! Running `git` as a child process, with limits.
//!
//! Every call has a deadline, its output is capped, it never asks a human for anything, and it dies with the future
//! that waits for it: a hanging remote cannot hold a poller, and a reconfiguration stops a poll at once.

use std::{ffi::OsString, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

/// The most that one call may print on its standard output. `ls-remote` of a repository with a million references
/// is about 80 MB.
const MAX_STDOUT_BYTES: usize = 256 * 1024 * 1024;
/// How much of the standard error is kept for the message of a failure.
const MAX_STDERR_BYTES: usize = 16 * 1024;

/// Why a call to `git` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// The program could not be started or its pipes failed.
    #[error("run {program}")]
    Spawn {
        /// The program that was to run.
        program: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// It ended with a failure.
    #[error("run git {command}: {status}: {stderr}")]
    Failed {
        /// The sub-command, for example `fetch`.
        command: String,
        /// The exit status, in words.
        status: String,
        /// The head of its standard error.
        stderr: String,
    },
    /// It took longer than the limit and was killed.
    #[error("run git {command}: no result after {} s", limit.as_secs())]
    TimedOut {
        /// The sub-command.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// It printed more than is accepted.
    #[error("run git {command}: more than {limit_bytes} bytes of output")]
    TooMuchOutput {
        /// The sub-command.
        command: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// It printed something that cannot be understood.
    #[error("understand the output of git {command}: {detail}")]
    Malformed {
        /// The sub-command.
        command: String,
        /// What was wrong.
        detail: String,
    },
    /// The working directory could not be prepared.
    #[error("prepare the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// How to call `git`.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    /// The program, by name or path.
    pub(crate) program: PathBuf,
    /// The directory that calls run in.
    pub(crate) dir: PathBuf,
    /// Additional environment, for example `GIT_SSH_COMMAND`.
    pub(crate) env: Vec<(String, OsString)>,
    /// The limit for one call.
    pub(crate) limit: Duration,
}

impl Git {
    /// Runs `git ARGS` and gives what it printed.
    ///
    /// Cancel safe: yes, dropping the future kills the process.
    ///
    /// # Errors
    /// Every way in which the call can fail, see [`GitError`].
    pub(crate) async fn run(&self, args: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run_with_input(args, Vec::new()).await
    }

    /// As [`Git::run`], with `input` on the standard input.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub(crate) async fn run_with_input(&self, args: &[&str], input: Vec<u8>) -> Result<Vec<u8>, GitError> {
        let command = name_of(args);
        match tokio::time::timeout(self.limit, self.run_unlimited(&command, args, input)).await {
            Ok(result) => result,
            Err(_) => Err(GitError::TimedOut { command, limit: self.limit }),
        }
    }

    async fn run_unlimited(&self, command: &str, args: &[&str], input: Vec<u8>) -> Result<Vec<u8>, GitError> {
        let spawn_error = |source| GitError::Spawn { program: self.program.display().to_string(), source };
        let mut child = Command::new(&self.program)
            .args(args)
            .current_dir(&self.dir)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            // Never ask: there is nobody to answer.
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("LC_ALL", "C.UTF-8")
            // A poller must not be redirected by the environment that the master was started from.
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Its own group, so that a Ctrl-C at the terminal of the master is not also one for it.
            .process_group(0)
            .spawn()
            .map_err(spawn_error)?;
        let mut stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let feed = async {
            if let Some(mut pipe) = stdin.take() {
                // A process that ends without reading everything says so by its exit status.
                let _ = pipe.write_all(&input).await;
                let _ = pipe.shutdown().await;
            }
        };
        let (_, output, errors) =
            tokio::join!(feed, read_capped(stdout, MAX_STDOUT_BYTES), read_capped(stderr, MAX_STDERR_BYTES));
        let (output, cut) = output.map_err(spawn_error)?;
        let (errors, _) = errors.map_err(spawn_error)?;
        if cut {
            return Err(GitError::TooMuchOutput { command: command.to_owned(), limit_bytes: MAX_STDOUT_BYTES });
        }
        let status = child.wait().await.map_err(spawn_error)?;
        if status.success() {
            Ok(output)
        } else {
            Err(GitError::Failed {
                command: command.to_owned(),
                status: status.to_string(),
                stderr: String::from_utf8_lossy(&errors).trim().to_owned(),
            })
        }
    }
}

/// The sub-command among the arguments, for messages.
fn name_of(args: &[&str]) -> String {
    let mut skip = false;
    for arg in args {
        if skip {
            skip = false;
        } else if *arg == "-c" {
            skip = true;
        } else if !arg.starts_with('-') {
            return (*arg).to_owned();
        }
    }
    String::new()
}

/// Reads all, keeps at most `limit` bytes, and tells whether something was dropped. The pipe is read to its end, so
/// that the process is not blocked by a full pipe; the deadline of the call bounds that.
async fn read_capped(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<(Vec<u8>, bool), std::io::Error> {
    let Some(mut pipe) = pipe else {
        return Ok((Vec::new(), false));
    };
    let mut kept = Vec::new();
    (&mut pipe).take(limit as u64).read_to_end(&mut kept).await?;
    let mut rest = [0_u8; 8192];
    let mut cut = false;
    loop {
        if pipe.read(&mut rest).await? == 0 {
            return Ok((kept, cut));
        }
        cut = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subcommand_is_found_behind_options() {
        assert_eq!(name_of(&["-c", "a=b", "--no-pager", "fetch", "x"]), "fetch");
        assert_eq!(name_of(&[]), "");
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_killed() {
        let git = Git { program: "sleep".into(), dir: "/".into(), env: Vec::new(), limit: Duration::from_millis(50) };
        assert!(matches!(git.run(&["30"]).await, Err(GitError::TimedOut { .. })));
    }
}
