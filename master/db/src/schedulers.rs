//! Schedulers: their ids, whether they are enabled, which master runs them, and what they think of each change.
//!
//! A classification says that a scheduler still has to deal with a change, and whether the change is important to it. It
//! stays until the scheduler has made its buildset, so a restart loses none.

use std::collections::BTreeMap;

use buildguild_types::ids::{ChangeId, MasterId, SchedulerId};
use buildguild_types::resources::Scheduler;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::leases::{self, Lease};
use crate::sql::{Cell, column, execute, fetch_all, fetch_one, id, name_hash, rows_of};
use crate::{DbError, Owner, Tx, masters, params};

/// Which changes: those of one line of development. What is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeLine {
    /// The branch; `Some(None)` is the default branch.
    pub branch: Option<Option<String>>,
    /// The repository.
    pub repository: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The code base.
    pub codebase: Option<String>,
}

/// The id of the scheduler with this name; added if there is none.
///
/// # Errors
/// What the database reported.
pub async fn find_id(connection: &impl ConnectionTrait, name: &str) -> Result<SchedulerId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM schedulers WHERE name_hash = $1";
    if let Some(row) = fetch_one(connection, find, params![hash.as_str()]).await? {
        return id(&row, "id");
    }
    let sql = "INSERT INTO schedulers (name, name_hash) VALUES ($1, $2) ON CONFLICT (name_hash) DO NOTHING";
    execute(connection, sql, params![name, hash.as_str()]).await?;
    match fetch_one(connection, find, params![hash]).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("scheduler")),
    }
}

/// Switches a scheduler on or off. Returns whether that changed anything.
///
/// # Errors
/// [`DbError::NotFound`] if there is no such scheduler.
pub async fn enable(tx: &Tx, scheduler: SchedulerId, enabled: bool) -> Result<bool, DbError> {
    let sql = "UPDATE schedulers SET enabled = $2 WHERE id = $1 AND enabled <> $2";
    if execute(tx, sql, params![scheduler, enabled]).await? > 0 {
        return Ok(true);
    }
    let sql = "SELECT id FROM schedulers WHERE id = $1";
    fetch_one(tx, sql, params![scheduler]).await?.map(|_| false).ok_or(DbError::NotFound("scheduler"))
}

/// Gives a scheduler to a master, or takes it from whichever has it.
///
/// # Errors
/// [`DbError::AlreadyClaimed`] if another living master runs it, [`DbError::EpochEnded`] if the new owner is not alive.
pub async fn set_master(tx: &Tx, scheduler: SchedulerId, owner: Option<Owner>) -> Result<(), DbError> {
    match owner {
        Some(owner) => match leases::acquire(tx, Lease::Scheduler(scheduler), owner).await? {
            true => Ok(()),
            false => Err(DbError::AlreadyClaimed),
        },
        None => {
            execute(tx, "DELETE FROM scheduler_masters WHERE schedulerid = $1", params![scheduler]).await?;
            Ok(())
        }
    }
}

/// The master that runs a scheduler.
///
/// # Errors
/// What the database reported.
pub async fn master(connection: &impl ConnectionTrait, scheduler: SchedulerId) -> Result<Option<MasterId>, DbError> {
    Ok(leases::holder(connection, Lease::Scheduler(scheduler)).await?.map(|owner| owner.master_id))
}

/// Notes for each change whether it is important to the scheduler; a later call wins.
///
/// # Errors
/// [`DbError::Conflict`] if the scheduler or a change does not exist.
pub async fn classify(tx: &Tx, scheduler: SchedulerId, changes: &[(ChangeId, bool)]) -> Result<(), DbError> {
    if changes.is_empty() {
        return Ok(());
    }
    // The last word on a change is the one to keep; one statement must not touch a row twice.
    let last: BTreeMap<i64, bool> = changes.iter().map(|(change, important)| (change.get(), *important)).collect();
    let rows: Vec<(i64, bool)> = last.into_iter().collect();
    let (cells, from) = rows_of(tx.get_database_backend(), 2, &[Cell::Int, Cell::Bool]);
    let sql = format!(
        "INSERT INTO scheduler_changes (schedulerid, changeid, important)
         SELECT $1, {}, {} FROM {from} WHERE true
         ON CONFLICT (schedulerid, changeid) DO UPDATE SET important = excluded.important",
        cells[0], cells[1]
    );
    execute(tx, sql, params![scheduler, crate::builders::json(&rows)?]).await?;
    Ok(())
}

