//! A PostgreSQL server for one owner.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::owned::{Owned, STARTS, as_user, free_port, is_root};

/// A PostgreSQL server with its own data directory. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Owned>,
    port: u16,
    programs: PathBuf,
    durability: Durability,
    // Removed after the server has ended: fields drop in order.
    directory: TempDir,
}

/// How much a server cares for what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `fsync=off`: right for tests, which never lose power.
    Off,
    /// Every commit survives the end of the server, though not of the machine: for tests that restart the server.
    Restarts,
    /// The server's defaults: right for benchmarks.
    On,
}

impl Postgres {
    /// Starts a server without `fsync`, for tests.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed or does not come up within two minutes.
    pub fn start() -> Result<Self> {
        Self::start_with(Durability::Off)
    }

    /// Starts a server.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed or does not come up within two minutes.
    pub fn start_with(durability: Durability) -> Result<Self> {
        let programs = find_programs().context("PostgreSQL is not installed (Debian package postgresql)")?;
        let directory = tempfile::Builder::new().prefix("buildguild-pg-").tempdir()?;
        let user = is_root().then_some("postgres");
        if user.is_some() {
            let status = Command::new("chown").arg("postgres:postgres").arg(directory.path()).status()?;
            ensure!(status.success(), "cannot hand {} to the user postgres", directory.path().display());
        }
        let data = directory.path().join("data");
        let output = as_user(user, "KILL", &programs.join("initdb"))
            .current_dir(directory.path())
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .output()?;
        ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut postgres = Self { server: None, port: free_port()?, programs, durability, directory };
        postgres.restart()?;
        Ok(postgres)
    }

    /// Ends the server at once, as a crash would: connections break, and commits that it confirmed have to be recovered.
    pub fn crash(&mut self) {
        // SIGQUIT, which `Owned` sends, is PostgreSQL's immediate shutdown.
        self.server = None;
    }

    /// Starts the server again after [`Postgres::crash`], on the same port and with what it has on disk.
    ///
    /// # Errors
    ///
    /// If it runs, or does not come up within two minutes.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "PostgreSQL runs already");
        let user = is_root().then_some("postgres");
        let mut command = as_user(user, "QUIT", &self.programs.join("postgres"));
        let directory = self.directory.path();
        command.current_dir(directory).arg("-D").arg(directory.join("data")).args(["-p", &self.port.to_string()]);
        let socket_directory = format!("unix_socket_directories={}", directory.display());
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            &socket_directory,
            "max_connections=300",
            "shared_buffers=128MB",
            "logging_collector=off",
        ];
        match self.durability {
            Durability::Off => settings.extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"]),
            Durability::Restarts => settings.extend(["fsync=off", "full_page_writes=off"]),
            Durability::On => {}
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::options().create(true).append(true).open(directory.join("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut server = Owned::spawn(command, "QUIT")?;
        let (probe, port) = (self.programs.join("pg_isready"), self.port.to_string());
        server.wait_until("postgres", STARTS, || {
            Command::new(&probe)
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status()
                .is_ok_and(|status| status.success())
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// The URL of one of its databases; `postgres` always exists.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The loopback port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server, for accounting; 0 while it does not run.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Owned::pid)
    }

    /// Everything that it keeps on disk.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where its client programs are.
    pub fn programs(&self) -> &Path {
        &self.programs
    }
}

/// The newest PostgreSQL that Debian installed, or the one on `PATH`.
fn find_programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file())
        .collect();
    versions.sort();
    if let Some((_, programs)) = versions.pop() {
        return Some(programs);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|directory| directory.join("initdb").is_file())
}
