//! A program that a test runs.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

/// A program in the foreground, its output in a file. It is killed with its owner.
#[derive(Debug, Default)]
pub(crate) struct Program {
    process: Option<Child>,
}

impl Program {
    /// Starts it; what it prints is appended to `log`.
    ///
    /// # Errors
    /// If it runs already or cannot be started.
    pub(crate) fn start(&mut self, command: &mut Command, log: &Path) -> Result<()> {
        ensure!(self.process.is_none() || self.ended()?.is_some(), "it runs already, as {:?}", self.pid());
        // Appended to, so that what a test adds is not written over.
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let output = log.try_clone()?;
        self.process = Some(command.stdin(Stdio::null()).stdout(output).stderr(log).spawn()?);
        Ok(())
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// How it ended, if it has; it can be started again then.
    ///
    /// # Errors
    /// If it was never started, or the system cannot tell.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.process.as_mut().context("not running")?.try_wait()?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// Sends it a signal, for example `STOP` or `CONT`.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid().context("not running")?.to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status()?;
        ensure!(status.success(), "cannot send SIG{signal} to {pid}");
        Ok(())
    }

    /// Kills it with SIGKILL, as the kernel would.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("not running")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
