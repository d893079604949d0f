//! Build requests and their claims.
//!
//! A claim is a row that carries (master, epoch). It is taken by an update whose row count decides, and everything that
//! is done under it locks it first (see [`crate::claims`]).

use std::collections::BTreeMap;

use buildguild_types::ids::{BuildRequestId, BuilderId, BuildsetId, MasterId};
use buildguild_types::resources::{BuildRequest, Buildset};
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::claims::{exclusive, lock_master, share};
use crate::sql::{
    column, execute, fetch_all, fetch_one, id, id_list, in_list, maybe_id, maybe_results, maybe_time, time,
};
use crate::{DbError, Owner, Tx, buildsets, params};

/// The columns of a request (`r`) and its claim (`c`).
pub(crate) const COLUMNS: &str = "r.id AS buildrequestid, r.buildsetid AS buildsetid, r.builderid AS builderid,
    r.priority AS priority, r.complete AS complete, r.complete_at AS complete_at, r.results AS results,
    r.submitted_at AS submitted_at, r.waited_for AS waited_for, c.claimed_at AS claimed_at,
    c.masterid AS claimed_by_masterid";

/// The tables that [`COLUMNS`] are from.
pub(crate) const FROM: &str = "buildrequests r LEFT JOIN buildrequest_claims c ON c.brid = r.id";

pub(crate) fn from_row(row: &QueryResult) -> Result<BuildRequest, DbError> {
    let claimed_by_masterid: Option<MasterId> = maybe_id(row, "claimed_by_masterid")?;
    Ok(BuildRequest {
        buildrequestid: id(row, "buildrequestid")?,
        buildsetid: id(row, "buildsetid")?,
        builderid: id(row, "builderid")?,
        priority: column(row, "priority")?,
        claimed: claimed_by_masterid.is_some(),
        claimed_at: maybe_time(row, "claimed_at")?,
        claimed_by_masterid,
        complete: column(row, "complete")?,
        complete_at: maybe_time(row, "complete_at")?,
        results: maybe_results(row, "results")?,
        submitted_at: time(row, "submitted_at")?,
        waited_for: column(row, "waited_for")?,
        properties: None,
    })
}

/// Claims as many of the requests as are free, and returns those.
///
/// # Errors
/// [`DbError::EpochEnded`] if the owner is not active.
pub async fn claim_some(
    tx: &Tx,
    requests: &[BuildRequestId],
    owner: Owner,
    now: Timestamp,
) -> Result<Vec<BuildRequest>, DbError> {
    lock_master(tx, owner).await?;
    let backend = tx.get_database_backend();
    // Locking in the order of ids keeps two masters with overlapping batches from a deadlock.
    let sql = format!(
        "UPDATE buildrequests SET claimed = TRUE WHERE NOT claimed AND NOT complete AND id IN (
             SELECT r.id FROM buildrequests r WHERE r.id {} AND NOT r.claimed AND NOT r.complete ORDER BY r.id{})
         RETURNING {UPDATED}",
        in_list(backend, 1),
        exclusive(backend, "r")
    );
    let claim = Some((owner.master_id, now));
    let won = updated(&fetch_all(tx, sql, params![id_list(requests)]).await?, |_| claim)?;
    if won.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<BuildRequestId> = won.iter().map(|request| request.buildrequestid).collect();
    let sql = format!(
        "INSERT INTO buildrequest_claims (brid, masterid, epoch, claimed_at)
         SELECT r.id, $2, $3, $4 FROM buildrequests r WHERE r.id {}",
        in_list(backend, 1)
    );
    let inserted = execute(tx, sql, params![id_list(&ids), owner.master_id, owner.epoch, now]).await?;
    if inserted != won.len() as u64 {
        return Err(DbError::AlreadyClaimed);
    }
    Ok(won)
}

/// What an update of requests gives back, to be read by [`updated`].
const UPDATED: &str = "id AS buildrequestid, buildsetid, builderid, priority, complete, complete_at, results,
    submitted_at, waited_for, CAST(NULL AS BIGINT) AS claimed_at, CAST(NULL AS BIGINT) AS claimed_by_masterid";

/// Reads updated requests, with the claims that are known. By id.
fn updated(
    rows: &[QueryResult],
    claim: impl Fn(BuildRequestId) -> Option<(MasterId, Timestamp)>,
) -> Result<Vec<BuildRequest>, DbError> {
    let mut requests = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    for request in &mut requests {
        let claim = claim(request.buildrequestid);
        request.claimed = claim.is_some();
        request.claimed_by_masterid = claim.map(|(master, _)| master);
        request.claimed_at = claim.map(|(_, at)| at);
    }
    requests.sort_by_key(|request| request.buildrequestid);
    Ok(requests)
}

