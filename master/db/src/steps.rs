//! Steps of builds, and the journal of durable step functions.

use std::collections::HashSet;

use buildguild_types::ids::{BuildId, StepId, WorkerId};
use buildguild_types::resources::{Step, StepUrl};
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::builders::json;
use crate::sql::{column, execute, fetch_all, fetch_one, id, maybe_results, maybe_time};
use crate::{DbError, Tx, params};

/// The columns of a step (`s`).
pub(crate) const COLUMNS: &str = "s.id AS stepid, s.number AS number, s.name AS name, s.buildid AS buildid,
    s.started_at AS started_at, s.locks_acquired_at AS locks_acquired_at, s.complete_at AS complete_at,
    s.state_string AS state_string, s.results AS results, s.urls_json AS urls_json, s.hidden AS hidden";

/// What an update gives back, to be read by [`from_row`].
const RETURNING: &str = "RETURNING id AS stepid, number, name, buildid, started_at, locks_acquired_at, complete_at,
    state_string, results, urls_json, hidden";

pub(crate) fn from_row(row: &QueryResult) -> Result<Step, DbError> {
    let urls: String = column(row, "urls_json")?;
    let complete_at = maybe_time(row, "complete_at")?;
    Ok(Step {
        stepid: id(row, "stepid")?,
        buildid: id(row, "buildid")?,
        number: column(row, "number")?,
        name: column(row, "name")?,
        started_at: maybe_time(row, "started_at")?,
        locks_acquired_at: maybe_time(row, "locks_acquired_at")?,
        complete: complete_at.is_some(),
        complete_at,
        results: maybe_results(row, "results")?,
        state_string: column(row, "state_string")?,
        hidden: column(row, "hidden")?,
        urls: serde_json::from_str(&urls).map_err(|error| DbError::Corrupt(error.to_string()))?,
    })
}

/// Adds a step with the build's next number. If the name is taken in the build, `_1`, `_2`, ... is appended.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, build: BuildId, name: &str, state: &str) -> Result<Step, DbError> {
    insert(tx, build, name, state, None, None).await
}

/// Adds a step that has started; with its locks if it needs none or has them.
///
/// # Errors
/// What the database reported.
pub async fn add_started(
    tx: &Tx,
    build: BuildId,
    name: &str,
    state: &str,
    now: Timestamp,
    locks_acquired: bool,
) -> Result<Step, DbError> {
    insert(tx, build, name, state, Some(now), locks_acquired.then_some(now)).await
}

async fn insert(
    tx: &Tx,
    build: BuildId,
    name: &str,
    state: &str,
    started_at: Option<Timestamp>,
    locks_acquired_at: Option<Timestamp>,
) -> Result<Step, DbError> {
    // `WHERE true` keeps SQLite's parser from reading ON CONFLICT as a join.
    let sql = format!(
        "INSERT INTO steps (number, name, buildid, state_string, started_at, locks_acquired_at)
         SELECT COALESCE(max(number) + 1, 0), $2, $1, $3, $4, $5 FROM steps WHERE buildid = $1
         ON CONFLICT (buildid, name) DO NOTHING {RETURNING}"
    );
    let values = |name: &str| params![build, name, state, started_at, locks_acquired_at];
    if let Some(row) = fetch_one(tx, sql.as_str(), values(name)).await? {
        return from_row(&row);
    }
    let taken = fetch_all(tx, "SELECT name FROM steps WHERE buildid = $1", params![build])
        .await?
        .iter()
        .map(|row| column::<String>(row, "name"))
        .collect::<Result<HashSet<_>, _>>()?;
    let free = (1_u32..).map(|suffix| format!("{name}_{suffix}")).find(|unique| !taken.contains(unique));
    match fetch_one(tx, sql, values(&free.unwrap_or_default())).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::NotFound("step")),
    }
}

/// Starts a step; with its locks if it needs none or has them.
///
/// # Errors
/// [`DbError::NotFound`].
pub async fn start(tx: &Tx, step: StepId, now: Timestamp, locks_acquired: bool) -> Result<Step, DbError> {
    let sql = format!("UPDATE steps SET started_at = $2, locks_acquired_at = $3 WHERE id = $1 {RETURNING}");
    updated(tx, sql, params![step, now, locks_acquired.then_some(now)]).await
}

/// Notes that a step has its locks.
///
/// # Errors
/// [`DbError::NotFound`].
pub async fn set_locks_acquired(tx: &Tx, step: StepId, now: Timestamp) -> Result<Step, DbError> {
    let sql = format!("UPDATE steps SET locks_acquired_at = $2 WHERE id = $1 {RETURNING}");
    updated(tx, sql, params![step, now]).await
}

/// Sets what a step is doing.
///
/// # Errors
/// [`DbError::NotFound`].
pub async fn set_state_string(tx: &Tx, step: StepId, state: &str) -> Result<Step, DbError> {
    let sql = format!("UPDATE steps SET state_string = $2 WHERE id = $1 {RETURNING}");
    updated(tx, sql, params![step, state]).await
}

/// Sets what a running step is doing, if it is still said to be `pending`. `None` if not.
///
/// # Errors
/// What the database reported.
pub async fn set_pending_state_string(tx: &Tx, step: StepId, state: &str) -> Result<Option<Step>, DbError> {
    let sql = format!(
        "UPDATE steps SET state_string = $2
         WHERE id = $1 AND state_string = 'pending' AND complete_at IS NULL {RETURNING}"
    );
    fetch_one(tx, sql, params![step, state]).await?.as_ref().map(from_row).transpose()
}

