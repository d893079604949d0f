//! How transactions are run: directly on PostgreSQL; through one writer with grouped commits on SQLite.
//!
//! SQLite has one writer at a time, and a commit with `synchronous=FULL` waits for the disk. So writers take turns in
//! one open transaction, each within a savepoint of its own, and a committer task, which queues for the same turn,
//! commits what has come together. The queue is fair: whoever waited before the committer is in the group, and a group
//! grows exactly while the disk is slower than the writers.

use std::future::Future;
use std::sync::Arc;

use sea_orm::{DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;

use crate::kept::KeptPool;
use crate::tx::Transaction;
use crate::{DbError, Tx};

/// Runs transactions.
#[derive(Debug)]
pub(crate) enum Writer {
    /// Each transaction on a connection of the pool.
    Pool(KeptPool),
    /// One connection, with grouped commits.
    Grouped(GroupedWriter),
}

impl Writer {
    /// Runs one transaction, once.
    pub(crate) async fn run<T, F, Fut>(&self, f: &F) -> Result<T, DbError>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        match self {
            Self::Pool(pool) => {
                let (value, transaction) = attempt(Transaction::Kept(pool.begin().await?), f).await?;
                transaction.commit().await.map_err(DbError::from_commit)?;
                Ok(value)
            }
            Self::Grouped(writer) => writer.run(f).await,
        }
    }
}

/// Runs the closure; on an error the transaction is rolled back.
async fn attempt<T, F, Fut>(transaction: Transaction, f: &F) -> Result<(T, Transaction), DbError>
where
    F: Fn(Tx) -> Fut,
    Fut: Future<Output = Result<T, DbError>>,
{
    let tx = Tx(Arc::new(transaction));
    let result = f(tx.clone()).await;
    let transaction = Arc::try_unwrap(tx.0)
        .map_err(|_| DbError::Invalid("a transaction's handle outlived its closure".to_owned()))?;
    match result {
        Ok(value) => Ok((value, transaction)),
        Err(error) => {
            // If even this fails, dropping the connection rolls back.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// The writer of a SQLite database.
#[derive(Debug)]
pub(crate) struct GroupedWriter {
    shared: Arc<Shared>,
    committer: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    connection: DatabaseConnection,
    group: Mutex<Option<Group>>,
    wake: Notify,
}

/// An open transaction and those who wait for its commit.
#[derive(Debug)]
struct Group {
    transaction: DatabaseTransaction,
    outcome: watch::Sender<Option<Result<(), DbError>>>,
}

/// Wakes the committer, also if the writer is cancelled in the middle.
struct WakeOnDrop<'a>(&'a Notify);

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Drop for GroupedWriter {
    fn drop(&mut self) {
        self.committer.abort();
    }
}

impl GroupedWriter {
    /// Starts the committer. The pool must have exactly one connection.
    pub(crate) fn start(connection: DatabaseConnection) -> Self {
        let shared = Arc::new(Shared { connection, group: Mutex::new(None), wake: Notify::new() });
        let committer = tokio::spawn(commit_groups(Arc::clone(&shared)));
        Self { shared, committer }
    }

    /// The writer's connection, for what cannot run in a transaction.
    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.shared.connection
    }

    async fn run<T, F, Fut>(&self, f: &F) -> Result<T, DbError>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        let mut turn = self.shared.group.lock().await;
        let wake = WakeOnDrop(&self.shared.wake);
        let group = match turn.take() {
            Some(group) => turn.insert(group),
            None => turn.insert(Group::begin(&self.shared.connection).await?),
        };
        let result = match group.transaction.begin().await {
            Ok(savepoint) => match attempt(Transaction::Grouped(savepoint), f).await {
                Ok((value, savepoint)) => savepoint.commit().await.map(|()| value).map_err(DbError::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(value) => {
                let mut outcome = group.outcome.subscribe();
                drop(turn);
                drop(wake);
                match outcome.wait_for(Option::is_some).await.as_deref() {
                    Ok(Some(Ok(()))) => Ok(value),
                    Ok(Some(Err(error))) => Err(error.clone()),
                    Ok(None) | Err(_) => Err(abandoned()),
                }
            }
            Err(error) => {
                // After a full disk or an I/O error SQLite may have rolled back the whole transaction, with the work of
                // the others in it: all of them have to start again.
                if error.is_transient()
                    && let Some(group) = turn.take()
                {
                    group.outcome.send_replace(Some(Err(error.clone())));
                }
                Err(error)
            }
        }
    }
}

impl Group {
    async fn begin(connection: &DatabaseConnection) -> Result<Self, DbError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = connection.begin_with_options(options).await?;
        Ok(Self { transaction, outcome: watch::Sender::new(None) })
    }
}

/// What a writer gets whose group or beginning vanished: only possible while the whole process ends.
fn abandoned() -> DbError {
    DbError::Unavailable(Arc::new(sea_orm::DbErr::Custom("the writer has stopped".to_owned())))
}

async fn commit_groups(shared: Arc<Shared>) {
    loop {
        shared.wake.notified().await;
        let mut turn = shared.group.lock().await;
        if let Some(group) = turn.take() {
            let result = group.transaction.commit().await.map_err(DbError::from_commit);
            group.outcome.send_replace(Some(result));
        }
    }
}