/// Claims all of the requests, or none.
///
/// # Errors
/// [`DbError::AlreadyClaimed`] if any of them is claimed or complete (or does not exist).
pub async fn claim(
    tx: &Tx,
    requests: &[BuildRequestId],
    owner: Owner,
    now: Timestamp,
) -> Result<Vec<BuildRequest>, DbError> {
    let won = claim_some(tx, requests, owner, now).await?;
    if won.len() != requests.len() {
        return Err(DbError::AlreadyClaimed);
    }
    Ok(won)
}

/// Puts requests back into the queue. Those that the owner has not claimed, or that are complete, are left alone.
/// Returns those that were put back, as they are now.
///
/// # Errors
/// What the database reported.
pub async fn unclaim(tx: &Tx, requests: &[BuildRequestId], owner: Owner) -> Result<Vec<BuildRequest>, DbError> {
    let backend = tx.get_database_backend();
    // Lock first, judge afterwards: after waiting for a lock, the same statement would still see its old snapshot.
    let sql = format!(
        "SELECT brid FROM buildrequest_claims WHERE brid {} AND masterid = $2 AND epoch = $3 ORDER BY brid{}",
        in_list(backend, 1),
        exclusive(backend, "buildrequest_claims")
    );
    let held = ids(&fetch_all(tx, sql, params![id_list(requests), owner.master_id, owner.epoch]).await?, "brid")?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "UPDATE buildrequests SET claimed = FALSE WHERE id {} AND NOT complete RETURNING id",
        in_list(backend, 1)
    );
    let freed = ids(&fetch_all(tx, sql, params![id_list(&held)]).await?, "id")?;
    let sql = format!("DELETE FROM buildrequest_claims WHERE brid {}", in_list(backend, 1));
    execute(tx, sql, params![id_list(&freed)]).await?;
    get_many(tx, &freed).await
}

fn ids(rows: &[QueryResult], name: &str) -> Result<Vec<BuildRequestId>, DbError> {
    rows.iter().map(|row| id(row, name)).collect()
}

/// What completing requests brought about.
#[derive(Clone, Debug, Default)]
pub struct Completed {
    /// The requests, as they are now.
    pub requests: Vec<BuildRequest>,
    /// The buildsets that are complete with them.
    pub buildsets: Vec<Buildset>,
}

/// Completes requests that the owner has claimed, all or none, and with them the buildsets that have no others open.
///
/// # Errors
/// [`DbError::ClaimLost`] if the owner does not hold all the claims, [`DbError::AlreadyComplete`] if one is complete.
pub async fn complete(
    tx: &Tx,
    requests: &[BuildRequestId],
    results: Results,
    owner: Owner,
    now: Timestamp,
) -> Result<Completed, DbError> {
    let backend = tx.get_database_backend();
    let sql = format!(
        "SELECT brid, masterid, claimed_at FROM buildrequest_claims WHERE brid {} AND masterid = $2 AND epoch = $3{}",
        in_list(backend, 1),
        share(backend, "buildrequest_claims")
    );
    let mut claims = BTreeMap::new();
    for row in fetch_all(tx, sql, params![id_list(requests), owner.master_id, owner.epoch]).await? {
        claims.insert(id(&row, "brid")?, (id(&row, "masterid")?, time(&row, "claimed_at")?));
    }
    if claims.len() != requests.len() {
        return Err(DbError::ClaimLost);
    }
    let completed = finish(tx, requests, results, now, &claims).await?;
    if completed.requests.len() != requests.len() {
        return Err(DbError::AlreadyComplete);
    }
    Ok(completed)
}

/// Completes requests that nobody has claimed: cancelled or superseded ones. Those that are claimed or complete are
/// left alone; the requests in the result are those that were completed.
///
/// The owner claims them first, as Buildbot does: to clients, what is not claimed is still to be built.
///
/// # Errors
/// [`DbError::EpochEnded`] if the owner is not active.
pub async fn complete_queued(
    tx: &Tx,
    requests: &[BuildRequestId],
    results: Results,
    owner: Owner,
    now: Timestamp,
) -> Result<Completed, DbError> {
    let won = claim_some(tx, requests, owner, now).await?;
    let won: Vec<BuildRequestId> = won.iter().map(|request| request.buildrequestid).collect();
    let claims = won.iter().map(|request| (*request, (owner.master_id, now))).collect();
    finish(tx, &won, results, now, &claims).await
}

