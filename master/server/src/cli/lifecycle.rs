//! `start`, `stop`, `restart` and `reconfig`.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::Directory;
use crate::basedir::Basedir;
use crate::run;

/// Between two looks at a file or a process.
const POLL: Duration = Duration::from_millis(20);

/// `buildguild start`
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    directory: Directory,
    /// Stay in the foreground and log to standard output.
    #[arg(long)]
    nodaemon: bool,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
    /// How many seconds to wait for the master to be ready.
    #[arg(long = "start_timeout", alias = "start-timeout", default_value_t = 60)]
    start_timeout_secs: u64,
    /// In the background: log to the master's own file. Set by `start` itself.
    #[arg(long, hide = true)]
    log_to_file: bool,
}

impl Start {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let basedir = Basedir::open(&self.directory.basedir)?;
        if self.nodaemon || self.log_to_file {
            return run::master(&basedir, self.log_to_file);
        }
        start_in_background(&basedir, Duration::from_secs(self.start_timeout_secs))?;
        if !self.quiet {
            println!("The master is running; its log is {}.", basedir.log_file().display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Starts a process of its own for the master and waits until that says how the start went.
fn start_in_background(basedir: &Basedir, timeout: Duration) -> Result<()> {
    use std::os::unix::process::CommandExt;

    if let Some(pid) = basedir.running() {
        bail!("a master runs in {} already (process {pid})", basedir.path().display());
    }
    // What goes wrong before the log file is open.
    let early = basedir.path().join("buildguild.start");
    let errors = std::fs::File::create(&early).with_context(|| format!("cannot write {}", early.display()))?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("start")
        .arg("--log-to-file")
        .arg(basedir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        // A process group of its own: Ctrl-C in this terminal is not meant for it.
        .process_group(0)
        .spawn()
        .context("cannot start a process for the master")?;
    let started = await_start(basedir, &mut child, timeout);
    let said = std::fs::read_to_string(&early).unwrap_or_default();
    let _ = std::fs::remove_file(&early);
    let said = said.trim().trim_start_matches("buildguild: ").to_owned();
    match started {
        // What the new process said is mostly why it ended, which is in its state as well.
        Err(error) if !said.is_empty() && !said.contains(&error.to_string()) => Err(error.context(said)),
        other => other,
    }
}

fn await_start(basedir: &Basedir, child: &mut Child, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(state) = basedir.state().filter(|state| u32::try_from(state.pid) == Ok(child.id())) {
            return match state.problem {
                None => Ok(()),
                Some(problem) => bail!(problem),
            };
        }
        if let Some(status) = child.try_wait()? {
            bail!("the master ended while starting ({status}); see {}", basedir.log_file().display());
        }
        if Instant::now() > deadline {
            bail!(
                "the master is not ready after {timeout:?}; it goes on starting, see {}",
                basedir.log_file().display()
            );
        }
        std::thread::sleep(POLL);
    }
}

/// `buildguild stop`
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    directory: Directory,
    /// Let running builds end first, however long that takes.
    #[arg(long)]
    clean: bool,
    /// Do not wait for the master to end.
    #[arg(long = "no-wait")]
    no_wait: bool,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
}

impl Stop {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let basedir = Basedir::open(&self.directory.basedir)?;
        // SIGUSR1 asks for a clean shutdown, as it does with Buildbot.
        let pid = basedir.signal(if self.clean { Signal::SIGUSR1 } else { Signal::SIGTERM })?;
        if self.no_wait {
            return Ok(ExitCode::SUCCESS);
        }
        await_end(&basedir, pid);
        if !self.quiet {
            println!("The master has ended.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn await_end(basedir: &Basedir, pid: Pid) {
    while basedir.running() == Some(pid) {
        std::thread::sleep(POLL);
    }
}

/// `buildguild restart`
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    directory: Directory,
    /// Let running builds end first.
    #[arg(long)]
    clean: bool,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
    /// How many seconds to wait for the master to be ready.
    #[arg(long = "start_timeout", alias = "start-timeout", default_value_t = 60)]
    start_timeout_secs: u64,
}

impl Restart {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let basedir = Basedir::open(&self.directory.basedir)?;
        if let Some(pid) = basedir.running() {
            basedir.signal(if self.clean { Signal::SIGUSR1 } else { Signal::SIGTERM })?;
            await_end(&basedir, pid);
        }
        start_in_background(&basedir, Duration::from_secs(self.start_timeout_secs))?;
        if !self.quiet {
            println!("The master is running again.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `buildguild reconfig`
#[derive(Debug, Args)]
pub(crate) struct Reconfig {
    /// The master's directory.
    #[arg(default_value = ".")]
    basedir: PathBuf,
    /// How many seconds to wait for the answer.
    #[arg(long = "progress_timeout", alias = "progress-timeout", default_value_t = 30)]
    progress_timeout_secs: u64,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
}

impl Reconfig {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let basedir = Basedir::open(&self.basedir)?;
        let before = basedir.state().map_or(0, |state| state.sequence);
        let pid = basedir.signal(Signal::SIGHUP)?;
        let timeout = Duration::from_secs(self.progress_timeout_secs);
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(state) = basedir.state().filter(|state| state.pid == pid.as_raw() && state.sequence > before) {
                if let Some(problem) = state.problem {
                    bail!("the configuration was refused; the one before stays in force\n{problem}");
                }
                if !self.quiet {
                    println!("The new configuration is in force.");
                }
                return Ok(ExitCode::SUCCESS);
            }
            if basedir.running() != Some(pid) {
                bail!("the master ended; see {}", basedir.log_file().display());
            }
            if Instant::now() > deadline {
                bail!("the master did not answer within {timeout:?}");
            }
            std::thread::sleep(POLL);
        }
    }
}
