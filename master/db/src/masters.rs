//! Masters: their names, epochs and check-ins.
//!
//! A process registers under its master's name and gets a new epoch. From then on it checks in, which advances a
//! counter; the others declare it dead when they have seen that counter stand still for long enough. Registering and
//! deactivating lock the row `FOR UPDATE`, which waits for every transaction that holds the epoch (see [`crate::claims`]).

use std::time::Duration;

use buildguild_types::ids::MasterId;
use buildguild_types::resources::Master;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::claims::exclusive;
use crate::sql::{column, execute, fetch_all, fetch_one, id, name_hash, now_sql, time};
use crate::{DbError, Owner, Tx, params};

pub(crate) const COLUMNS: &str = "m.id AS masterid, m.name AS name, m.active AS active, m.last_active AS last_active";

pub(crate) fn from_row(row: &QueryResult) -> Result<Master, DbError> {
    Ok(Master {
        masterid: id(row, "masterid")?,
        name: column(row, "name")?,
        active: column(row, "active")?,
        last_active: time(row, "last_active")?,
    })
}

/// What a look at a master's row shows of its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The master and its latest epoch.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Whether that epoch is active.
    pub active: bool,
    /// The counter of its check-ins.
    pub checkins: i64,
    /// What the process said of itself when it registered.
    pub instance: String,
    /// For how long its counter has to stand still, at least, before it may be declared dead, if it has told.
    pub expire_after: Option<Duration>,
    /// The kind of broker through which it hears of the others, if it has told.
    pub broker: Option<String>,
}

/// The columns of a [`Pulse`].
const PULSE: &str = "id, name, epoch, active, checkins, instance, expire_after_ms, broker";

fn pulse(row: &QueryResult) -> Result<Pulse, DbError> {
    Ok(Pulse {
        owner: Owner { master_id: id(row, "id")?, epoch: column(row, "epoch")? },
        name: column(row, "name")?,
        active: column(row, "active")?,
        checkins: column(row, "checkins")?,
        instance: column::<Option<String>>(row, "instance")?.unwrap_or_default(),
        expire_after: column::<Option<i64>>(row, "expire_after_ms")?
            .and_then(|millis| u64::try_from(millis).ok())
            .map(Duration::from_millis),
        broker: column(row, "broker")?,
    })
}

/// The id of the master with this name (usually `host:directory`); a new one is added as inactive.
///
/// # Errors
/// What the database reported.
pub async fn find_id(tx: &Tx, name: &str) -> Result<MasterId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM masters WHERE name_hash = $1";
    if let Some(row) = fetch_one(tx, find, params![hash.as_str()]).await? {
        return id(&row, "id");
    }
    let sql = "INSERT INTO masters (name, name_hash, active, last_active) VALUES ($1, $2, FALSE, 0)
               ON CONFLICT (name_hash) DO NOTHING";
    execute(tx, sql, params![name, hash.as_str()]).await?;
    match fetch_one(tx, find, params![hash]).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("master")),
    }
}

/// Registers a process as the instance of its master, with a new epoch. `over` is the epoch that the caller saw dead
/// (or inactive), with its counter: if anything has changed since, somebody else is faster or alive.
///
/// # Errors
/// [`DbError::AlreadyClaimed`] if the master is active and not as `over` says.
pub async fn register(tx: &Tx, master: MasterId, instance: &str, over: Option<&Pulse>) -> Result<Owner, DbError> {
    let backend = tx.get_database_backend();
    let sql = format!("SELECT {PULSE} FROM masters WHERE id = $1{}", exclusive(backend, "masters"));
    let row = fetch_one(tx, sql, params![master]).await?.ok_or(DbError::NotFound("master"))?;
    let now = pulse(&row)?;
    if now.active && over != Some(&now) {
        return Err(DbError::AlreadyClaimed);
    }
    let owner = Owner { master_id: master, epoch: now.owner.epoch + 1 };
    // What was asked of the process before this one is not asked of this one.
    execute(tx, "DELETE FROM wishes WHERE kind = 'master.drain' AND target = $1", params![master]).await?;
    let sql = format!(
        "UPDATE masters SET epoch = $2, instance = $3, active = TRUE, checkins = 0, last_active = {}, config_hash = NULL,
                version = NULL, outbox_depth = 0, outbox_since = NULL, expire_after_ms = NULL, broker = NULL
         WHERE id = $1",
        now_sql(backend)
    );
    execute(tx, sql, params![master, owner.epoch, instance]).await?;
    Ok(owner)
}

/// What a master tells of itself with each check-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The version of the farm config that is in force.
    pub config_hash: Option<String>,
    /// Its program's version.
    pub version: Option<String>,
    /// How many of its transactions have events that are still to be published.
    pub outbox_depth: i64,
    /// The time of the oldest of these events.
    pub outbox_since: Option<Timestamp>,
    /// For how long its counter has to stand still, at least, before it may be declared dead.
    pub expire_after: Option<Duration>,
    /// The kind of broker through which it hears of the others.
    pub broker: Option<String>,
}

