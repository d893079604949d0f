//! Stock `buildbot-worker` from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program::Program;

/// The Python environment with stock Buildbot that `cargo xtask test` sets up.
///
/// # Errors
/// If it is not there.
pub fn buildbot_environment() -> Result<PathBuf> {
    python_environment("BUILDGUILD_BUILDBOT_VENV", "venv", "buildbot-worker")
}

/// A Python environment that `cargo xtask test` sets up: named by `variable`, else `name` in the cache. It has `program`.
///
/// # Errors
/// If it is not there.
pub fn python_environment(variable: &str, name: &str, program: &str) -> Result<PathBuf> {
    let venv = std::env::var_os(variable).map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("buildguild").join(name))
    });
    let venv = venv.with_context(|| format!("neither {variable} nor HOME is set"))?;
    ensure!(
        venv.join("bin").join(program).exists(),
        "no {program} in {}: `cargo xtask test` installs it",
        venv.display()
    );
    Ok(venv)
}

/// A stock worker.
#[derive(Debug)]
pub struct StockWorker {
    directory: PathBuf,
    program: PathBuf,
    process: Program,
}

impl StockWorker {
    /// Makes a worker's directory with `buildbot-worker create-worker`; does not start it.
    ///
    /// # Errors
    /// If that fails.
    pub fn create(directory: &Path, port: u16, name: &str, password: &str) -> Result<Self> {
        let venv = buildbot_environment()?;
        let program = venv.join("bin/twistd");
        let output = Command::new(venv.join("bin/buildbot-worker"))
            .args(["create-worker", "--protocol=msgpack_experimental_v7", "--relocatable", "--quiet"])
            .arg(directory)
            .args([&format!("127.0.0.1:{port}"), name, password])
            .output()?;
        ensure!(output.status.success(), "create-worker: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { directory: directory.to_path_buf(), program, process: Program::default() })
    }

    /// Starts it in the foreground, so that it can be killed by its process id.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["--nodaemon", "--no_save", "--pidfile=", "--python=buildbot.tac"]).current_dir(&self.directory);
        self.process.start(&mut command, &self.directory.join("output.log"))
    }

    /// Its base directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("output.log") + &read("twistd.log")
    }

    /// Whether it has ended by itself; it can be started again then.
    ///
    /// # Errors
    /// If it was never started, or the system cannot tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.pid().is_none() || self.process.ended()?.is_some())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}
