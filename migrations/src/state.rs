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
    /// A newer program has upgraded the database and declared that this one may go on with it: a rolling upgrade.
    NewerCompatible,
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
    Ok(compare(&known, &applied, minimum(db).await?))
}

/// The state of a schema with these migrations, whose programs must know those up to `minimum`.
fn compare(known: &BTreeSet<String>, applied: &BTreeSet<String>, minimum: Option<i64>) -> SchemaState {
    if applied == known {
        return SchemaState::Current;
    }
    if applied.is_subset(known) {
        return SchemaState::Outdated;
    }
    let mine = known.iter().filter_map(|name| number(name)).max().unwrap_or(0);
    if known.is_subset(applied) && minimum.is_some_and(|minimum| minimum <= mine) {
        return SchemaState::NewerCompatible;
    }
    SchemaState::Newer
}

/// The number of a migration: 3 of `m0005_cluster`.
fn number(name: &str) -> Option<i64> {
    name.strip_prefix('m')?.split('_').next()?.parse().ok()
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
    match schema_state(&transaction).await? {
        SchemaState::Newer => return Err(UpgradeError::Newer),
        // There is nothing to add, and the list has names that the migrator would stumble over.
        SchemaState::Current | SchemaState::NewerCompatible => return Ok(()),
        SchemaState::Outdated => Migrator::up(&transaction, None).await?,
    }
    transaction.commit().await?;
    Ok(())
}

/// Whether the database has a table.
async fn has_table(db: &impl ConnectionTrait, table: &str) -> Result<bool, DbErr> {
    let backend = db.get_database_backend();
    let exists = match backend {
        DbBackend::Postgres => format!("SELECT 1 AS one WHERE to_regclass('{table}') IS NOT NULL"),
        _ => format!("SELECT 1 AS one FROM sqlite_master WHERE type = 'table' AND name = '{table}'"),
    };
    Ok(db.query_one_raw(Statement::from_string(backend, exists)).await?.is_some())
}

/// The oldest migration that a program must know to work with this schema, if the schema says so.
async fn minimum(db: &impl ConnectionTrait) -> Result<Option<i64>, DbErr> {
    if !has_table(db, "schema_compatibility").await? {
        return Ok(None);
    }
    let select = Statement::from_string(db.get_database_backend(), "SELECT minimum FROM schema_compatibility");
    db.query_one_raw(select).await?.map(|row| row.try_get("", "minimum")).transpose()
}

/// The names of the migrations that were applied; none if the list does not exist yet.
async fn applied(db: &impl ConnectionTrait) -> Result<BTreeSet<String>, DbErr> {
    if !has_table(db, "seaql_migrations").await? {
        return Ok(BTreeSet::new());
    }
    let select = Statement::from_string(db.get_database_backend(), "SELECT version FROM seaql_migrations");
    db.query_all_raw(select).await?.iter().map(|row| row.try_get("", "version")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_schema_that_says_so_is_worked_with_by_older_programs() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let mine = set(&["m0001_a", "m0003_c"]);
        for (applied, minimum, expected) in [
            (set(&[]), None, SchemaState::Outdated),
            (set(&["m0001_a"]), None, SchemaState::Outdated),
            (mine.clone(), Some(1), SchemaState::Current),
            (set(&["m0001_a", "m0003_c", "m0004_d"]), Some(3), SchemaState::NewerCompatible),
            (set(&["m0001_a", "m0003_c", "m0004_d"]), Some(4), SchemaState::Newer),
            (set(&["m0001_a", "m0003_c", "m0004_d"]), None, SchemaState::Newer),
            // A branch of its own: what it lacks cannot be added any more.
            (set(&["m0001_a", "m0004_d"]), Some(1), SchemaState::Newer),
        ] {
            assert_eq!(compare(&mine, &applied, minimum), expected, "{applied:?} {minimum:?}");
        }
    }
}
