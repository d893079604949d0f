//! Applying the migrations under a lock, and telling a database's state.

use std::collections::BTreeSet;

use sea_orm_migration::{
    DbErr, MigratorTrait,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DbBackend, SqliteTransactionMode, Statement, TransactionOptions,
        TransactionTrait,
    },
};

use crate::Migrator;

/// The key of the PostgreSQL advisory lock under which migrations run (the ASCII codes of `bguild`).
const UPGRADE_LOCK: i64 = 0x6267_7569_6c64;

/// How a database's schema compares with the one that this program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// The schema is the one that this program knows.
    Current,
    /// Migrations are missing (or the database is empty): `buildguild upgrade-master` applies them.
    Outdated,
    /// A newer program has upgraded the database; this one must not touch it.
    Newer,
}

/// Why an upgrade, or finding the schema's state, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The database has migrations that this program does not know.
    #[error("the database's schema is newer than this program")]
    Newer,
    /// The database reported an error.
    #[error("migrate the database")]
    Database(#[from] DbErr),
}

/// Tells the state of the schema, without changing anything.
///
/// # Errors
/// Fails if the database cannot be read.
pub async fn schema_state(db: &impl ConnectionTrait) -> Result<SchemaState, UpgradeError> {
    let known: BTreeSet<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let applied = applied(db).await?;
    if !applied.is_subset(&known) {
        Ok(SchemaState::Newer)
    } else if applied == known {
        Ok(SchemaState::Current)
    } else {
        Ok(SchemaState::Outdated)
    }
}

/// Applies the missing migrations in one transaction. Of two programs that upgrade at once, one works and the other
/// waits, and then finds nothing to do.
///
/// # Errors
/// [`UpgradeError::Newer`] if the schema is newer than this program; otherwise what the database reported, and then
/// nothing has been changed.
pub async fn upgrade(db: &DatabaseConnection) -> Result<(), UpgradeError> {
    // On SQLite an immediate transaction is the lock: the second one waits for the first (busy timeout).
    let transaction = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        })
        .await?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")).await?;
    }
    if schema_state(&transaction).await? == SchemaState::Newer {
        return Err(UpgradeError::Newer);
    }
    Migrator::up(&transaction, None).await?;
    transaction.commit().await?;
    Ok(())
}

/// The names of the migrations that were applied; none if the list does not exist yet.
async fn applied(db: &impl ConnectionTrait) -> Result<BTreeSet<String>, DbErr> {
    let backend = db.get_database_backend();
    let exists = match backend {
        DbBackend::Postgres => "SELECT 1 AS one WHERE to_regclass('seaql_migrations') IS NOT NULL",
        _ => "SELECT 1 AS one FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    if db.query_one_raw(Statement::from_string(backend, exists)).await?.is_none() {
        return Ok(BTreeSet::new());
    }
    db.query_all_raw(Statement::from_string(backend, "SELECT version FROM seaql_migrations"))
        .await?
        .iter()
        .map(|row| row.try_get("", "version"))
        .collect()
}