/// Completes requests with these claims.
async fn finish(
    tx: &Tx,
    requests: &[BuildRequestId],
    results: Results,
    now: Timestamp,
    claims: &BTreeMap<BuildRequestId, (MasterId, Timestamp)>,
) -> Result<Completed, DbError> {
    if requests.is_empty() {
        return Ok(Completed::default());
    }
    let sql = format!(
        "UPDATE buildrequests SET complete = TRUE, results = $2, complete_at = $3
         WHERE id {} AND NOT complete AND claimed RETURNING {UPDATED}",
        in_list(tx.get_database_backend(), 1)
    );
    let rows = fetch_all(tx, sql, params![id_list(requests), results, now]).await?;
    let requests = updated(&rows, |request| claims.get(&request).copied())?;
    let mut counts: BTreeMap<BuildsetId, i64> = BTreeMap::new();
    for request in &requests {
        *counts.entry(request.buildsetid).or_default() += 1;
    }
    let buildsets = buildsets::requests_completed(tx, &counts, results, now).await?;
    Ok(Completed { requests, buildsets })
}

/// Sets the priority of requests that are not complete.
///
/// # Errors
/// What the database reported.
pub async fn set_priority(tx: &Tx, requests: &[BuildRequestId], priority: i64) -> Result<u64, DbError> {
    let sql = format!(
        "UPDATE buildrequests SET priority = $2 WHERE id {} AND NOT complete",
        in_list(tx.get_database_backend(), 1)
    );
    execute(tx, sql, params![id_list(requests), priority]).await
}

/// The head of a builder's queue: the unclaimed requests, by priority and then age.
///
/// # Errors
/// What the database reported.
pub async fn claimable(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    limit: i64,
) -> Result<Vec<BuildRequest>, DbError> {
    // Index buildrequests_claimable. Unclaimed, so there is no claim to join.
    let sql = "SELECT r.id AS buildrequestid, r.buildsetid AS buildsetid, r.builderid AS builderid,
                   r.priority AS priority, r.complete AS complete, r.complete_at AS complete_at, r.results AS results,
                   r.submitted_at AS submitted_at, r.waited_for AS waited_for, CAST(NULL AS BIGINT) AS claimed_at,
                   CAST(NULL AS BIGINT) AS claimed_by_masterid
               FROM buildrequests r WHERE r.builderid = $1 AND NOT r.claimed AND NOT r.complete
               ORDER BY r.priority DESC, r.id LIMIT $2";
    fetch_all(connection, sql, params![builder, limit]).await?.iter().map(from_row).collect()
}

/// How many requests nobody has claimed, for metrics.
///
/// # Errors
/// What the database reported.
pub async fn count_pending(connection: &impl ConnectionTrait) -> Result<i64, DbError> {
    // Index buildrequests_unclaimed: the cost depends on what waits, not on what was ever built.
    let sql = "SELECT count(*) AS pending FROM buildrequests WHERE NOT claimed AND NOT complete";
    match fetch_one(connection, sql, vec![]).await? {
        Some(row) => column(&row, "pending"),
        None => Ok(0),
    }
}

/// Which of the builders have unclaimed requests.
///
/// # Errors
/// What the database reported.
pub async fn builders_waiting(
    connection: &impl ConnectionTrait,
    builders: &[BuilderId],
) -> Result<Vec<BuilderId>, DbError> {
    // One probe of the index buildrequests_claimable per builder, however many requests wait.
    let sql = format!(
        "SELECT b.id AS id FROM builders b WHERE b.id {} AND EXISTS (
             SELECT 1 FROM buildrequests r WHERE r.builderid = b.id AND NOT r.claimed AND NOT r.complete)
         ORDER BY b.id",
        in_list(connection.get_database_backend(), 1)
    );
    fetch_all(connection, sql, params![id_list(builders)]).await?.iter().map(|row| id(row, "id")).collect()
}

/// The queue of a builder, seen from outside.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The request that comes first.
    pub first: BuildRequest,
    /// The newest one.
    pub newest: BuildRequestId,
}

/// The queues of those of the builders that have one, in one question to the database.
///
/// # Errors
/// What the database reported.
pub async fn queues(connection: &impl ConnectionTrait, builders: &[BuilderId]) -> Result<Vec<Queue>, DbError> {
    // Two probes of an index for each builder, however many requests wait: buildrequests_claimable for the first one,
    // buildrequests_builderid from its end for the newest.
    let sql = format!(
        "SELECT r.id AS buildrequestid, r.buildsetid AS buildsetid, r.builderid AS builderid,
             r.priority AS priority, r.complete AS complete, r.complete_at AS complete_at, r.results AS results,
             r.submitted_at AS submitted_at, r.waited_for AS waited_for, CAST(NULL AS BIGINT) AS claimed_at,
             CAST(NULL AS BIGINT) AS claimed_by_masterid, q.newest AS newest
         FROM (SELECT
                   (SELECT f.id FROM buildrequests f WHERE f.builderid = b.id AND NOT f.claimed AND NOT f.complete
                    ORDER BY f.priority DESC, f.id LIMIT 1) AS head,
                   (SELECT n.id FROM buildrequests n WHERE n.builderid = b.id AND NOT n.claimed AND NOT n.complete
                    ORDER BY n.id DESC LIMIT 1) AS newest
               FROM builders b WHERE b.id {}) q
         JOIN buildrequests r ON r.id = q.head",
        in_list(connection.get_database_backend(), 1)
    );
    let rows = fetch_all(connection, sql, params![id_list(builders)]).await?;
    rows.iter().map(|row| Ok(Queue { first: from_row(row)?, newest: id(row, "newest")? })).collect()
}

