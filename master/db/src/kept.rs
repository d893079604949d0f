//! Connections to PostgreSQL that are kept from one use to the next.
//!
//! The driver's pool asks the server for a sign of life each time a connection comes back to it. For a read of one statement
//! that is as much again in round trips as the read itself, and for a transaction one more than it needs. It also waits for
//! that sign without a limit, so connections that a firewall has forgotten would use the pool up. So the pool here only opens
//! connections and counts them; it gets none back but to close it.
//!
//! A connection is tested before it is used when it has rested, and when another one went wrong: what broke one may have
//! broken all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::prelude::async_trait;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::query::Query;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, Values,
};
use sea_query_sqlx::SqlxValues;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::error::is_stale_plan;

/// A connection is closed when it is as old as this: the server's side of it grows with all that was asked over it.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// One that nobody needed for so long is closed.
const UNNEEDED: Duration = Duration::from_secs(5 * 60);

/// A connection that has rested for longer is asked for a sign of life before it is used: the server may have gone since.
const RESTED: Duration = Duration::from_secs(5);

/// How long the server may take for a sign of life. It is asked for behind what was given up, too, which may take as long.
const ANSWER: Duration = Duration::from_secs(3);

/// How long one statement may take: a little longer than the server lets it, which tells why.
const STATEMENT: Duration = Duration::from_secs(65);

/// A pool of connections of which those in use are kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: DatabaseConnection,
    /// As many as the pool may have connections. Who holds one finds a kept connection, or room in the pool.
    permits: Arc<Semaphore>,
    acquire_timeout: Duration,
    /// The one used last is the next to be used, so that those which a busy time has left over are closed.
    kept: Mutex<Vec<Kept>>,
}

/// A connection. Dropping it closes it, by a task that takes its time.
#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    opened: Instant,
    used: Instant,
    /// Something went wrong with another one since.
    is_suspect: bool,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        // Nothing that holds the lock can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> &PgPool {
        self.connection.get_postgres_connection_pool()
    }

    /// The kept connection that was used last. One that nobody needed for long is closed.
    fn take(&self) -> Option<Kept> {
        let mut kept = self.kept();
        let taken = kept.pop();
        let is_unneeded = kept.first().is_some_and(|oldest| oldest.used.elapsed() > UNNEEDED);
        let unneeded = is_unneeded.then(|| kept.remove(0));
        drop(kept);
        drop(unneeded);
        taken
    }

    /// Keeps a connection on which all that was asked has been answered.
    fn keep(&self, mut mine: Kept) {
        let mut kept = self.kept();
        // Asked while the lock is held, because whoever closes the pool takes what is kept after that.
        if mine.opened.elapsed() < LIFETIME && !self.pool().is_closed() {
            mine.used = Instant::now();
            kept.push(mine);
        }
    }

    fn suspect_all(&self) {
        self.kept().iter_mut().for_each(|kept| kept.is_suspect = true);
    }

    fn close_all(&self) {
        let all = std::mem::take(&mut *self.kept());
        drop(all);
    }
}

impl Kept {
    /// Whether the server answers on it, soon.
    async fn is_alive(&mut self) -> bool {
        matches!(timeout(ANSWER, self.connection.ping()).await, Ok(Ok(())))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The pool would start a task for each, and there may be no runtime any more.
        for kept in self.kept().drain(..) {
            drop(kept.connection.detach());
        }
    }
}

impl KeptPool {
    /// Keeps connections of a pool for PostgreSQL which has at most `size` of them.
    pub(crate) fn new(connection: DatabaseConnection, size: u32, acquire_timeout: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Shared { connection, permits, acquire_timeout, kept: Mutex::default() }))
    }

    /// The pool, for what needs a connection of its own.
    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.0.connection
    }

    /// Closes all connections, those in use when they are given back.
    pub(crate) async fn close(&self) {
        // The pool counts as closed from here on, so that nothing is kept any more.
        let closing = self.0.pool().close();
        self.0.close_all();
        closing.await;
    }

    /// A connection, as soon as there is one. Cancel safe: what was taken is closed.
    async fn lease(&self) -> Result<Lease, DbErr> {
        let shared = Arc::clone(&self.0);
        let permit = timeout(shared.acquire_timeout, Arc::clone(&shared.permits).acquire_owned());
        let permit = match permit.await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
            Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        while let Some(mut kept) = shared.take() {
            let is_tested = kept.is_suspect || kept.used.elapsed() > RESTED;
            if !is_tested || kept.is_alive().await {
                kept.is_suspect = false;
                return Ok(Lease::new(shared, kept, permit));
            }
            // What ended this one has most likely ended all.
            shared.close_all();
        }
        let mut connection = shared.pool().acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            error => DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))),
        })?;
        connection.close_on_drop();
        let now = Instant::now();
        Ok(Lease::new(shared, Kept { connection, opened: now, used: now, is_suspect: false }, permit))
    }

    /// Begins a transaction. Dropping it, before its end or in the midst of any call, rolls back.
    pub(crate) async fn begin(&self) -> Result<PgTransaction, DbErr> {
        let mut lease = self.lease().await?;
        lease.then = Then::Close;
        match timeout(self.0.acquire_timeout, lease.say("BEGIN")).await {
            Ok(begun) => begun?,
            Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        Ok(PgTransaction(tokio::sync::Mutex::new(lease)))
    }
}

