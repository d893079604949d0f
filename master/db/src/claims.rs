//! Owners, epochs, and the locks that fence off a master that was declared dead.
//!
//! A transaction that writes to something claimed first locks its claim row, naming (master, epoch). Taking over locks
//! the same row more strongly (`FOR UPDATE`, or `DELETE`), so the two serialise: either the writer commits first and
//! its successor sees the result, or the takeover commits first and the writer finds no row. A mere
//! `WHERE EXISTS (... epoch ...)` would be judged against an old snapshot.
//!
//! `FOR KEY SHARE` is the weakest lock that a takeover conflicts with; it lets several writers of the same master, the
//! check-in's update and foreign key checks go on side by side. SQLite has one writer, so reading is locking enough.

use buildguild_types::ids::{BuildId, BuildRequestId, ChangeSourceId, MasterId, SchedulerId, StepId};
use buildguild_types::resources::Build;
use sea_orm::{ConnectionTrait, DbBackend};

use crate::sql::fetch_one;
use crate::{DbError, Tx, builds, params};

/// Who a master's process is: its master and the epoch that it was given when it registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The master.
    pub master_id: MasterId,
    /// The epoch of this process.
    pub epoch: i64,
}

/// The clause that locks rows of `table` against a takeover.
pub(crate) fn share(backend: DbBackend, table: &str) -> String {
    match backend {
        DbBackend::Postgres => format!(" FOR KEY SHARE OF {table}"),
        _ => String::new(),
    }
}

/// The clause that locks rows of `table` for a takeover.
pub(crate) fn exclusive(backend: DbBackend, table: &str) -> String {
    match backend {
        DbBackend::Postgres => format!(" FOR UPDATE OF {table}"),
        _ => String::new(),
    }
}

/// Locks the master's own row: what follows in the transaction is done by a master that is still active.
///
/// # Errors
/// [`DbError::EpochEnded`] if it is not.
pub async fn lock_master(tx: &Tx, owner: Owner) -> Result<(), DbError> {
    let sql = format!(
        "SELECT id FROM masters WHERE id = $1 AND epoch = $2 AND active{}",
        share(tx.get_database_backend(), "masters")
    );
    match fetch_one(tx, sql, params![owner.master_id, owner.epoch]).await? {
        Some(_) => Ok(()),
        None => Err(DbError::EpochEnded),
    }
}

/// Locks the claim of a request.
///
/// # Errors
/// [`DbError::ClaimLost`] if the owner does not hold it.
pub async fn lock_request(tx: &Tx, request: BuildRequestId, owner: Owner) -> Result<(), DbError> {
    let sql = format!(
        "SELECT brid FROM buildrequest_claims WHERE brid = $1 AND masterid = $2 AND epoch = $3{}",
        share(tx.get_database_backend(), "buildrequest_claims")
    );
    match fetch_one(tx, sql, params![request, owner.master_id, owner.epoch]).await? {
        Some(_) => Ok(()),
        None => Err(DbError::ClaimLost),
    }
}

/// Locks the claim under which a build runs, and reads the build.
///
/// # Errors
/// [`DbError::ClaimLost`] if the owner does not hold the claim or the build has ended: nothing may be written to it
/// any more. (A new build of the same request by the same owner is another build.)
pub async fn lock_build(tx: &Tx, build: BuildId, owner: Owner) -> Result<Build, DbError> {
    let sql = format!(
        "SELECT {} FROM builds b JOIN buildrequest_claims c ON c.brid = b.buildrequestid
         WHERE b.id = $1 AND b.complete_at IS NULL AND c.masterid = $2 AND c.epoch = $3{}",
        builds::COLUMNS,
        share(tx.get_database_backend(), "c")
    );
    match fetch_one(tx, sql, params![build, owner.master_id, owner.epoch]).await? {
        Some(row) => builds::from_row(&row),
        None => Err(DbError::ClaimLost),
    }
}

/// Locks the claim under which a step's build runs, and reads the build.
///
/// # Errors
/// As [`lock_build`].
pub async fn lock_step(tx: &Tx, step: StepId, owner: Owner) -> Result<Build, DbError> {
    let sql = format!(
        "SELECT {} FROM steps s JOIN builds b ON b.id = s.buildid
         JOIN buildrequest_claims c ON c.brid = b.buildrequestid
         WHERE s.id = $1 AND b.complete_at IS NULL AND c.masterid = $2 AND c.epoch = $3{}",
        builds::COLUMNS,
        share(tx.get_database_backend(), "c")
    );
    match fetch_one(tx, sql, params![step, owner.master_id, owner.epoch]).await? {
        Some(row) => builds::from_row(&row),
        None => Err(DbError::ClaimLost),
    }
}

/// Locks a scheduler's claim.
///
/// # Errors
/// [`DbError::ClaimLost`] if the owner does not hold it.
pub async fn lock_scheduler(tx: &Tx, scheduler: SchedulerId, owner: Owner) -> Result<(), DbError> {
    let sql = format!(
        "SELECT schedulerid FROM scheduler_masters WHERE schedulerid = $1 AND masterid = $2 AND epoch = $3{}",
        share(tx.get_database_backend(), "scheduler_masters")
    );
    match fetch_one(tx, sql, params![scheduler, owner.master_id, owner.epoch]).await? {
        Some(_) => Ok(()),
        None => Err(DbError::ClaimLost),
    }
}

/// Locks a change source's claim.
///
/// # Errors
/// [`DbError::ClaimLost`] if the owner does not hold it.
pub async fn lock_changesource(tx: &Tx, changesource: ChangeSourceId, owner: Owner) -> Result<(), DbError> {
    let sql = format!(
        "SELECT changesourceid FROM changesource_masters WHERE changesourceid = $1 AND masterid = $2 AND epoch = $3{}",
        share(tx.get_database_backend(), "changesource_masters")
    );
    match fetch_one(tx, sql, params![changesource, owner.master_id, owner.epoch]).await? {
        Some(_) => Ok(()),
        None => Err(DbError::ClaimLost),
    }
}
