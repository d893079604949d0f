//! Connecting to a database, and the handle that everything else uses.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use buildguild_types::database_url::DatabaseUrl;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection, PgConnection};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr};

use crate::hooks::Hooks;
use crate::kept::KeptPool;
use crate::reading::{ReadConnection, Readers};
use crate::writer::{GroupedWriter, Writer};
use crate::{DbError, SchemaState, Tx};

/// How to connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DbOptions {
    /// `postgresql://user:password@host/database`, or `sqlite:///path`: as in Buildbot (SQLAlchemy) the path begins
    /// after the third slash, so that an absolute one has four.
    pub url: String,
    /// Relative SQLite paths start here; by default in the current directory.
    pub base_dir: Option<PathBuf>,
    /// At most so many connections for reading, and on PostgreSQL as many for writing.
    pub pool_size: u32,
    /// So many threads read, each through connections of its own. A connection belongs to the runtime of the thread that
    /// opened it: an answer for another thread would wake both. Where the connections are too few to be shared out, and on
    /// SQLite, threads share them.
    pub reading_threads: usize,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How long [`Db::write`] goes on trying while the database is unavailable.
    pub retry_for: Duration,
    /// After this time PostgreSQL ends a session that is idle within a transaction, and with it the locks that a paused
    /// master holds. It has to be shorter than the time after which a master is declared dead.
    pub idle_in_transaction_timeout: Duration,
    /// Where a test kills or pauses this process.
    pub hooks: Hooks,
}

impl DbOptions {
    /// The defaults, with the given URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            base_dir: None,
            pool_size: 16,
            reading_threads: 1,
            acquire_timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(10),
            hooks: Hooks::none(),
        }
    }

    /// The database and its address in the driver's notation.
    pub(crate) fn target(&self) -> Result<Target, DbError> {
        match DatabaseUrl::parse(&self.url).map_err(|error| DbError::Url(error.to_string()))? {
            DatabaseUrl::Postgres(rest) => Ok(Target::Postgres(format!("postgresql://{rest}"))),
            DatabaseUrl::Sqlite(path) => {
                let base = self.base_dir.as_deref().unwrap_or(Path::new(""));
                Ok(Target::Sqlite(base.join(path)))
            }
        }
    }
}

/// A database's address.
pub(crate) enum Target {
    Postgres(String),
    Sqlite(PathBuf),
}

/// A handle to the database. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: DbOptions,
    readers: Vec<ReadConnection>,
    writer: Writer,
}

/// A pool for fewer connections than this is none.
const MIN_POOL_SIZE: u32 = 4;

thread_local! {
    /// The threads that read, counted: it tells them apart.
    static READING_THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Db {
    /// Opens one connection and closes it: unlike a pool, which tries again for a while, this fails at once and says why.
    /// SQLite needs no server, so nothing is asked of it.
    ///
    /// # Errors
    /// [`DbError::Url`], or why there is no connection.
    pub async fn probe(options: &DbOptions) -> Result<(), DbError> {
        let Target::Postgres(url) = options.target()? else { return Ok(()) };
        let failed = |error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)));
        let attempt = tokio::time::timeout(options.acquire_timeout, PgConnection::connect(&url));
        let connection = attempt.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(failed)?;
        Ok(connection.close().await.map_err(failed)?)
    }

    /// Connects. Does not look at the schema.
    ///
    /// # Errors
    /// [`DbError::Url`], or that the database cannot be reached.
    pub async fn connect(options: &DbOptions) -> Result<Self, DbError> {
        let (readers, writer) = match options.target()? {
            Target::Postgres(url) => {
                let threads = u32::try_from(options.reading_threads).unwrap_or(u32::MAX);
                let pools = threads.clamp(1, (options.pool_size / MIN_POOL_SIZE).max(1));
                let mut readers = Vec::new();
                for _ in 0..pools {
                    let pool = Pool::Reading { size: options.pool_size / pools, is_eager: pools == 1 };
                    readers.push(ReadConnection(Readers::Kept(connect_postgres(url.clone(), options, pool).await?)));
                }
                (readers, Writer::Pool(connect_postgres(url, options, Pool::Writing).await?))
            }
            Target::Sqlite(path) => {
                // The writer comes first: it creates the file and sets the journal mode.
                let writer = connect_sqlite(&path, options, false).await?;
                let reader = connect_sqlite(&path, options, true).await?;
                (vec![ReadConnection(Readers::Pool(reader))], Writer::Grouped(GroupedWriter::start(writer)))
            }
        };
        Ok(Self(Arc::new(Inner { options: options.clone(), readers, writer })))
    }

    /// The kind of database.
    pub fn backend(&self) -> DbBackend {
        self.read().get_database_backend()
    }

    /// The options it was opened with.
    pub fn options(&self) -> &DbOptions {
        &self.0.options
    }

    /// The points where a test kills or pauses this process.
    pub fn hooks(&self) -> &Hooks {
        &self.0.options.hooks
    }

    /// A connection for reads outside any transaction. On SQLite it refuses to write.
    pub fn read(&self) -> &ReadConnection {
        match self.0.readers.as_slice() {
            [only] => only,
            readers => &readers[READING_THREAD.with(|thread| thread % readers.len())],
        }
    }

    /// Runs one short transaction: no network, no callbacks, nothing slow inside.
    ///
    /// The closure may run several times, if the database asks for it (serialisation failure, deadlock) or cannot be
    /// reached for a moment; everything it did before is rolled back then.
    ///
    /// Cancel safe: dropping the future rolls back, unless the commit has been sent.
    ///
    /// # Errors
    /// What the closure returned, or [`DbError::Busy`], [`DbError::Unavailable`] and [`DbError::Uncertain`].
    pub async fn write<T, F, Fut>(&self, f: F) -> Result<T, DbError>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        self.write_as(std::any::type_name::<F>(), f).await
    }

    /// As [`Db::write`], for one who runs transactions on behalf of others: `on_behalf` is the [`std::any::type_name`] of
    /// the closure that says what is written. It names the points of [`crate::hooks`].
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_as<T, F, Fut>(&self, on_behalf: &'static str, f: F) -> Result<T, DbError>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        const BUSY_ATTEMPTS: u32 = 10;
        let started = Instant::now();
        let hooks = &self.0.options.hooks;
        let f = |tx| {
            let writing = f(tx);
            async move {
                let value = writing.await?;
                hooks.at_commit(on_behalf, "before");
                Ok(value)
            }
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.0.writer.run(&f).await {
                Ok(value) => {
                    hooks.at_commit(on_behalf, "after");
                    return Ok(value);
                }
                Err(error) => error,
            };
            let again = match &error {
                DbError::Busy(_) => attempt < BUSY_ATTEMPTS,
                DbError::Unavailable(_) => started.elapsed() < self.0.options.retry_for,
                _ => false,
            };
            if !again {
                return Err(error);
            }
            tracing::debug!(attempt, %error, "a transaction is tried again");
            tokio::time::sleep(backoff(attempt)).await;
        }
    }

    /// Brings the schema up to date; waits if another process is doing it.
    ///
    /// # Errors
    /// [`DbError::Schema`] if the schema is newer than this program.
    pub async fn upgrade(&self) -> Result<(), DbError> {
        let connection = match &self.0.writer {
            Writer::Pool(pool) => pool.connection(),
            Writer::Grouped(writer) => writer.connection(),
        };
        Ok(migrations::upgrade(connection).await?)
    }

    /// How the schema compares with what this program needs.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn schema_state(&self) -> Result<SchemaState, DbError> {
        Ok(migrations::schema_state(self.read()).await?)
    }

    /// Closes all connections; what is under way ends first.
    pub async fn close(&self) {
        match &self.0.writer {
            Writer::Pool(pool) => pool.close().await,
            // It cannot fail; there only is nobody left to hear of it.
            Writer::Grouped(writer) => _ = writer.connection().close_by_ref().await,
        }
        for reader in &self.0.readers {
            reader.close().await;
        }
    }
}

