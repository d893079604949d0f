//! A Redis Sentinel for one owner: it watches a primary, and makes a replica the primary when that one is gone.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::owned::{Owned, STARTS, as_user, free_port};

/// A sentinel that decides alone. Dropping it ends it.
#[derive(Debug)]
pub struct Sentinel {
    server: Owned,
    port: u16,
    service: String,
    // Removed after the server has ended: fields drop in order.
    _directory: TempDir,
}

impl Sentinel {
    /// Starts a sentinel that calls the server on the loopback port `primary`, and its replicas, `service`. It only
    /// learns of replicas that are there already soon enough for a test.
    ///
    /// # Errors
    /// If Redis is not installed, or the sentinel does not find a replica within two minutes.
    pub fn start(primary: u16, service: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("buildguild-sentinel-").tempdir()?;
        let port = free_port()?;
        let file = directory.path().join("sentinel.conf");
        // A primary that a busy machine keeps waiting is not taken for dead, and a takeover is not given up for that.
        std::fs::write(
            &file,
            format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {service} 127.0.0.1 {primary} 1\n\
                 sentinel down-after-milliseconds {service} 10000\nsentinel failover-timeout {service} 15000\n",
                directory.path().display()
            ),
        )?;
        let mut command = as_user(None, "KILL", std::path::Path::new("redis-server"));
        command.arg(&file).arg("--sentinel").current_dir(directory.path());
        let log = std::fs::File::create(directory.path().join("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = Owned::spawn(command, "KILL").context("is the Debian package redis-server installed?")?;
        let mut sentinel = Self { server, port, service: service.to_owned(), _directory: directory };
        let (port, service) = (sentinel.port, sentinel.service.clone());
        sentinel.server.wait_until("the sentinel", STARTS, || {
            ask(port, &["SENTINEL", "REPLICAS", &service]).is_ok_and(|answer| answer.contains("runid"))
        })?;
        Ok(sentinel)
    }

    /// The loopback port of the primary.
    ///
    /// # Errors
    /// If the sentinel does not answer.
    pub fn primary(&self) -> Result<u16> {
        let answer = ask(self.port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.service])?;
        let port = answer.lines().nth(1).context("an address and a port")?;
        Ok(port.trim().parse()?)
    }

    /// Asks for a takeover although the primary lives. Refused (and to be asked again) while another one is under way.
    ///
    /// # Errors
    /// If the sentinel does not answer, or refuses.
    pub fn fail_over(&self) -> Result<()> {
        let answer = ask(self.port, &["SENTINEL", "FAILOVER", &self.service])?;
        ensure!(answer.trim() == "OK", "{answer}");
        Ok(())
    }

    /// The URL that clients use.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{}", self.port, self.service)
    }
}

fn ask(port: u16, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments).output()?;
    ensure!(output.status.success(), "redis-cli {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
