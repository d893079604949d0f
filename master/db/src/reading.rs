//! The connection that reads outside transactions go through.

use sea_orm::prelude::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::kept::KeptPool;

/// Reads, each statement on whichever connection is free. On SQLite it refuses to write.
#[derive(Clone, Debug)]
pub struct ReadConnection(pub(crate) Readers);

/// What stands behind a [`ReadConnection`].
#[derive(Clone, Debug)]
pub(crate) enum Readers {
    /// On PostgreSQL.
    Kept(KeptPool),
    /// On SQLite.
    Pool(DatabaseConnection),
}

impl ReadConnection {
    pub(crate) async fn close(&self) {
        match &self.0 {
            Readers::Kept(pool) => pool.close().await,
            // It cannot fail; there only is nobody left to hear of it.
            Readers::Pool(pool) => _ = pool.close_by_ref().await,
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for ReadConnection {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Readers::Kept(pool) => pool.get_database_backend(),
            Readers::Pool(pool) => pool.get_database_backend(),
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Readers::Kept(pool) => pool.execute_raw(statement).await,
            Readers::Pool(pool) => pool.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Readers::Kept(pool) => pool.execute_unprepared(sql).await,
            Readers::Pool(pool) => pool.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            Readers::Kept(pool) => pool.query_one_raw(statement).await,
            Readers::Pool(pool) => pool.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Readers::Kept(pool) => pool.query_all_raw(statement).await,
            Readers::Pool(pool) => pool.query_all_raw(statement).await,
        }
    }
}
