//! The native worker, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Result, ensure};

use crate::{master::programs, program::Program};

/// A `buildguild-worker`.
#[derive(Debug)]
pub struct NativeWorker {
    directory: PathBuf,
    process: Program,
}

impl NativeWorker {
    /// Makes a worker's directory; does not start it.
    ///
    /// # Errors
    /// If that fails.
    pub fn create(directory: &Path, port: u16, name: &str, password: &str) -> Result<Self> {
        Self::create_at(directory, &format!("127.0.0.1:{port}"), name, password)
    }

    /// The same for a master at an address or URL.
    ///
    /// # Errors
    /// If that fails.
    pub fn create_at(directory: &Path, master: &str, name: &str, password: &str) -> Result<Self> {
        let output = Command::new(programs()?.join("buildguild-worker"))
            .arg("create-worker")
            // A test does not wait for minutes until a worker tries again.
            .arg("--maxdelay=1")
            .arg(directory)
            .args([master, name, password])
            .output()?;
        ensure!(output.status.success(), "create-worker: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { directory: directory.to_path_buf(), process: Program::default() })
    }

    /// Starts it in the foreground.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(programs()?.join("buildguild-worker"));
        command.args(["start", "--nodaemon"]).arg(&self.directory);
        self.process.start(&mut command, &self.directory.join("output.log"))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("output.log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Sends it a signal, for example `HUP` or `TERM`.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// How it ended, if it has; it can be started again then. This is told once.
    ///
    /// # Errors
    /// If it does not run, or the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.ended()
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}
