//! The handle of a transaction.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement, prelude::async_trait,
};

use crate::kept::PgTransaction;

/// A transaction that is under way. Functions that only make sense inside one (because they lock) ask for it by type.
///
/// It is a handle: clones mean the same transaction. None may outlive the closure of [`crate::Db::write`].
#[derive(Clone, Debug)]
pub struct Tx(pub(crate) Arc<Transaction>);

/// A transaction, or a savepoint within one.
#[derive(Debug)]
pub(crate) enum Transaction {
    /// On PostgreSQL.
    Kept(PgTransaction),
    /// On SQLite.
    Grouped(DatabaseTransaction),
}

impl Transaction {
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        match self {
            Self::Kept(transaction) => transaction.commit().await,
            Self::Grouped(transaction) => transaction.commit().await,
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        match self {
            Self::Kept(transaction) => transaction.rollback().await,
            Self::Grouped(transaction) => transaction.rollback().await,
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        match &*self.0 {
            Transaction::Kept(transaction) => transaction.get_database_backend(),
            Transaction::Grouped(transaction) => transaction.get_database_backend(),
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &*self.0 {
            Transaction::Kept(transaction) => transaction.execute_raw(statement).await,
            Transaction::Grouped(transaction) => transaction.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &*self.0 {
            Transaction::Kept(transaction) => transaction.execute_unprepared(sql).await,
            Transaction::Grouped(transaction) => transaction.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &*self.0 {
            Transaction::Kept(transaction) => transaction.query_one_raw(statement).await,
            Transaction::Grouped(transaction) => transaction.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &*self.0 {
            Transaction::Kept(transaction) => transaction.query_all_raw(statement).await,
            Transaction::Grouped(transaction) => transaction.query_all_raw(statement).await,
        }
    }
}