/// Advances the counter of a living process and tells of it.
///
/// # Errors
/// [`DbError::EpochEnded`] if it has been declared dead.
pub async fn report(tx: &Tx, owner: Owner, report: &Report) -> Result<(), DbError> {
    let sql = format!(
        "UPDATE masters SET checkins = checkins + 1, last_active = {}, config_hash = $3, version = $4, outbox_depth = $5,
                outbox_since = $6, expire_after_ms = $7, broker = $8
         WHERE id = $1 AND epoch = $2 AND active",
        now_sql(tx.get_database_backend())
    );
    let values = params![
        owner.master_id,
        owner.epoch,
        report.config_hash.as_deref(),
        report.version.as_deref(),
        report.outbox_depth,
        report.outbox_since,
        report.expire_after.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
        report.broker.as_deref()
    ];
    match execute(tx, sql, values).await? {
        0 => Err(DbError::EpochEnded),
        _ => Ok(()),
    }
}

/// The versions of the farm config that are in force on active masters; more than one while they differ.
///
/// # Errors
/// What the database reported.
pub async fn configs_in_force(connection: &impl ConnectionTrait) -> Result<Vec<String>, DbError> {
    let sql = "SELECT DISTINCT config_hash FROM masters WHERE active AND config_hash IS NOT NULL ORDER BY config_hash";
    fetch_all(connection, sql, vec![]).await?.iter().map(|row| column(row, "config_hash")).collect()
}

/// The life signs of all masters.
///
/// # Errors
/// What the database reported.
pub async fn pulses(connection: &impl ConnectionTrait) -> Result<Vec<Pulse>, DbError> {
    let sql = format!("SELECT {PULSE} FROM masters ORDER BY id");
    fetch_all(connection, sql, vec![]).await?.iter().map(pulse).collect()
}

/// Ends an epoch: the process's own, or that of one that was seen dead, if its row is still as `seen`.
/// Returns the master as it is now, or nothing if it is no longer so.
///
/// # Errors
/// What the database reported.
pub async fn deactivate(tx: &Tx, owner: Owner, seen: Option<&Pulse>) -> Result<Option<Master>, DbError> {
    let sql = format!(
        "SELECT {PULSE} FROM masters WHERE id = $1 AND epoch = $2 AND active{}",
        exclusive(tx.get_database_backend(), "masters")
    );
    let Some(row) = fetch_one(tx, sql, params![owner.master_id, owner.epoch]).await? else {
        return Ok(None);
    };
    if let Some(seen) = seen
        && *seen != pulse(&row)?
    {
        return Ok(None);
    }
    execute(tx, "UPDATE masters SET active = FALSE WHERE id = $1", params![owner.master_id]).await?;
    get(tx, owner.master_id).await
}

/// Marks a master active or inactive, by name rather than by process: for tools and tests. Returns whether its state
/// changed. An inactive master loses its links.
///
/// # Errors
/// What the database reported.
pub async fn set_state(tx: &Tx, master: MasterId, active: bool) -> Result<bool, DbError> {
    let backend = tx.get_database_backend();
    let sql = format!("SELECT active FROM masters WHERE id = $1{}", exclusive(backend, "masters"));
    let row = fetch_one(tx, sql, params![master]).await?.ok_or(DbError::NotFound("master"))?;
    let was: bool = column(&row, "active")?;
    if active {
        let sql = format!("UPDATE masters SET active = TRUE, last_active = {} WHERE id = $1", now_sql(backend));
        execute(tx, sql, params![master]).await?;
    } else {
        execute(tx, "UPDATE masters SET active = FALSE WHERE id = $1", params![master]).await?;
        remove_links(tx, master).await?;
    }
    Ok(was != active)
}

/// Removes what ties a master that is not active to schedulers, change sources, builders and workers.
///
/// # Errors
/// What the database reported.
pub async fn remove_links(tx: &Tx, master: MasterId) -> Result<(), DbError> {
    for table in ["scheduler_masters", "changesource_masters", "builder_masters", "connected_workers", "leases"] {
        execute(tx, format!("DELETE FROM {table} WHERE masterid = $1"), params![master]).await?;
    }
    Ok(())
}

/// A master.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, master: MasterId) -> Result<Option<Master>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM masters m WHERE m.id = $1");
    fetch_one(connection, sql, params![master]).await?.as_ref().map(from_row).transpose()
}

/// All masters, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait) -> Result<Vec<Master>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM masters m ORDER BY m.id");
    fetch_all(connection, sql, vec![]).await?.iter().map(from_row).collect()
}

/// Makes every master look as if it had been seen long ago; called by `upgrade-master`, when none runs.
///
/// # Errors
/// What the database reported.
pub async fn set_all_active_long_ago(tx: &Tx) -> Result<(), DbError> {
    execute(tx, "UPDATE masters SET last_active = 0", vec![]).await?;
    Ok(())
}
