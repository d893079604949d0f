//! Leases: at most one live owner for each scheduler, change source and named singleton.
//!
//! A lease whose owner's epoch is not active is free. Whoever takes it locks it first, so that it waits for a transaction
//! of the old owner that is under way; then a statement's row count decides.

use buildguild_types::ids::{ChangeSourceId, SchedulerId};
use sea_orm::{ConnectionTrait, Value};

use crate::sql::{column, execute, fetch_all, fetch_one, id};
use crate::{DbError, Owner, Param, Tx, claims, params};

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lease<'a> {
    /// A scheduler.
    Scheduler(SchedulerId),
    /// A change source.
    ChangeSource(ChangeSourceId),
    /// Any other singleton, by name.
    Named(&'a str),
}

impl Lease<'_> {
    fn table(self) -> (&'static str, &'static str, Value) {
        match self {
            Self::Scheduler(scheduler) => ("scheduler_masters", "schedulerid", scheduler.param()),
            Self::ChangeSource(changesource) => ("changesource_masters", "changesourceid", changesource.param()),
            Self::Named(name) => ("leases", "name", name.param()),
        }
    }
}

/// Takes a lease for a living owner. Returns whether it is the owner's now (also if it was before).
///
/// # Errors
/// [`DbError::EpochEnded`] if the owner is not active.
pub async fn acquire(tx: &Tx, lease: Lease<'_>, owner: Owner) -> Result<bool, DbError> {
    claims::lock_master(tx, owner).await?;
    let (table, key, value) = lease.table();
    let values = || vec![value.clone(), owner.master_id.param(), owner.epoch.param()];
    // A dead owner may still be about to commit under the lease. An update alone does not wait for it: it leaves the key as
    // it is, and so does not conflict with the lock of `claims::share`.
    let lock =
        format!("SELECT masterid FROM {table} WHERE {key} = $1{}", claims::exclusive(tx.get_database_backend(), table));
    let sql = match fetch_one(tx, lock, vec![value.clone()]).await? {
        Some(_) => format!(
            "UPDATE {table} SET masterid = $2, epoch = $3
             WHERE {key} = $1 AND ((masterid = $2 AND epoch = $3)
                OR NOT EXISTS (SELECT 1 FROM masters m
                               WHERE m.id = {table}.masterid AND m.epoch = {table}.epoch AND m.active))"
        ),
        None => {
            let (extra_column, extra_value) = match lease {
                Lease::Named(_) => (", acquired_at", format!(", {}", crate::sql::now_sql(tx.get_database_backend()))),
                Lease::Scheduler(_) | Lease::ChangeSource(_) => ("", String::new()),
            };
            format!(
                "INSERT INTO {table} ({key}, masterid, epoch{extra_column}) VALUES ($1, $2, $3{extra_value})
                 ON CONFLICT ({key}) DO NOTHING"
            )
        }
    };
    Ok(execute(tx, sql, values()).await? == 1)
}

/// Gives a lease back. Does nothing if it is not the owner's.
///
/// # Errors
/// What the database reported.
pub async fn release(tx: &Tx, lease: Lease<'_>, owner: Owner) -> Result<(), DbError> {
    let (table, key, value) = lease.table();
    let sql = format!("DELETE FROM {table} WHERE {key} = $1 AND masterid = $2 AND epoch = $3");
    execute(tx, sql, vec![value, owner.master_id.param(), owner.epoch.param()]).await?;
    Ok(())
}

/// Who holds a lease, alive or not.
///
/// # Errors
/// What the database reported.
pub async fn holder(connection: &impl ConnectionTrait, lease: Lease<'_>) -> Result<Option<Owner>, DbError> {
    let (table, key, value) = lease.table();
    let sql = format!("SELECT masterid, epoch FROM {table} WHERE {key} = $1");
    match fetch_one(connection, sql, vec![value]).await? {
        Some(row) => Ok(Some(Owner { master_id: id(&row, "masterid")?, epoch: column(&row, "epoch")? })),
        None => Ok(None),
    }
}

/// Frees all leases of epochs that have ended. Returns the schedulers among them, whose master has changed in the API.
///
/// # Errors
/// What the database reported.
pub async fn release_orphans(tx: &Tx) -> Result<Vec<SchedulerId>, DbError> {
    // By whose each row was when it was found, as for worker sessions: see `workers::disconnect_orphans`.
    let dead = |table: &str| {
        format!(
            "(masterid, epoch) IN (SELECT held.masterid, held.epoch FROM {table} held
                                   JOIN masters m ON m.id = held.masterid WHERE NOT m.active OR m.epoch <> held.epoch)"
        )
    };
    for table in ["leases", "changesource_masters"] {
        execute(tx, format!("DELETE FROM {table} WHERE {}", dead(table)), params![]).await?;
    }
    let sql = format!("DELETE FROM scheduler_masters WHERE {} RETURNING schedulerid", dead("scheduler_masters"));
    fetch_all(tx, sql, params![]).await?.iter().map(|row| id(row, "schedulerid")).collect()
}
