//! Builds.

use buildguild_types::ids::{BuildId, BuildRequestId, BuilderId, ChangeId, WorkerId};
use buildguild_types::properties::Properties;
use buildguild_types::resources::Build;
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

use crate::claims::share;
use crate::sql::{
    column, execute, fetch_all, fetch_one, id, id_list, in_list, maybe_id, maybe_results, maybe_time, time,
};
use crate::{Db, DbError, Owner, Tx, params};

/// The columns of a build (`b`), without its properties.
pub(crate) const COLUMNS: &str = "b.id AS buildid, b.number AS number, b.builderid AS builderid,
    b.buildrequestid AS buildrequestid, b.workerid AS workerid, b.masterid AS masterid, b.started_at AS started_at,
    b.complete_at AS complete_at, b.locks_duration_s AS locks_duration_s, b.state_string AS state_string,
    b.results AS results";

pub(crate) fn from_row(row: &QueryResult) -> Result<Build, DbError> {
    let complete_at = maybe_time(row, "complete_at")?;
    Ok(Build {
        buildid: id(row, "buildid")?,
        number: column(row, "number")?,
        builderid: id(row, "builderid")?,
        buildrequestid: id(row, "buildrequestid")?,
        workerid: maybe_id(row, "workerid")?.unwrap_or(WorkerId(0)),
        masterid: id(row, "masterid")?,
        started_at: time(row, "started_at")?,
        complete: complete_at.is_some(),
        complete_at,
        results: maybe_results(row, "results")?,
        state_string: column(row, "state_string")?,
        locks_duration_s: column(row, "locks_duration_s")?,
        properties: Properties::new(),
    })
}

/// A build that is to be added.
#[derive(Clone, Debug)]
pub struct NewBuild<'a> {
    /// The builder.
    pub builder: BuilderId,
    /// The request it serves, which the master has claimed.
    pub request: BuildRequestId,
    /// The worker it runs on.
    pub worker: WorkerId,
    /// What it is doing.
    pub state_string: &'a str,
}

const NEXT_NUMBER: &str = "ON CONFLICT (builderid) DO UPDATE SET last_number = builder_numbers.last_number + 1
                           RETURNING last_number";

/// Takes the builder's next number, in one atomic update of its own: builds of a builder that start at the same time do
/// not wait for each other's transactions. The number is lost if the build is not added; numbers never come twice.
///
/// The commit is not waited for: the one that adds the build comes later in the log, and makes both durable.
///
/// SQLite has one writer anyway; there the number is taken together with the build, and this gives nothing.
///
/// # Errors
/// What the database reported.
pub async fn reserve_number(db: &Db, builder: BuilderId) -> Result<Option<i64>, DbError> {
    if db.backend() != DbBackend::Postgres {
        return Ok(None);
    }
    let sql = format!(
        "INSERT INTO builder_numbers (builderid, last_number)
         SELECT $1, 1 FROM (SELECT set_config('synchronous_commit', 'off', true) AS set) AS async
         WHERE async.set IS NOT NULL {NEXT_NUMBER}"
    );
    let row = fetch_one(db.read(), sql, params![builder]).await?.ok_or(DbError::NotFound("builder"))?;
    db.hooks().at("db::builds::reserve_number:after");
    Ok(Some(column(&row, "last_number")?))
}

/// Adds a build with the builder's next number, which is one atomic update. The caller has locked the request's claim.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, new: &NewBuild<'_>, owner: Owner, now: Timestamp) -> Result<Build, DbError> {
    let sql = format!("INSERT INTO builder_numbers (builderid, last_number) VALUES ($1, 1) {NEXT_NUMBER}");
    let row = fetch_one(tx, sql, params![new.builder]).await?.ok_or(DbError::NotFound("builder"))?;
    add_numbered(tx, new, column(&row, "last_number")?, owner, now).await
}

/// Adds a build with a number that was reserved for it, and locks the request's claim.
///
/// # Errors
/// [`DbError::ClaimLost`] if the owner does not hold it.
pub async fn add_numbered(
    tx: &Tx,
    new: &NewBuild<'_>,
    number: i64,
    owner: Owner,
    now: Timestamp,
) -> Result<Build, DbError> {
    let sql = format!(
        "INSERT INTO builds (number, builderid, buildrequestid, workerid, masterid, started_at, state_string)
         SELECT $1, $2, c.brid, $4, $5, $6, $7 FROM buildrequest_claims c
         WHERE c.brid = $3 AND c.masterid = $5 AND c.epoch = $8{} RETURNING id",
        share(tx.get_database_backend(), "c")
    );
    let values =
        params![number, new.builder, new.request, new.worker, owner.master_id, now, new.state_string, owner.epoch];
    let row = fetch_one(tx, sql, values).await?.ok_or(DbError::ClaimLost)?;
    Ok(Build {
        buildid: id(&row, "id")?,
        number,
        builderid: new.builder,
        buildrequestid: new.request,
        workerid: new.worker,
        masterid: owner.master_id,
        started_at: now,
        complete: false,
        complete_at: None,
        results: None,
        state_string: new.state_string.to_owned(),
        locks_duration_s: 0,
        properties: Properties::new(),
    })
}

/// Sets what a build is doing.
///
/// # Errors
/// What the database reported.
pub async fn set_state_string(tx: &Tx, build: BuildId, state: &str) -> Result<(), DbError> {
    let sql = "UPDATE builds SET state_string = $2 WHERE id = $1 AND complete_at IS NULL";
    execute(tx, sql, params![build, state]).await?;
    Ok(())
}

