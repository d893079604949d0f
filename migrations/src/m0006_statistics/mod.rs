//! Fresh statistics of the requests, on PostgreSQL.
//!
//! Few of very many requests wait, and how many changes fast. By default PostgreSQL looks again after a tenth of the table
//! has changed: of a million requests it would believe for a long time that none waits, and sort those that do rather than
//! read them in the order of an index.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

/// Has the statistics made anew after some hundred changes: a sample costs some tenths of a second, at most each minute.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_statistics"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            let sql = "ALTER TABLE buildrequests \
                       SET (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 500)";
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