/// Adds a link, unless the step has the same one. Links keep the order of their addition.
///
/// # Errors
/// [`DbError::NotFound`].
pub async fn add_url(tx: &Tx, step: StepId, name: &str, url: &str) -> Result<Step, DbError> {
    let mut step = get(tx, step).await?.ok_or(DbError::NotFound("step"))?;
    let new = StepUrl { name: name.to_owned(), url: url.to_owned() };
    if !step.urls.contains(&new) {
        step.urls.push(new);
        let sql = "UPDATE steps SET urls_json = $2 WHERE id = $1";
        execute(tx, sql, params![step.stepid, json(&step.urls)?]).await?;
    }
    Ok(step)
}

/// Ends a step.
///
/// # Errors
/// [`DbError::AlreadyComplete`] if it has ended (or does not exist).
pub async fn finish(
    tx: &Tx,
    step: StepId,
    results: Results,
    hidden: bool,
    state: Option<&str>,
    now: Timestamp,
) -> Result<Step, DbError> {
    let sql = format!(
        "UPDATE steps SET complete_at = $2, results = $3, hidden = $4, state_string = COALESCE($5, state_string)
         WHERE id = $1 AND complete_at IS NULL {RETURNING}"
    );
    match fetch_one(tx, sql, params![step, now, results, hidden, state]).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::AlreadyComplete),
    }
}

/// Ends all open steps of a build, and returns them.
///
/// # Errors
/// What the database reported.
pub async fn finish_all(tx: &Tx, build: BuildId, results: Results, now: Timestamp) -> Result<Vec<Step>, DbError> {
    let sql = format!(
        "UPDATE steps SET complete_at = $2, results = $3 WHERE buildid = $1 AND complete_at IS NULL {RETURNING}"
    );
    let mut steps =
        fetch_all(tx, sql, params![build, now, results]).await?.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    steps.sort_by_key(|step| step.number);
    Ok(steps)
}

async fn updated(tx: &Tx, sql: String, values: Vec<sea_orm::Value>) -> Result<Step, DbError> {
    match fetch_one(tx, sql, values).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::NotFound("step")),
    }
}

/// A step.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, step: StepId) -> Result<Option<Step>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM steps s WHERE s.id = $1");
    fetch_one(connection, sql, params![step]).await?.as_ref().map(from_row).transpose()
}

/// A step by its build and number.
///
/// # Errors
/// What the database reported.
pub async fn by_number(
    connection: &impl ConnectionTrait,
    build: BuildId,
    number: i64,
) -> Result<Option<Step>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM steps s WHERE s.buildid = $1 AND s.number = $2");
    fetch_one(connection, sql, params![build, number]).await?.as_ref().map(from_row).transpose()
}

/// A step by its build and name.
///
/// # Errors
/// What the database reported.
pub async fn by_name(connection: &impl ConnectionTrait, build: BuildId, name: &str) -> Result<Option<Step>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM steps s WHERE s.buildid = $1 AND s.name = $2");
    fetch_one(connection, sql, params![build, name]).await?.as_ref().map(from_row).transpose()
}

/// The steps of a build, by number.
///
/// # Errors
/// What the database reported.
pub async fn for_build(connection: &impl ConnectionTrait, build: BuildId) -> Result<Vec<Step>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM steps s WHERE s.buildid = $1 ORDER BY s.number");
    fetch_all(connection, sql, params![build]).await?.iter().map(from_row).collect()
}

/// Adds an entry (opaque JSON) to a step's journal.
///
/// # Errors
/// [`DbError::Conflict`] if the position is taken.
pub async fn add_journal_entry(tx: &Tx, step: StepId, position: i64, entry: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO step_journal (stepid, position, entry) VALUES ($1, $2, $3)";
    execute(tx, sql, params![step, position, entry]).await?;
    Ok(())
}

/// How many of a worker's latest builds are looked at for steps that it may still be running.
const LATEST_BUILDS: i64 = 32;

/// The last steps of the latest builds on a worker that are open, or were given back since `since`: what the worker may
/// still be running, for all that the database knows. With the length of each one's journal.
///
/// # Errors
/// What the database reported.
pub async fn left_on_worker(
    connection: &impl ConnectionTrait,
    worker: WorkerId,
    since: Timestamp,
) -> Result<Vec<(Step, i64)>, DbError> {
    // The latest builds come from the index builds_workerid.
    let sql = format!(
        "SELECT {COLUMNS}, (SELECT count(*) FROM step_journal j WHERE j.stepid = s.id) AS answers
         FROM (SELECT id, complete_at, results FROM builds WHERE workerid = $1 ORDER BY id DESC LIMIT {LATEST_BUILDS}) b
         JOIN steps s ON s.buildid = b.id
         WHERE (b.complete_at IS NULL OR (b.results = {retry} AND b.complete_at >= $2))
           AND s.number = (SELECT max(l.number) FROM steps l WHERE l.buildid = b.id)
         ORDER BY s.id",
        retry = Results::Retry.code()
    );
    let rows = fetch_all(connection, sql, params![worker, since]).await?;
    rows.iter().map(|row| Ok((from_row(row)?, column(row, "answers")?))).collect()
}

/// A step's journal, in order.
///
/// # Errors
/// What the database reported.
pub async fn journal(connection: &impl ConnectionTrait, step: StepId) -> Result<Vec<String>, DbError> {
    let sql = "SELECT entry FROM step_journal WHERE stepid = $1 ORDER BY position";
    fetch_all(connection, sql, params![step]).await?.iter().map(|row| column(row, "entry")).collect()
}
