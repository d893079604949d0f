//! The first schema: one SQL file per family of tables, in the order of their references.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbBackend};

use crate::dialect::run;

/// Creates all tables.
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_initial"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for file in [
            include_str!("cluster.sql"),
            include_str!("config.sql"),
            include_str!("sources.sql"),
            include_str!("requests.sql"),
            include_str!("builds.sql"),
            include_str!("extras.sql"),
        ] {
            run(manager, file).await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            run(manager, include_str!("postgres.sql")).await?;
        }
        Ok(())
    }
}
