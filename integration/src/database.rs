//! A database of its own for each test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use test_servers::{Durability, Postgres};

use crate::waiting::{DEADLINE, wait_for};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, for one master.
    Sqlite,
    /// A database on a PostgreSQL server, for any number of masters.
    Postgres,
    /// The same on a server of its own, which the test may crash and restart.
    OwnPostgres,
}

/// A database made for one test.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    /// The server's administrative URL, to drop the database by.
    server: Option<(String, String)>,
    own: Option<Postgres>,
}

impl TestDatabase {
    /// A new, empty database; `directory` is where a file goes.
    ///
    /// # Errors
    /// If the server cannot be started or refuses.
    pub fn create(database: Database, directory: &Path) -> Result<Self> {
        match database {
            Database::Sqlite => Ok(Self {
                url: format!("sqlite:///{}", directory.join("state.sqlite").display()),
                server: None,
                own: None,
            }),
            Database::OwnPostgres => {
                let own = Postgres::start_with(Durability::Restarts)?;
                let server = own.url("postgres");
                psql(&server, "CREATE DATABASE buildguild")?;
                Ok(Self { url: own.url("buildguild"), server: Some((server, "buildguild".to_owned())), own: Some(own) })
            }
            Database::Postgres => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let server = postgres_url()?;
                let name = format!("it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
                psql(&server, &format!("CREATE DATABASE {name}"))?;
                let (base, _) = server.rsplit_once('/').context("a URL without a database")?;
                Ok(Self { url: format!("{base}/{name}"), server: Some((server, name)), own: None })
            }
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server, if it is the test's own.
    pub fn own(&mut self) -> Option<&mut Postgres> {
        self.own.as_mut()
    }

    /// Runs a statement on a PostgreSQL database and gives what it printed: rows as lines, columns separated by `|`.
    ///
    /// # Errors
    /// If the statement fails, or the database is no PostgreSQL.
    pub fn sql(&self, statement: &str) -> Result<String> {
        ensure!(self.server.is_some(), "only PostgreSQL is asked directly");
        psql(&self.url, statement)
    }

    /// Locks a table of a PostgreSQL database, and waits until that is so.
    ///
    /// # Errors
    /// If that takes too long, or the database is no PostgreSQL.
    pub async fn lock_table(&self, table: &str, against: Against) -> Result<TableLock> {
        // As `LOCK TABLE` calls it, and as `pg_locks` does.
        let (mode, shown) = match against {
            Against::Everybody => ("ACCESS EXCLUSIVE", "AccessExclusiveLock"),
            Against::Writers => ("EXCLUSIVE", "ExclusiveLock"),
        };
        // Without the first, the server would notice only after the sleep that the client is gone.
        let statement = format!(
            "SET client_connection_check_interval = '100ms'; BEGIN;
             LOCK TABLE {table} IN {mode} MODE; SELECT pg_sleep(300);"
        );
        let lock = Command::new("psql").args([&self.url, "-qAtc", &statement]).stdout(Stdio::null()).spawn()?;
        let lock = TableLock(lock);
        let locked = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
             WHERE c.relname = '{table}' AND l.mode = '{shown}' AND l.granted"
        );
        wait_for(
            &format!("{table} is locked"),
            DEADLINE,
            async || Ok((self.sql(&locked)?.trim() == "1").then_some(())),
        )
        .await?;
        Ok(lock)
    }
}

/// Whom a locked table keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Readers and writers.
    Everybody,
    /// Writers alone.
    Writers,
}

/// A session of PostgreSQL that keeps those waiting who want a table, until it is dropped.
#[derive(Debug)]
pub struct TableLock(Child);

impl Drop for TableLock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A server of our own goes with all that it holds.
        if let (Some((server, name)), None) = (&self.server, &self.own) {
            // Force: a master that was killed may have left connections behind.
            let _ = psql(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

/// The administrative URL of the server that `cargo xtask test` started, or of one of our own.
fn postgres_url() -> Result<String> {
    if let Ok(url) = std::env::var("BUILDGUILD_TEST_POSTGRES_URL") {
        return Ok(url);
    }
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    if SERVER.get().is_none() {
        // A race starts a second server, which is dropped at once: harmless.
        let _ = SERVER.set(Postgres::start()?);
    }
    Ok(SERVER.get().context("the server was just set")?.url("postgres"))
}

fn psql(url: &str, statement: &str) -> Result<String> {
    let output = Command::new("psql").args([url, "-qAtc", statement]).output().context("psql is not installed")?;
    ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
