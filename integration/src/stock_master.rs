//! A stock Buildbot master from PyPI, for what must work against both.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use test_servers::free_port;

use crate::farm::Farm;
use crate::rest::Rest;
use crate::stock_worker::buildbot_environment;
use crate::waiting::{DEADLINE, wait_for};

/// A running Buildbot master on SQLite.
#[derive(Debug)]
pub struct StockMaster {
    directory: PathBuf,
    web_port: u16,
    process: Child,
}

impl StockMaster {
    /// Makes a master of `farm` in `directory`, starts it and waits until it answers.
    ///
    /// # Errors
    /// If it cannot be made or started; its log is in the message.
    pub async fn start(directory: &Path, farm: &Farm) -> Result<Self> {
        let venv = buildbot_environment()?;
        let output = Command::new(venv.join("bin/buildbot")).arg("create-master").arg(directory).output()?;
        ensure!(output.status.success(), "create-master: {}", text(&output));
        let (web_port, worker_port) = (free_port()?, free_port()?);
        let local = |port: u16| format!("'tcp:{port}:interface=127.0.0.1'");
        let config = farm
            .text()
            .replace("'port': 9989", &format!("'port': {}", local(worker_port)))
            .replace("port=8010", &format!("port={}", local(web_port)));
        let config =
            format!("{config}\nc['buildbotNetUsageData'] = None\nc['buildbotURL'] = 'http://127.0.0.1:{web_port}/'\n");
        std::fs::write(directory.join("master.cfg"), config)?;
        let log = std::fs::File::create(directory.join("output.log"))?;
        let process = Command::new(venv.join("bin/twistd"))
            .args(["--nodaemon", "--no_save", "--pidfile=", "--python=buildbot.tac"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut master = Self { directory: directory.to_path_buf(), web_port, process };
        let rest = master.rest()?;
        let ready = wait_for("Buildbot answers", DEADLINE, async || {
            if let Some(status) = master.process.try_wait()? {
                bail!("Buildbot ended: {status}");
            }
            Ok(rest.get("masters").await.ok())
        })
        .await;
        ready.with_context(|| master.log())?;
        Ok(master)
    }

    /// The base URL of its REST and page.
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

    /// What it logged.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("output.log") + &read("twistd.log")
    }
}

impl Drop for StockMaster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