/// The incomplete requests that an owner has claimed.
///
/// # Errors
/// What the database reported.
pub async fn claimed_by(connection: &impl ConnectionTrait, owner: Owner) -> Result<Vec<BuildRequest>, DbError> {
    // Index buildrequests_running.
    let sql = format!(
        "SELECT {COLUMNS} FROM buildrequests r JOIN buildrequest_claims c ON c.brid = r.id
         WHERE r.claimed AND NOT r.complete AND c.masterid = $1 AND c.epoch = $2 ORDER BY r.id"
    );
    fetch_all(connection, sql, params![owner.master_id, owner.epoch]).await?.iter().map(from_row).collect()
}

/// The incomplete requests whose claims belong to epochs that have ended, with the owners of those claims.
///
/// # Errors
/// What the database reported.
pub async fn orphans(connection: &impl ConnectionTrait, limit: i64) -> Result<Vec<(BuildRequestId, Owner)>, DbError> {
    // Index buildrequests_running.
    let sql = "SELECT r.id AS id, c.masterid AS masterid, c.epoch AS epoch
               FROM buildrequests r JOIN buildrequest_claims c ON c.brid = r.id JOIN masters m ON m.id = c.masterid
               WHERE r.claimed AND NOT r.complete AND (NOT m.active OR m.epoch <> c.epoch) ORDER BY r.id LIMIT $1";
    fetch_all(connection, sql, params![limit])
        .await?
        .iter()
        .map(|row| {
            let owner = Owner { master_id: id(row, "masterid")?, epoch: column(row, "epoch")? };
            Ok((id(row, "id")?, owner))
        })
        .collect()
}

/// Locks a claim whose epoch has ended, for a takeover: whoever wrote under it has finished or is refused from now on.
/// Returns whether the claim was still there and its owner is still not active.
///
/// # Errors
/// What the database reported.
pub async fn lock_orphan(tx: &Tx, request: BuildRequestId, owner: Owner) -> Result<bool, DbError> {
    let sql = format!(
        "SELECT c.brid FROM buildrequest_claims c JOIN masters m ON m.id = c.masterid
         WHERE c.brid = $1 AND c.masterid = $2 AND c.epoch = $3 AND (NOT m.active OR m.epoch <> c.epoch){}",
        exclusive(tx.get_database_backend(), "c")
    );
    if fetch_one(tx, sql, params![request, owner.master_id, owner.epoch]).await?.is_none() {
        return Ok(false);
    }
    // A second statement, for a snapshot after the lock: its owner may have completed the request just before.
    let sql = "SELECT id FROM buildrequests WHERE id = $1 AND NOT complete";
    Ok(fetch_one(tx, sql, params![request]).await?.is_some())
}

/// Moves a claim that was locked with [`lock_orphan`] to a living owner: the build goes on under it.
///
/// # Errors
/// [`DbError::EpochEnded`] if the new owner is not active.
pub async fn adopt(tx: &Tx, request: BuildRequestId, owner: Owner) -> Result<(), DbError> {
    lock_master(tx, owner).await?;
    let sql = "UPDATE buildrequest_claims SET masterid = $2, epoch = $3 WHERE brid = $1";
    execute(tx, sql, params![request, owner.master_id, owner.epoch]).await?;
    Ok(())
}

/// A request.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, request: BuildRequestId) -> Result<Option<BuildRequest>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE r.id = $1");
    fetch_one(connection, sql, params![request]).await?.as_ref().map(from_row).transpose()
}

/// Requests by their ids, in the order of ids.
///
/// # Errors
/// What the database reported.
pub async fn get_many(
    connection: &impl ConnectionTrait,
    requests: &[BuildRequestId],
) -> Result<Vec<BuildRequest>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE r.id {} ORDER BY r.id",
        in_list(connection.get_database_backend(), 1)
    );
    fetch_all(connection, sql, params![id_list(requests)]).await?.iter().map(from_row).collect()
}

/// The requests of a buildset, by id.
///
/// # Errors
/// What the database reported.
pub async fn for_buildset(
    connection: &impl ConnectionTrait,
    buildset: BuildsetId,
) -> Result<Vec<BuildRequest>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE r.buildsetid = $1 ORDER BY r.id");
    fetch_all(connection, sql, params![buildset]).await?.iter().map(from_row).collect()
}