/// 2, 4, 8, ... 256 ms, with jitter from the clock's lowest digits: enough to part two that collided.
fn backoff(attempt: u32) -> Duration {
    let ceiling = 2_u64 << attempt.min(7);
    let jitter = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| u64::from(now.subsec_nanos()))
        % ceiling;
    Duration::from_millis(ceiling / 2 + jitter / 2)
}

/// What connections are for. Readers and writers have pools of their own: writers never wait for a connection because of
/// many slow reads, and their statements, which all go by a key, are planned once, whatever the values.
#[derive(Clone, Copy)]
enum Pool {
    Reading {
        size: u32,
        /// Whether a connection is opened now, by this thread; otherwise the first reader opens one.
        is_eager: bool,
    },
    Writing,
}

async fn connect_postgres(url: String, options: &DbOptions, pool: Pool) -> Result<KeptPool, DbError> {
    let (size, is_eager, plans) = match pool {
        Pool::Reading { size, is_eager } => (size, is_eager, "auto"),
        Pool::Writing => (options.pool_size, true, "force_generic_plan"),
    };
    let idle = options.idle_in_transaction_timeout.as_millis().to_string();
    let mut connect = ConnectOptions::new(url);
    connect
        .max_connections(size)
        .connect_lazy(!is_eager)
        .acquire_timeout(options.acquire_timeout)
        .sqlx_logging(false)
        // Connections are tested where they are kept. Only the first one, opened to see that it can be, rests here.
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(Duration::from_secs(5))
        .statement_timeout(Duration::from_secs(60))
        .map_sqlx_postgres_opts(move |postgres| {
            postgres.application_name("buildguild").statement_cache_capacity(500).options([
                ("idle_in_transaction_session_timeout", idle.as_str()),
                // Compiling a plan costs more than any of our queries.
                ("jit", "off"),
                ("plan_cache_mode", plans),
                // With the default of 4, made for spinning disks, the planner walks the whole primary key for the
                // builds of one builder instead of reading that builder's index.
                ("random_page_cost", "1.1"),
            ])
        });
    Ok(KeptPool::new(Database::connect(connect).await?, size, options.acquire_timeout))
}

async fn connect_sqlite(path: &Path, options: &DbOptions, reader: bool) -> Result<DatabaseConnection, DbError> {
    // The path goes in through the options: a URL would need escaping.
    let path = path.to_owned();
    let mut connect = ConnectOptions::new("sqlite::memory:");
    connect
        .max_connections(if reader { options.pool_size } else { 1 })
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(options.acquire_timeout)
        .sqlx_logging(false)
        .test_before_acquire(false)
        .map_sqlx_sqlite_opts(move |_| {
            let sqlite = SqliteConnectOptions::new()
                .filename(&path)
                .create_if_missing(!reader)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(10))
                .synchronous(SqliteSynchronous::Full)
                .statement_cache_capacity(500);
            let sqlite =
                if reader { sqlite.pragma("query_only", "ON") } else { sqlite.journal_mode(SqliteJournalMode::Wal) };
            sea_orm::sqlx::ConnectOptions::disable_statement_logging(sqlite)
        });
    Ok(Database::connect(connect).await?)
}
