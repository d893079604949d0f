//! Connections to PostgreSQL that are kept from one use to the next.
//!
//! The driver's pool asks the server for a sign of life each time a connection comes back to it. For a read of one statement
//! that is as much again in round trips as the read itself, and for a transaction one more than it needs. So connections
//! in steady use stay here, and the pool gets those back with which something went wrong, and all from time to time: it knows
//! how to test, replace and retire them.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection goes back to the pool this long after it came from there, so that the pool can retire it when it is old.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A connection that has rested for longer is asked for a sign of life before it is used: the server may have gone since.
const RESTED: Duration = Duration::from_secs(5);

/// A pool of connections of which those in use are kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: DatabaseConnection,
    /// As many as the pool may have connections. Who holds one finds a kept connection, or room in the pool.
    permits: Arc<Semaphore>,
    acquire_timeout: Duration,
    /// The one used last is the next to be used, so that those which a busy time has left over go back.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    acquired: Instant,
    used: Instant,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        // Nothing that holds the lock can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> &PgPool {
        self.connection.get_postgres_connection_pool()
    }

    /// The kept connection that was used last. One that nobody needed for long goes back.
    fn take(&self) -> Option<Kept> {
        let mut kept = self.kept();
        let taken = kept.pop();
        let is_unneeded = kept.first().is_some_and(|oldest| oldest.used.elapsed() > KEPT_FOR);
        let unneeded = is_unneeded.then(|| kept.remove(0));
        drop(kept);
        drop(unneeded);
        taken
    }

    fn give_back_all(&self) {
        let all = std::mem::take(&mut *self.kept());
        drop(all);
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

    /// Gives all connections back, and closes the pool when all are there.
    pub(crate) async fn close(&self) {
        // The pool counts as closed from here on, so that nothing is kept any more.
        let closing = self.0.pool().close();
        self.0.give_back_all();
        closing.await;
    }

    /// A connection, as soon as there is one. Cancel safe: what was taken goes back to the pool.
    async fn lease(&self) -> Result<Lease, DbErr> {
        let shared = Arc::clone(&self.0);
        let permit = tokio::time::timeout(shared.acquire_timeout, Arc::clone(&shared.permits).acquire_owned());
        let permit = match permit.await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
            Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        while let Some(mut kept) = shared.take() {
            if kept.used.elapsed() < RESTED || kept.connection.ping().await.is_ok() {
                return Ok(Lease { shared, kept: Some(kept), state: LeaseState::InUse, _permit: permit });
            }
        }
        let connection = shared.pool().acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            error => DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))),
        })?;
        let now = Instant::now();
        let kept = Some(Kept { connection, acquired: now, used: now });
        Ok(Lease { shared, kept, state: LeaseState::InUse, _permit: permit })
    }

    /// Begins a transaction. Dropping it, before its end or in the midst of any call, rolls back.
    pub(crate) async fn begin(&self) -> Result<PgTransaction, DbErr> {
        let mut lease = self.lease().await?;
        lease.state = LeaseState::InTransaction;
        lease.say("BEGIN").await?;
        Ok(PgTransaction(tokio::sync::Mutex::new(lease)))
    }
}

/// What becomes of a connection whose user is done with it, or has vanished.
#[derive(Debug)]
enum LeaseState {
    /// All went well: it is kept.
    Clean,
    /// The pool looks what is wrong with it.
    InUse,
    /// It is closed, and with it the transaction.
    InTransaction,
}

/// A connection in use.
#[derive(Debug)]
struct Lease {
    shared: Arc<Shared>,
    /// There until it is dropped.
    kept: Option<Kept>,
    state: LeaseState,
    /// Given back last.
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut mine) = self.kept.take() else { return };
        match self.state {
            LeaseState::Clean => {
                mine.used = Instant::now();
                let mut kept = self.shared.kept();
                // Asked while the lock is held, because whoever closes the pool takes what is kept after that.
                if mine.acquired.elapsed() < KEPT_FOR && !self.shared.pool().is_closed() {
                    kept.push(mine);
                }
            }
            // What broke one may have broken all; the pool finds out.
            LeaseState::InUse => self.shared.give_back_all(),
            LeaseState::InTransaction => mine.connection.close_on_drop(),
        }
    }
}

impl Lease {
    /// # Errors
    /// Only if there is no connection, which is never.
    fn connection(&mut self) -> Result<&mut PgConnection, DbErr> {
        let kept = self.kept.as_mut().ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))?;
        Ok(&mut kept.connection)
    }

    async fn say(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        let connection = self.connection()?;
        connection.execute(AssertSqlSafe(sql)).await.map(ExecResult::from).map_err(exec_error)
    }

    async fn execute(&mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let connection = self.connection()?;
        query(statement).execute(connection).await.map(ExecResult::from).map_err(exec_error)
    }

    async fn query_one(&mut self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let connection = self.connection()?;
        let row = query(statement).fetch_optional(connection).await.map_err(query_error)?;
        Ok(row.map(QueryResult::from))
    }

    async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let connection = self.connection()?;
        let rows = query(statement).fetch_all(connection).await.map_err(query_error)?;
        Ok(rows.into_iter().map(QueryResult::from).collect())
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
        lease.state = LeaseState::Clean;
        Ok(result)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut lease = self.lease().await?;
        let result = lease.say(sql).await?;
        lease.state = LeaseState::Clean;
        Ok(result)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut lease = self.lease().await?;
        let row = lease.query_one(statement).await?;
        lease.state = LeaseState::Clean;
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut lease = self.lease().await?;
        let rows = lease.query_all(statement).await?;
        lease.state = LeaseState::Clean;
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
        lease.say(how).await?;
        lease.state = LeaseState::Clean;
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
