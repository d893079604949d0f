//! Locks of the whole cluster: places that builds and steps hold, and the queues of those that wait.
//!
//! A waiter asks for all its locks at once and gets all or none. Each lock has one queue, in the order in which waiters
//! came, on whatever master: who is not the first of those that wait gets nothing, even if there were room, so that
//! nobody starves. What masters held whose epoch has ended counts for nothing.

use buildguild_types::ids::BuildId;
use sea_orm::{ConnectionTrait, DbBackend};

use crate::sql::{column, execute, fetch_all};
use crate::{DbError, Owner, Tx, params};

/// A lock that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The lock.
    pub key: String,
    /// Whether nobody else may hold it.
    pub exclusive: bool,
    /// How many places.
    pub places: i64,
    /// How many places it has.
    pub capacity: i64,
}

/// Who wants locks: a build or one of its steps.
#[derive(Clone, Copy, Debug)]
pub struct Waiter<'a> {
    /// Unique for ever: `build-7`, `step-12`.
    pub name: &'a str,
    /// The build.
    pub build: BuildId,
    /// The process that runs it.
    pub owner: Owner,
}

/// Rows whose owner does not live any more, or whose build has ended.
const DEAD: &str = "(NOT EXISTS (SELECT 1 FROM masters m WHERE m.id = lock_places.masterid
        AND m.epoch = lock_places.epoch AND m.active)
     OR EXISTS (SELECT 1 FROM builds b WHERE b.id = lock_places.buildid AND b.complete_at IS NOT NULL))";

/// Takes locks, or a place in their queues. Returns whether they are the waiter's now. Asking again keeps the place.
/// The caller has locked the build's claim.
///
/// # Errors
/// What the database reported.
pub async fn take(tx: &Tx, waiter: Waiter<'_>, wanted: &[Wanted]) -> Result<bool, DbError> {
    guard(tx).await?;
    for lock in wanted {
        let sql = "INSERT INTO lock_places (lock_key, waiter, buildid, masterid, epoch, exclusive, places, granted)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE) ON CONFLICT (waiter, lock_key) DO NOTHING";
        let Owner { master_id, epoch } = waiter.owner;
        let values = params![&lock.key, waiter.name, waiter.build, master_id, epoch, lock.exclusive, lock.places];
        execute(tx, sql, values).await?;
    }
    if !is_free(tx, waiter.name, wanted).await? {
        return Ok(false);
    }
    execute(tx, "UPDATE lock_places SET granted = TRUE WHERE waiter = $1", params![waiter.name]).await?;
    Ok(true)
}

/// Whether a waiter that has its place in the queues could take its locks now. Without the guard the answer is a hint.
///
/// # Errors
/// What the database reported.
pub async fn is_free(connection: &impl ConnectionTrait, waiter: &str, wanted: &[Wanted]) -> Result<bool, DbError> {
    for lock in wanted {
        let sql = format!(
            "SELECT waiter, exclusive, places, granted FROM lock_places
             WHERE lock_key = $1 AND NOT {DEAD} ORDER BY id"
        );
        let mut held = 0;
        let mut is_first = true;
        let mut seen_self = false;
        for row in fetch_all(connection, sql, params![&lock.key]).await? {
            if column::<String>(&row, "waiter")? == waiter {
                seen_self = true;
                continue;
            }
            if column::<bool>(&row, "granted")? {
                if lock.exclusive || column::<bool>(&row, "exclusive")? {
                    return Ok(false);
                }
                held += column::<i64>(&row, "places")?;
            } else if !seen_self {
                is_first = false;
            }
        }
        if !is_first || (!lock.exclusive && held + lock.places > lock.capacity) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a waiter's places back, held or waited for.
///
/// # Errors
/// What the database reported.
pub async fn release(tx: &Tx, waiter: &str) -> Result<(), DbError> {
    execute(tx, "DELETE FROM lock_places WHERE waiter = $1", params![waiter]).await?;
    Ok(())
}

/// Gives back all that a build and its steps have.
///
/// # Errors
/// What the database reported.
pub async fn release_build(tx: &Tx, build: BuildId) -> Result<(), DbError> {
    execute(tx, "DELETE FROM lock_places WHERE buildid = $1", params![build]).await?;
    Ok(())
}

/// Removes what counts for nothing any more.
///
/// # Errors
/// What the database reported.
pub async fn release_orphans(tx: &Tx) -> Result<u64, DbError> {
    execute(tx, format!("DELETE FROM lock_places WHERE {DEAD}"), params![]).await
}

/// Queues are judged by one transaction at a time. SQLite has one writer anyway.
async fn guard(tx: &Tx) -> Result<(), DbError> {
    if tx.get_database_backend() == DbBackend::Postgres {
        fetch_all(tx, "SELECT id FROM lock_guard WHERE id = 1 FOR UPDATE", params![]).await?;
    }
    Ok(())
}
