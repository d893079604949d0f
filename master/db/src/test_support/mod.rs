//! Databases for tests: a migrated template, copied for each test, on SQLite and on PostgreSQL.
//!
//! Enabled by the feature `test-support`, for this crate's tests and for those of the crates above it. A suite that is
//! to run on both is written once, as functions that take a [`TestDb`], and listed in [`crate::on_both_databases`].
//!
//! The PostgreSQL server is the one named by `BUILDGUILD_TEST_POSTGRES_URL` where there is one (`cargo xtask test`
//! starts one per run, because nextest gives each test its own process); otherwise each process starts its own on first
//! use.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{Db, DbError, DbOptions};

/// Names the administrative database (`postgres`) of a server to use instead of starting one.
pub const POSTGRES_URL_VARIABLE: &str = "BUILDGUILD_TEST_POSTGRES_URL";

/// The key of the lock under which test processes make the template: any number that nobody else uses.
const TEMPLATE_LOCK: i64 = 0x6275_696c_6467;

/// Why a test did not get its database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestDbError {
    /// The server could not be started.
    #[error("start PostgreSQL: {0}")]
    Start(String),
    /// A file operation failed.
    #[error("prepare a test database")]
    Io(#[from] std::io::Error),
    /// The database refused.
    #[error("prepare a test database: {0}")]
    Database(#[from] DbErr),
    /// The schema could not be made.
    #[error("prepare a test database: {0}")]
    Schema(#[from] DbError),
}

/// An empty, migrated database of one test.
#[derive(Debug)]
pub struct TestDb {
    /// The database.
    pub db: Db,
    url: String,
    /// Where a SQLite database is; removed in the end.
    _directory: Option<TempDir>,
}

impl TestDb {
    /// A SQLite database in a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn sqlite() -> Result<Self, TestDbError> {
        static TEMPLATE: OnceCell<Vec<u8>> = OnceCell::const_new();
        let template = TEMPLATE
            .get_or_try_init(|| async {
                let directory = tempfile::tempdir()?;
                let path = directory.path().join("template.sqlite");
                let db = Db::connect(&DbOptions::new(format!("sqlite:///{}", path.display()))).await?;
                db.upgrade().await?;
                db.close().await;
                Ok::<_, TestDbError>(std::fs::read(&path)?)
            })
            .await?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("state.sqlite");
        std::fs::write(&path, template)?;
        let url = format!("sqlite:///{}", path.display());
        let db = Db::connect(&DbOptions::new(url.clone())).await?;
        Ok(Self { db, url, _directory: Some(directory) })
    }

    /// A PostgreSQL database of its own on the shared server.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn postgres() -> Result<Self, TestDbError> {
        let server = postgres_url().await?;
        let admin = admin_connection(server).await?;
        let template = make_template(&admin, server).await?;
        let name = unique_name();
        admin.execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        admin.close().await?;
        let url = database_url(server, &name);
        let mut options = DbOptions::new(url.clone());
        // Tests run side by side on one server.
        options.pool_size = 6;
        let db = Db::connect(&options).await?;
        Ok(Self { db, url, _directory: None })
    }

    /// The URL, for whoever opens the database by itself.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The URL of the administrative database of the PostgreSQL server that tests share.
///
/// # Errors
/// When there is none and none can be started.
pub async fn postgres_url() -> Result<&'static str, TestDbError> {
    static SERVER: OnceCell<(String, Option<OwnServer>)> = OnceCell::const_new();
    let (url, _) = SERVER
        .get_or_try_init(|| async {
            match std::env::var(POSTGRES_URL_VARIABLE) {
                Ok(url) if !url.is_empty() => Ok((url, None)),
                _ => {
                    let server = tokio::task::spawn_blocking(test_servers::Postgres::start)
                        .await
                        .map_err(|error| TestDbError::Start(error.to_string()))?
                        .map_err(|error| TestDbError::Start(format!("{error:#}")))?;
                    let cleaner = clean_up_after(&server)?;
                    Ok::<_, TestDbError>((
                        server.url("postgres"),
                        Some(OwnServer { _server: server, _cleaner: cleaner }),
                    ))
                }
            }
        })
        .await?;
    Ok(url)
}

/// The server of this process. Statics are never dropped: the kernel ends the server with the process, and the cleaner
/// notices the end by the closing of its input.
#[derive(Debug)]
struct OwnServer {
    _server: test_servers::Postgres,
    _cleaner: Child,
}

/// Starts a process that waits for the end of this one and then removes the server's directory.
fn clean_up_after(server: &test_servers::Postgres) -> Result<Child, std::io::Error> {
    Command::new("sh")
        .args(["-c", "cat >/dev/null; while kill -0 \"$2\" 2>/dev/null; do sleep 0.1; done; rm -rf -- \"$1\"", "sh"])
        .arg(server.directory())
        .arg(server.pid().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// One connection for administrative statements.
async fn admin_connection(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url.to_owned());
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}

/// The name of the migrated template, which is made if it is not there. Its name tells the schema, so that a server
/// which outlives a change of the schema does not serve the old one.
async fn make_template(admin: &DatabaseConnection, server: &str) -> Result<String, TestDbError> {
    let digest = Sha256::digest(migrations::fingerprint().as_bytes());
    let name = format!("buildguild_template_{}", &crate::sql::hex(&digest)[..16]);
    admin.execute_unprepared(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await?;
    let made = make_template_locked(admin, server, &name).await;
    admin.execute_unprepared(&format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await?;
    made.map(|()| name)
}

async fn make_template_locked(admin: &DatabaseConnection, server: &str, name: &str) -> Result<(), TestDbError> {
    let find = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
    if !crate::fetch_all(admin, find, vec![]).await?.is_empty() {
        return Ok(());
    }
    // Made under another name: one that failed half-way must not be taken for a template.
    let draft = unique_name();
    admin.execute_unprepared(&format!("CREATE DATABASE {draft}")).await?;
    let db = Db::connect(&DbOptions::new(database_url(server, &draft))).await?;
    let upgraded = db.upgrade().await;
    db.close().await;
    upgraded?;
    admin.execute_unprepared(&format!("ALTER DATABASE {draft} RENAME TO {name}")).await?;
    Ok(())
}

/// A name for a new database that no other test process uses.
fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{number}_{}", std::process::id(), uuid::Uuid::new_v4().simple())
}

/// The URL of another database of the same server.
fn database_url(server: &str, database: &str) -> String {
    let (base, query) = match server.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (server, String::new()),
    };
    let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
    format!("{base}/{database}{query}")
}

/// Runs each of the named test functions on both databases: `async fn name(test: &TestDb)` in the same module becomes
/// the tests `sqlite::name` and `postgres::name`.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = $crate::test_support::TestDb::sqlite().await.expect("a SQLite database");
                    super::$name(&test).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = $crate::test_support::TestDb::postgres().await.expect("a PostgreSQL database");
                    super::$name(&test).await;
                }
            )+
        }
    };
}