/// What becomes of a connection whose user is done with it, or has vanished.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// All went well.
    Keep,
    /// Its user does not wait for the answer any more: it is kept if that comes soon.
    Test,
    /// It is broken, or in the midst of a transaction.
    Close,
}

/// A connection in use.
#[derive(Debug)]
struct Lease {
    shared: Arc<Shared>,
    /// There until it is dropped.
    kept: Option<Kept>,
    then: Then,
    /// What it has prepared does not fit the schema any more, and so on all connections.
    is_stale: bool,
    /// It has not answered, or nothing that makes sense.
    is_broken: bool,
    /// Given back after the connection. There until it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(mut mine), permit) = (self.kept.take(), self.permit.take()) else { return };
        if self.is_stale {
            self.shared.close_all();
            return;
        }
        if self.then == Then::Keep {
            self.shared.keep(mine);
            return;
        }
        self.shared.suspect_all();
        match Handle::try_current() {
            Ok(runtime) if self.then == Then::Test => {
                let shared = Arc::clone(&self.shared);
                drop(runtime.spawn(async move {
                    if mine.is_alive().await {
                        shared.keep(mine);
                    }
                    drop(permit);
                }));
            }
            Ok(_) => {}
            // Closing in order takes a runtime.
            Err(_) => drop(mine.connection.detach()),
        }
    }
}

impl Lease {
    fn new(shared: Arc<Shared>, kept: Kept, permit: OwnedSemaphorePermit) -> Self {
        Self { shared, kept: Some(kept), then: Then::Test, is_stale: false, is_broken: false, permit: Some(permit) }
    }

    /// # Errors
    /// Only if there is no connection, which is never.
    fn connection(&mut self) -> Result<&mut PgConnection, DbErr> {
        let kept = self.kept.as_mut().ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))?;
        Ok(&mut kept.connection)
    }

    /// What a call came to; what it says about the connection is noted.
    fn outcome<T>(&mut self, outcome: Result<Result<T, sqlx::Error>, Elapsed>) -> Result<T, sqlx::Error> {
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(elapsed) => sqlx::Error::Io(elapsed.into()),
        };
        self.then = Then::Close;
        self.is_broken |= error.as_database_error().is_none();
        self.is_stale |= error.as_database_error().is_some_and(is_stale_plan);
        Err(error)
    }

    async fn say(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        let outcome = timeout(STATEMENT, self.connection()?.execute(AssertSqlSafe(sql))).await;
        self.outcome(outcome).map(ExecResult::from).map_err(exec_error)
    }

    async fn execute(&mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let outcome = timeout(STATEMENT, query(statement).execute(self.connection()?)).await;
        self.outcome(outcome).map(ExecResult::from).map_err(exec_error)
    }

    async fn query_one(&mut self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let outcome = timeout(STATEMENT, query(statement).fetch_optional(self.connection()?)).await;
        Ok(self.outcome(outcome).map_err(query_error)?.map(QueryResult::from))
    }

    async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let outcome = timeout(STATEMENT, query(statement).fetch_all(self.connection()?)).await;
        Ok(self.outcome(outcome).map_err(query_error)?.into_iter().map(QueryResult::from).collect())
    }
}

fn query(statement: Statement) -> Query<'static, Postgres, SqlxValues> {
    let values = statement.values.unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

fn exec_error(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error)))
}

fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))
}

/// Each statement by itself.
#[async_trait::async_trait]
impl ConnectionTrait for KeptPool {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut lease = self.lease().await?;
        let result = lease.execute(statement).await?;
        lease.then = Then::Keep;
        Ok(result)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut lease = self.lease().await?;
        let result = lease.say(sql).await?;
        lease.then = Then::Keep;
        Ok(result)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut lease = self.lease().await?;
        let row = lease.query_one(statement).await?;
        lease.then = Then::Keep;
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut lease = self.lease().await?;
        let rows = lease.query_all(statement).await?;
        lease.then = Then::Keep;
        Ok(rows)
    }
}

/// A transaction on a connection that is kept afterwards.
#[derive(Debug)]
pub(crate) struct PgTransaction(tokio::sync::Mutex<Lease>);

impl PgTransaction {
    /// Commits.
    ///
    /// # Errors
    /// What the driver reported. Whether it is committed is unknown then, if the connection broke.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        self.end("COMMIT").await
    }

    /// Rolls back.
    ///
    /// # Errors
    /// What the driver reported. It is rolled back all the same, since the connection is closed.
    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        self.end("ROLLBACK").await
    }

    async fn end(self, how: &str) -> Result<(), DbErr> {
        let mut lease = self.0.into_inner();
        if lease.is_broken {
            // Asking once more would take as long again.
            return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
        }
        lease.say(how).await?;
        lease.then = Then::Keep;
        Ok(())
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for PgTransaction {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.lock().await.execute(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.lock().await.say(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.0.lock().await.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.0.lock().await.query_all(statement).await
    }
}