/// Adds to the time that a build has spent waiting for locks.
///
/// # Errors
/// What the database reported.
pub async fn add_locks_duration(tx: &Tx, build: BuildId, seconds: i64) -> Result<(), DbError> {
    let sql = "UPDATE builds SET locks_duration_s = locks_duration_s + $2 WHERE id = $1";
    execute(tx, sql, params![build, seconds]).await?;
    Ok(())
}

/// Ends a build.
///
/// # Errors
/// [`DbError::AlreadyComplete`] if it has ended.
pub async fn finish(
    tx: &Tx,
    build: BuildId,
    results: Results,
    state: Option<&str>,
    now: Timestamp,
) -> Result<Build, DbError> {
    let sql = "UPDATE builds SET complete_at = $2, results = $3, state_string = COALESCE($4, state_string)
               WHERE id = $1 AND complete_at IS NULL
               RETURNING id AS buildid, number, builderid, buildrequestid, workerid, masterid, started_at, complete_at,
                   locks_duration_s, state_string, results";
    match fetch_one(tx, sql, params![build, now, results, state]).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::AlreadyComplete),
    }
}

/// A build.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, build: BuildId) -> Result<Option<Build>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM builds b WHERE b.id = $1");
    fetch_one(connection, sql, params![build]).await?.as_ref().map(from_row).transpose()
}

/// Builds by their ids, in the order of ids.
///
/// # Errors
/// What the database reported.
pub async fn get_many(connection: &impl ConnectionTrait, builds: &[BuildId]) -> Result<Vec<Build>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM builds b WHERE b.id {} ORDER BY b.id",
        in_list(connection.get_database_backend(), 1)
    );
    fetch_all(connection, sql, params![id_list(builds)]).await?.iter().map(from_row).collect()
}

/// A build by its builder and number.
///
/// # Errors
/// What the database reported.
pub async fn by_number(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    number: i64,
) -> Result<Option<Build>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM builds b WHERE b.builderid = $1 AND b.number = $2");
    fetch_one(connection, sql, params![builder, number]).await?.as_ref().map(from_row).transpose()
}

/// The builds of a request, oldest first: several if it was done again.
///
/// # Errors
/// What the database reported.
pub async fn for_request(connection: &impl ConnectionTrait, request: BuildRequestId) -> Result<Vec<Build>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM builds b WHERE b.buildrequestid = $1 ORDER BY b.id");
    fetch_all(connection, sql, params![request]).await?.iter().map(from_row).collect()
}

/// The builds that are running on a worker.
///
/// # Errors
/// What the database reported.
pub async fn running_on(connection: &impl ConnectionTrait, worker: WorkerId) -> Result<Vec<Build>, DbError> {
    // Index builds_running.
    let sql = format!("SELECT {COLUMNS} FROM builds b WHERE b.complete_at IS NULL AND b.workerid = $1 ORDER BY b.id");
    fetch_all(connection, sql, params![worker]).await?.iter().map(from_row).collect()
}

/// The latest successful build of the same builder before this one, with source stamps of the same code bases,
/// repositories and branches.
///
/// # Errors
/// What the database reported.
pub async fn previous_successful(connection: &impl ConnectionTrait, build: &Build) -> Result<Option<Build>, DbError> {
    // Walks down the unique index (builderid, number) and stops at the first match.
    let differs = |one: &str, other: &str| {
        format!(
            "EXISTS (SELECT 1 FROM buildset_sourcestamps x JOIN sourcestamps s ON s.id = x.sourcestampid
                     WHERE x.buildsetid = {one} AND NOT EXISTS (
                         SELECT 1 FROM buildset_sourcestamps y JOIN sourcestamps t ON t.id = y.sourcestampid
                         WHERE y.buildsetid = {other} AND t.repository = s.repository AND t.codebase = s.codebase
                           AND t.branch IS NOT DISTINCT FROM s.branch))"
        )
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM builds b JOIN buildrequests r ON r.id = b.buildrequestid
         JOIN buildrequests mine ON mine.id = $3
         WHERE b.builderid = $1 AND b.number < $2 AND b.results = 0 AND NOT {} AND NOT {}
         ORDER BY b.number DESC LIMIT 1",
        differs("r.buildsetid", "mine.buildsetid"),
        differs("mine.buildsetid", "r.buildsetid")
    );
    fetch_one(connection, sql, params![build.builderid, build.number, build.buildrequestid])
        .await?
        .as_ref()
        .map(from_row)
        .transpose()
}

/// The builds that a build has triggered.
///
/// # Errors
/// What the database reported.
pub async fn triggered_by(connection: &impl ConnectionTrait, build: BuildId) -> Result<Vec<Build>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM buildsets bs JOIN buildrequests r ON r.buildsetid = bs.id
         JOIN builds b ON b.buildrequestid = r.id WHERE bs.parent_buildid = $1 ORDER BY b.id"
    );
    fetch_all(connection, sql, params![build]).await?.iter().map(from_row).collect()
}

/// The builds whose source stamps include a change's.
///
/// # Errors
/// What the database reported.
pub async fn for_change(connection: &impl ConnectionTrait, change: ChangeId) -> Result<Vec<Build>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM changes ch JOIN buildset_sourcestamps x ON x.sourcestampid = ch.sourcestampid
         JOIN buildrequests r ON r.buildsetid = x.buildsetid JOIN builds b ON b.buildrequestid = r.id
         WHERE ch.changeid = $1 ORDER BY b.id"
    );
    fetch_all(connection, sql, params![change]).await?.iter().map(from_row).collect()
}
