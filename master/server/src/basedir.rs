//! A master's directory.
//!
//! | file | what |
//! |---|---|
//! | `buildguild.toml` | settings of this replica |
//! | `master.cfg` | the farm config (the settings may name another file) |
//! | `buildguild.pid` | the running master's process id, locked as long as it runs |
//! | `buildguild.state` | how the last start or reconfiguration went: what `start` and `reconfig` wait for |
//! | `buildguild.log` | its log, when it runs in the background |

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A master's directory.
#[derive(Clone, Debug)]
pub(crate) struct Basedir(PathBuf);

/// How the last start or reconfiguration of a running master went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// The process that says so.
    pub(crate) pid: i32,
    /// Counts start (1) and reconfigurations.
    pub(crate) sequence: u64,
    /// Nothing if it went well; else what was wrong.
    pub(crate) problem: Option<String>,
}

impl Basedir {
    /// The directory at `path`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let absolute = std::fs::canonicalize(path).with_context(|| format!("no such directory: {}", path.display()))?;
        if !absolute.is_dir() {
            bail!("{} is not a directory", path.display());
        }
        Ok(Self(absolute))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The settings file, if there is one.
    pub(crate) fn settings_file(&self) -> Option<PathBuf> {
        Some(self.0.join("buildguild.toml")).filter(|path| path.is_file())
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.0.join("buildguild.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.0.join("buildguild.pid")
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// If another master runs in it.
    pub(crate) fn lock(&self) -> Result<DirectoryLock> {
        let path = self.pid_file();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let Ok(mut lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!("a master runs in {} already (process {})", self.0.display(), read_pid(&path).unwrap_or_default());
        };
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(DirectoryLock { _lock: lock })
    }

    /// The process id of the master that runs here.
    pub(crate) fn running(&self) -> Option<Pid> {
        let path = self.pid_file();
        let file = File::open(&path).ok()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Nobody holds it: whoever wrote the number is gone.
            Ok(_) => None,
            Err(_) => read_pid(&path).map(Pid::from_raw),
        }
    }

    /// Sends a signal to the master that runs here.
    ///
    /// # Errors
    /// If none runs, or it is not ours to signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<Pid> {
        let pid = self.running().with_context(|| format!("no master runs in {}", self.0.display()))?;
        kill(pid, signal).with_context(|| format!("cannot signal process {pid}"))?;
        Ok(pid)
    }

    /// How the last start or reconfiguration went.
    pub(crate) fn state(&self) -> Option<RunState> {
        serde_json::from_slice(&std::fs::read(self.0.join("buildguild.state")).ok()?).ok()
    }

    /// Says how a start or a reconfiguration went. The file is replaced as a whole.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn set_state(&self, state: &RunState) -> Result<()> {
        let new = self.0.join("buildguild.state.new");
        std::fs::write(&new, serde_json::to_vec(state)?)?;
        std::fs::rename(&new, self.0.join("buildguild.state"))?;
        Ok(())
    }
}

fn read_pid(path: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The right to run a master in a directory; ends with the process.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _lock: Flock<File>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_master_per_directory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let basedir = Basedir::open(directory.path()).expect("opens");
        assert_eq!(basedir.running(), None);
        let lock = basedir.lock().expect("free");
        assert_eq!(basedir.running().map(Pid::as_raw), i32::try_from(std::process::id()).ok());
        assert!(basedir.lock().expect_err("taken").to_string().contains("runs in"));
        drop(lock);
        assert_eq!(basedir.running(), None, "a stale number is no running master");
    }
}