/// Forgets the classifications of a scheduler: all, or those of changes before `less_than`.
///
/// # Errors
/// What the database reported.
pub async fn flush_classifications(
    tx: &Tx,
    scheduler: SchedulerId,
    less_than: Option<ChangeId>,
) -> Result<u64, DbError> {
    let sql = "DELETE FROM scheduler_changes
               WHERE schedulerid = $1 AND (CAST($2 AS BIGINT) IS NULL OR changeid < $2)";
    execute(tx, sql, params![scheduler, less_than]).await
}

/// The changes that a scheduler has yet to deal with, by id, and whether each is important.
///
/// # Errors
/// What the database reported.
pub async fn classifications(
    connection: &impl ConnectionTrait,
    scheduler: SchedulerId,
    line: &ChangeLine,
) -> Result<BTreeMap<ChangeId, bool>, DbError> {
    let sql = "SELECT sc.changeid AS changeid, sc.important AS important
               FROM scheduler_changes sc JOIN changes c ON c.changeid = sc.changeid
               WHERE sc.schedulerid = $1
                 AND ($2 OR c.branch IS NOT DISTINCT FROM CAST($3 AS TEXT))
                 AND (CAST($4 AS TEXT) IS NULL OR c.repository = $4)
                 AND (CAST($5 AS TEXT) IS NULL OR c.project = $5)
                 AND (CAST($6 AS TEXT) IS NULL OR c.codebase = $6)";
    let values = params![
        scheduler,
        line.branch.is_none(),
        line.branch.clone().flatten(),
        line.repository.clone(),
        line.project.clone(),
        line.codebase.clone(),
    ];
    fetch_all(connection, sql, values)
        .await?
        .iter()
        .map(|row| Ok((id(row, "changeid")?, column(row, "important")?)))
        .collect()
}

const SELECT: &str = "SELECT s.id AS schedulerid, s.name AS scheduler_name, s.enabled AS enabled,
        m.id AS masterid, m.name AS name, m.active AS active, m.last_active AS last_active
    FROM schedulers s LEFT JOIN scheduler_masters sm ON sm.schedulerid = s.id
    LEFT JOIN masters m ON m.id = sm.masterid";

fn from_row(row: &QueryResult) -> Result<Scheduler, DbError> {
    let master = match column::<Option<i64>>(row, "masterid")? {
        Some(_) => Some(masters::from_row(row)?),
        None => None,
    };
    Ok(Scheduler {
        schedulerid: id(row, "schedulerid")?,
        name: column(row, "scheduler_name")?,
        enabled: column(row, "enabled")?,
        master,
    })
}

/// A scheduler with the master that runs it.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, scheduler: SchedulerId) -> Result<Option<Scheduler>, DbError> {
    let sql = format!("{SELECT} WHERE s.id = $1");
    fetch_one(connection, sql, params![scheduler]).await?.as_ref().map(from_row).transpose()
}

/// The schedulers that run on some master (`active`) or on none, and on this one; all if nothing is asked for. By id.
///
/// # Errors
/// What the database reported.
pub async fn list(
    connection: &impl ConnectionTrait,
    active: Option<bool>,
    master: Option<MasterId>,
) -> Result<Vec<Scheduler>, DbError> {
    let sql = format!(
        "{SELECT} WHERE (CAST($1 AS BOOLEAN) IS NULL OR (sm.masterid IS NOT NULL) = $1)
           AND (CAST($2 AS BIGINT) IS NULL OR sm.masterid = $2) ORDER BY s.id"
    );
    fetch_all(connection, sql, params![active, master]).await?.iter().map(from_row).collect()
}
