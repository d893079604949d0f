//! Wishes: what somebody wants done by whichever master holds an object. The wish is a fact; the event that follows it
//! is only a hint, so a lost hint delays it and a dead master does not lose it.

use buildguild_types::ids::{BuildId, BuildRequestId};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, id_list, in_list, time};
use crate::{DbError, Tx, params};

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WishKind {
    /// Stop a build.
    StopBuild,
    /// Cancel a build request.
    CancelRequest,
    /// Tell a worker to shut down when it is idle.
    StopWorker,
    /// Disconnect a worker at once.
    KillWorker,
    /// Ask a worker's connection whether it lives: another one of the same name waits.
    ProbeWorker,
    /// Have a master finish its builds and leave.
    DrainMaster,
}

impl WishKind {
    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StopBuild => "build.stop",
            Self::CancelRequest => "buildrequest.cancel",
            Self::StopWorker => "worker.stop",
            Self::KillWorker => "worker.kill",
            Self::ProbeWorker => "worker.probe",
            Self::DrainMaster => "master.drain",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::StopBuild,
            Self::CancelRequest,
            Self::StopWorker,
            Self::KillWorker,
            Self::ProbeWorker,
            Self::DrainMaster,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its id.
    pub id: i64,
    /// What is wished for.
    pub kind: WishKind,
    /// The id of the build, request, worker or master.
    pub target: i64,
    /// Why.
    pub reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Nothing for a kind that only a newer version knows: that one's masters fulfil it.
fn from_row(row: &QueryResult) -> Result<Option<Wish>, DbError> {
    let Some(kind) = WishKind::from_name(&column::<String>(row, "kind")?) else { return Ok(None) };
    Ok(Some(Wish {
        id: column(row, "id")?,
        kind,
        target: column(row, "target")?,
        reason: column(row, "reason")?,
        created_at: time(row, "created_at")?,
    }))
}

/// Makes a wish. A second one of the same kind for the same target keeps the first. Returns whether it is new.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, kind: WishKind, target: i64, reason: Option<&str>, now: Timestamp) -> Result<bool, DbError> {
    let sql = "INSERT INTO wishes (kind, target, reason, created_at) VALUES ($1, $2, $3, $4)
               ON CONFLICT (kind, target) DO NOTHING";
    Ok(execute(tx, sql, params![kind.name(), target, reason, now]).await? == 1)
}

/// The wish of this kind for this target.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, kind: WishKind, target: i64) -> Result<Option<Wish>, DbError> {
    let sql = "SELECT id, kind, target, reason, created_at FROM wishes WHERE kind = $1 AND target = $2";
    fetch_one(connection, sql, params![kind.name(), target]).await?.map_or(Ok(None), |row| from_row(&row))
}

/// All wishes, oldest first. There are few: each is removed when it is fulfilled or its target has ended.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait) -> Result<Vec<Wish>, DbError> {
    let sql = "SELECT id, kind, target, reason, created_at FROM wishes ORDER BY id";
    fetch_all(connection, sql, vec![]).await?.iter().filter_map(|row| from_row(row).transpose()).collect()
}

/// Removes the wishes for a target.
///
/// # Errors
/// What the database reported.
pub async fn remove(tx: &Tx, kinds: &[WishKind], target: i64) -> Result<u64, DbError> {
    let mut removed = 0;
    for kind in kinds {
        let sql = "DELETE FROM wishes WHERE kind = $1 AND target = $2";
        removed += execute(tx, sql, params![kind.name(), target]).await?;
    }
    Ok(removed)
}

/// Removes the wishes of one kind for several targets.
///
/// # Errors
/// What the database reported.
pub async fn remove_for(tx: &Tx, kind: WishKind, targets: &[i64]) -> Result<u64, DbError> {
    if targets.is_empty() {
        return Ok(0);
    }
    let sql = format!("DELETE FROM wishes WHERE kind = $1 AND target {}", in_list(tx.get_database_backend(), 2));
    execute(tx, sql, params![kind.name(), id_list(targets)]).await
}

/// Removes the wishes about a build that has ended, and about its request.
///
/// # Errors
/// What the database reported.
pub async fn remove_of_build(tx: &Tx, build: BuildId, request: BuildRequestId) -> Result<u64, DbError> {
    let sql = "DELETE FROM wishes WHERE (kind = 'build.stop' AND target = $1)
               OR (kind = 'buildrequest.cancel' AND target = $2)";
    execute(tx, sql, params![build, request]).await
}

/// Removes wishes by their ids.
///
/// # Errors
/// What the database reported.
pub async fn remove_many(tx: &Tx, wishes: &[i64]) -> Result<u64, DbError> {
    let sql = format!("DELETE FROM wishes WHERE id {}", in_list(tx.get_database_backend(), 1));
    execute(tx, sql, params![id_list(wishes)]).await
}

/// Removes wishes to stop builds that have ended and to cancel requests that are complete.
///
/// # Errors
/// What the database reported.
pub async fn remove_settled(tx: &Tx) -> Result<u64, DbError> {
    let sql = "DELETE FROM wishes WHERE
        (kind = 'build.stop'
            AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.id = wishes.target AND b.complete_at IS NULL))
        OR (kind = 'buildrequest.cancel'
            AND NOT EXISTS (SELECT 1 FROM buildrequests r WHERE r.id = wishes.target AND NOT r.complete))";
    execute(tx, sql, vec![]).await
}
