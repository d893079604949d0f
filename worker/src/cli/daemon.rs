//! The pid file, and stopping by it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(super) const PID_FILE: &str = "worker.pid";

/// How long a stopped worker has: killing its commands takes up to fifteen seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The pid file of the running process, locked as long as this lives. The lock, not the number, says that a worker
/// runs: it cannot outlive its process.
#[derive(Debug)]
pub(super) struct PidFile {
    _lock: Flock<File>,
}

impl PidFile {
    pub(super) fn acquire(basedir: &Path) -> anyhow::Result<Self> {
        let path = basedir.join(PID_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => bail!("a worker runs in {} already", basedir.display()),
            Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        };
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { _lock: lock })
    }
}

/// The process that runs in a directory, if any.
pub(super) fn running(basedir: &Path) -> anyhow::Result<Option<Pid>> {
    let path = basedir.join(PID_FILE);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        // Nobody holds it: the process is gone.
        Ok(_) => Ok(None),
        Err((_, Errno::EWOULDBLOCK)) => Ok(text.trim().parse().ok().map(Pid::from_raw)),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Stops the worker of a directory. One that does not run is no error.
pub(super) fn stop(basedir: &Path, graceful: bool, quiet: bool) -> anyhow::Result<()> {
    let say = |text: &str| {
        if !quiet {
            println!("{text}");
        }
    };
    if !basedir.join(crate::config::FILE_NAME).exists() {
        bail!("{} is not a worker's directory", basedir.display());
    }
    let Some(pid) = running(basedir)? else {
        say("worker not running");
        return Ok(());
    };
    if graceful {
        kill(pid, Signal::SIGHUP)?;
        say("worker leaves when its work is done");
        return Ok(());
    }
    kill(pid, Signal::SIGTERM)?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    while running(basedir)? == Some(pid) {
        if Instant::now() > deadline {
            bail!("worker (process {pid}) did not end within {STOP_TIMEOUT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    say(&format!("worker process {pid} is dead"));
    Ok(())
}
