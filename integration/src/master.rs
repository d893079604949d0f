//! A real `buildguild` process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::program::Program;
use crate::rest::Rest;
use crate::waiting::{DEADLINE, wait_for};

/// Where the programs under test are.
///
/// # Errors
/// If this is no test run by cargo.
pub fn programs() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // target/debug/deps/<test> → target/debug
    // and target/debug/<program> → target/debug
    let directory = test.parent().context("a program is in a directory")?;
    let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    ensure!(
        directory.join("buildguild").is_file(),
        "{} is missing: build it with `cargo build --bins`, or run `cargo xtask test`",
        directory.join("buildguild").display()
    );
    Ok(directory.to_path_buf())
}

/// A `buildguild` command.
///
/// # Errors
/// As [`programs`].
pub fn buildguild() -> Result<Command> {
    Ok(Command::new(programs()?.join("buildguild")))
}

/// A master: its directory, its ports and, while it runs, its process.
#[derive(Debug)]
pub struct MasterProcess {
    /// Its name in the cluster.
    pub name: String,
    directory: PathBuf,
    web_port: u16,
    worker_port: u16,
    environment: Vec<(String, String)>,
    process: Program,
    starts: u32,
}

impl MasterProcess {
    /// A master in a new directory, not yet started.
    pub(crate) fn create(
        directory: PathBuf,
        name: &str,
        farm: &str,
        environment: Vec<(String, String)>,
        ports: (u16, u16),
    ) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("master.cfg"), farm)?;
        let (web_port, worker_port) = ports;
        let mut environment = environment;
        environment.push(("BUILDGUILD__MASTER__NAME".to_owned(), name.to_owned()));
        environment.push(("BUILDGUILD__WEB__LISTEN".to_owned(), format!("127.0.0.1:{web_port}")));
        Ok(Self {
            name: name.to_owned(),
            directory,
            web_port,
            worker_port,
            environment,
            process: Program::default(),
            starts: 0,
        })
    }

    /// A command about this master, with its settings.
    ///
    /// # Errors
    /// As [`programs`].
    pub fn command(&self, subcommand: &str) -> Result<Command> {
        let mut command = buildguild()?;
        command.arg(subcommand).current_dir(&self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Sets an environment variable for the next start.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.retain(|(existing, _)| existing != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the process; does not wait until it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.pid().is_none(), "{} runs already", self.name);
        self.starts += 1;
        let log = self.log_file();
        ensure!(!log.exists(), "{} is there already", log.display());
        let mut command = self.command("start")?;
        self.process.start(command.arg("--nodaemon").arg(&self.directory), &log)
    }

    /// Waits until the master says that it is ready.
    ///
    /// # Errors
    /// If it ends or takes too long; its log is in the message.
    pub async fn ready(&mut self) -> Result<()> {
        let rest = self.rest()?;
        let name = self.name.clone();
        let outcome = wait_for(&format!("{name} is ready"), DEADLINE, async || {
            if let Some(status) = self.process.ended()? {
                bail!("{name} ended: {status}");
            }
            Ok(rest.text("health/ready").await.ok())
        })
        .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// The log of its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The logs of all its starts, in order.
    pub(crate) fn all_logs(&self) -> Vec<String> {
        (1..=self.starts).map(|start| std::fs::read_to_string(self.log_file_of(start)).unwrap_or_default()).collect()
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    fn log_file(&self) -> PathBuf {
        self.log_file_of(self.starts)
    }

    fn log_file_of(&self, start: u32) -> PathBuf {
        self.directory.join(format!("test-{start}.log"))
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The port of REST and of the page.
    pub fn web_port(&self) -> u16 {
        self.web_port
    }

    /// The port that workers connect to.
    pub fn worker_port(&self) -> u16 {
        self.worker_port
    }

    /// The base URL of REST and of the page.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.web_port)
    }

    /// A client of it.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn rest(&self) -> Result<Rest> {
        Rest::new(&self.url())
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Kills it with SIGKILL, as the kernel would.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Whether its process has ended, for example because a hook killed it; if so, it can be started again.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.pid().is_none() || self.process.ended()?.is_some())
    }

    /// Sends it a signal, for example `STOP` or `CONT`.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.process.signal(signal)
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// If it does not end well.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let ends = format!("{} ends", self.name);
        let status = wait_for(&ends, DEADLINE, async || self.process.ended()).await?;
        ensure!(status.success(), "{} ended: {status}\n{}", self.name, self.log());
        Ok(())
    }
}
