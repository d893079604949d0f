//! One evaluator process, seen from the master.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::EvaluatorOptions;
use super::protocol::{Answer, MAX_MESSAGE_BYTES, Request};

/// How long a new process may take to say that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// What a config prints is logged up to this length of a line.
const MAX_PRINTED_BYTES: u64 = 8 * 1024;

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// It took too long; the process is killed.
    TimedOut,
    /// The process was dead before it could have read the request.
    Stale,
    /// The process died while it worked.
    Died(String),
}

/// A running evaluator.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// The versions that it has loaded, as far as the master knows.
    pub(super) loaded: HashSet<String>,
    /// How long the longest load took here.
    pub(super) costliest_load: Duration,
}

impl Process {
    /// Starts a process and sets its limits.
    pub(super) async fn start(options: &EvaluatorOptions) -> Result<Self, String> {
        let mut child = Command::new(&options.program)
            .args(&options.args)
            // Nothing of the master's environment may reach a config but through `env()`.
            .env_clear()
            // An allocator that reserves a gigabyte at once leaves nothing of the limit, and says nothing of what is used.
            .env("MIMALLOC_ARENA_RESERVE", "32768")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{}: {e}", options.program.display()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("its pipes are missing".to_owned());
        };
        // Ends with the process: its end of the pipe is then closed.
        tokio::spawn(log_prints(stderr));
        let mut process = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            loaded: HashSet::new(),
            costliest_load: Duration::ZERO,
        };
        let limits = Request::Limits { memory_bytes: options.memory_limit_bytes };
        match process.exchange(&limits, START_TIMEOUT).await {
            Ok(Answer::Ready) => Ok(process),
            Ok(_) => Err("it does not speak the evaluator's protocol".to_owned()),
            Err(ExchangeError::TimedOut) => Err("it does not answer".to_owned()),
            Err(ExchangeError::Stale) => Err("it ended at once".to_owned()),
            Err(ExchangeError::Died(why)) => Err(why),
        }
    }

    /// Sends a request and waits for its answer. After an error the process is of no more use.
    /// Cancel safe: no; drop the process if this future is dropped.
    pub(super) async fn exchange(&mut self, request: &Request, limit: Duration) -> Result<Answer, ExchangeError> {
        let began = Instant::now();
        match tokio::time::timeout(limit, self.talk(request)).await {
            Ok(Ok(answer)) => {
                if matches!(request, Request::Load { .. }) {
                    self.costliest_load = self.costliest_load.max(began.elapsed());
                }
                Ok(answer)
            }
            Ok(Err(e)) => Err(self.cause_of_death(&e).await),
            Err(_) => {
                // The process is killed here and reaped by the runtime.
                let _ = self.child.start_kill();
                Err(ExchangeError::TimedOut)
            }
        }
    }

    async fn talk(&mut self, request: &Request) -> std::io::Result<Answer> {
        let body = serde_json::to_vec(request)?;
        let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
        self.stdin.write_all(&length.to_be_bytes()).await.map_err(stale)?;
        self.stdin.write_all(&body).await.map_err(stale)?;
        self.stdin.flush().await.map_err(stale)?;
        let length = self.stdout.read_u32().await? as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(std::io::Error::other("its answer is too long"));
        }
        let mut body = vec![0; length];
        self.stdout.read_exact(&mut body).await?;
        super::protocol::decode(&body).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
    }

    async fn cause_of_death(&mut self, error: &std::io::Error) -> ExchangeError {
        use std::os::unix::process::ExitStatusExt as _;
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return ExchangeError::Stale;
        }
        if error.kind() != std::io::ErrorKind::UnexpectedEof {
            let _ = self.child.start_kill();
            return ExchangeError::Died(format!("its answer cannot be read: {error}"));
        }
        // Its end of the pipe is closed, so it has ended or is about to.
        match self.child.wait().await {
            Ok(status) => match status.signal() {
                Some(nix::libc::SIGABRT) => {
                    ExchangeError::Died("out of memory (the setting evaluator.memory_limit_mb), or aborted".to_owned())
                }
                Some(nix::libc::SIGSEGV) => ExchangeError::Died("stack overflow, or worse".to_owned()),
                Some(signal) => ExchangeError::Died(format!("signal {signal}")),
                None => ExchangeError::Died(format!("{error}; {status}")),
            },
            Err(e) => ExchangeError::Died(e.to_string()),
        }
    }
}

/// A failure to write means that the process was gone already, whatever the system calls it.
fn stale(error: std::io::Error) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::BrokenPipe, error)
}

/// Logs what a config prints, line by line, in pieces of a bounded length.
async fn log_prints(stderr: tokio::process::ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_PRINTED_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                tracing::info!(target: "buildguild_config::print", "{}", String::from_utf8_lossy(&line).trim_end())
            }
        }
    }
}
