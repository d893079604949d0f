//! `start`: in the foreground, or as a process of its own in the background.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{SignalKind, signal};

use super::daemon::{self, PidFile};
use crate::config::{ShutdownBy, WorkerConfig};
use crate::connect::{self, RunEnd};
use crate::logging::{self, RotatingFile};
use crate::stop::Stop;

const LOG_FILE: &str = "worker.log";

/// A change of this file makes a worker leave, if it is configured so.
const STAMP_FILE: &str = "shutdown.stamp";
const STAMP_INTERVAL: Duration = Duration::from_secs(5);

/// How long a background process has to come up.
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn start(basedir: &Path, nodaemon: bool, detached: bool, quiet: bool) -> anyhow::Result<ExitCode> {
    let config = WorkerConfig::load(basedir)?;
    if !nodaemon && !detached {
        return in_background(basedir, quiet);
    }
    if detached {
        // A session of its own: the terminal's end does not reach it.
        nix::unistd::setsid().context("cannot begin a session")?;
    }
    let _pid_file = PidFile::acquire(basedir)?;
    if detached {
        let log = RotatingFile::open(basedir.join(LOG_FILE), config.log_size, config.log_count);
        logging::to_file(log.with_context(|| format!("cannot open {LOG_FILE}"))?);
    } else {
        logging::to_stderr();
    }
    if let Some(bits) = config.umask_bits()? {
        umask(Mode::from_bits_truncate(bits));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let end = runtime.block_on(run(&config, basedir))?;
    tracing::info!(?end, "worker has ended");
    // Threads that read a slow file system must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(if end == RunEnd::TooManyRetries { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn run(config: &WorkerConfig, basedir: &Path) -> anyhow::Result<RunEnd> {
    let stop = Stop::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let watch_signals = async {
        loop {
            tokio::select! {
                _ = term.recv() => stop.now(),
                _ = int.recv() => stop.now(),
                _ = hangup.recv() => stop.when_idle(),
            }
        }
    };
    let watch_stamp = async {
        if config.allow_shutdown == Some(ShutdownBy::File) {
            stamp_changed(&basedir.join(STAMP_FILE)).await;
            stop.when_idle();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        end = connect::run(config, basedir, &stop) => Ok(end?),
        () = watch_signals => unreachable!("the loop has no end"),
        () = watch_stamp => unreachable!("it waits for ever"),
    }
}

async fn stamp_changed(path: &Path) {
    let state = || -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let before = state();
    loop {
        tokio::time::sleep(STAMP_INTERVAL).await;
        let now = state();
        if now.is_some() && now != before {
            return;
        }
    }
}

/// Starts this program again, detached, and waits until it holds the pid file.
fn in_background(basedir: &Path, quiet: bool) -> anyhow::Result<ExitCode> {
    if let Some(pid) = daemon::running(basedir)? {
        bail!("a worker (process {pid}) runs in {} already", basedir.display());
    }
    let basedir = basedir.canonicalize()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("start")
        .arg("--detached")
        .arg(&basedir)
        .current_dir(&basedir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the background process")?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if daemon::running(&basedir)?.is_some() {
            if !quiet {
                println!("worker started (process {}), log in {}", child.id(), basedir.join(LOG_FILE).display());
            }
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the worker ended at once ({status}); see {}", basedir.join(LOG_FILE).display());
        }
        if Instant::now() > deadline {
            bail!("the worker did not come up within {START_TIMEOUT:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
