//! A Redis server for one owner, which can be killed, started again and wiped.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::TlsFiles;
use crate::owned::{Owned, STARTS, as_user, free_port};

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Clients have to give this password.
    pub password: Option<String>,
    /// Speaks TLS, on a second port.
    pub tls: Option<TlsFiles>,
    /// Keeps only snapshots, made when [`Redis::command`] says `SAVE`: a kill loses what came after the last one.
    /// Otherwise every write is in the append-only file before it is acknowledged, and survives a kill.
    pub only_snapshots: bool,
    /// Copies the server on this port.
    pub replica_of: Option<u16>,
}

/// A Redis server with its own directory. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    server: Option<Owned>,
    port: u16,
    tls_port: Option<u16>,
    options: RedisOptions,
    // Removed after the server has ended: fields drop in order.
    directory: TempDir,
}

impl Redis {
    /// Starts a server that keeps what it was told.
    ///
    /// # Errors
    /// If Redis is not installed or does not come up within two minutes.
    pub fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default())
    }

    /// Starts a server.
    ///
    /// # Errors
    /// If Redis is not installed or does not come up within two minutes.
    pub fn start_with(options: RedisOptions) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("buildguild-redis-").tempdir()?;
        let tls_port = options.tls.is_some().then(free_port).transpose()?;
        let mut redis = Self { server: None, port: free_port()?, tls_port, options, directory };
        redis.restart()?;
        Ok(redis)
    }

    /// Starts it again after [`Redis::kill`], on the same port and with what it has on disk.
    ///
    /// # Errors
    /// If it does not come up within two minutes.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "Redis runs already");
        let mut command = as_user(None, "KILL", Path::new("redis-server"));
        command.current_dir(self.directory.path());
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        if !self.options.only_snapshots {
            // The file is written before the answer; only the power of the machine may fail.
            command.args(["--appendonly", "yes", "--appendfsync", "everysec"]);
        }
        if let Some(password) = &self.options.password {
            command.args(["--requirepass", password]);
        }
        if let Some(port) = self.options.replica_of {
            command.args(["--replicaof", &format!("127.0.0.1 {port}")]);
        }
        if let (Some(files), Some(port)) = (&self.options.tls, self.tls_port) {
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(&files.certificate).arg("--tls-key-file").arg(&files.key);
            command.arg("--tls-ca-cert-file").arg(&files.authority);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.directory.path().join("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut server = Owned::spawn(command, "KILL").context("is the Debian package redis-server installed?")?;
        let this = &*self;
        server.wait_until("redis-server", STARTS, || {
            this.command(&["PING"]).is_ok_and(|answer| answer.trim() == "PONG")
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Removes all that it holds, as if its disk had been replaced.
    ///
    /// # Errors
    /// If it does not run.
    pub fn wipe(&self) -> Result<()> {
        self.command(&["FLUSHALL"]).map(drop)
    }

    /// Kills it, removes all that it has on disk, and starts it again on the same port.
    ///
    /// # Errors
    /// If it does not come up within two minutes.
    pub fn start_empty(&mut self) -> Result<()> {
        self.kill();
        for entry in std::fs::read_dir(self.directory.path())? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else if path.extension().is_some_and(|extension| extension == "aof" || extension == "rdb") {
                std::fs::remove_file(path)?;
            }
        }
        self.restart()
    }

    /// Runs a command with `redis-cli` and gives its answer.
    ///
    /// # Errors
    /// If it cannot be run or the server cannot be reached.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--no-auth-warning"]);
        if let Some(password) = &self.options.password {
            command.args(["-a", password]);
        }
        let output = command.args(arguments).output().context("redis-cli is not installed")?;
        ensure!(output.status.success(), "redis-cli {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The URL that clients use, without TLS.
    pub fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/0", self.credentials(), self.port)
    }

    /// The URL that clients use, with TLS, if the server speaks it.
    pub fn tls_url(&self) -> Option<String> {
        self.tls_port.map(|port| format!("rediss://{}127.0.0.1:{port}/0", self.credentials()))
    }

    fn credentials(&self) -> String {
        self.options.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default()
    }

    /// The loopback port it listens on, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Owned::pid)
    }
}
