//! Events that were committed with the state they tell of, and wait to be published.
//!
//! One row holds all the events of one transaction. Each master publishes its own rows in the order of their ids, which
//! for everything that one task does is the order of its commits.

use buildguild_types::event::Event;
use buildguild_types::time::Timestamp;
use sea_orm::ConnectionTrait;

use crate::sql::{column, execute, fetch_all, fetch_one, id, id_list, in_list};
use crate::{DbError, Owner, Tx, params};

/// The events of one transaction.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Grows with time; what [`delete`] takes.
    pub id: i64,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// Adds the events of this transaction, and returns the row's id (nothing without events).
///
/// # Errors
/// What the database reported.
pub async fn insert(tx: &Tx, owner: Owner, events: &[Event]) -> Result<Option<i64>, DbError> {
    if events.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(events).map_err(|error| DbError::Invalid(error.to_string()))?;
    let sql = "INSERT INTO outbox (masterid, epoch, events) VALUES ($1, $2, $3) RETURNING id";
    let row = fetch_one(tx, sql, params![owner.master_id, owner.epoch, json]).await?;
    row.map(|row| column(&row, "id")).transpose()
}

/// The oldest `limit` rows of an owner.
///
/// # Errors
/// What the database reported.
pub async fn take_batch(
    connection: &impl ConnectionTrait,
    owner: Owner,
    limit: u64,
) -> Result<Vec<OutboxRow>, DbError> {
    let sql = "SELECT id, events FROM outbox WHERE masterid = $1 AND epoch = $2 ORDER BY id LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    fetch_all(connection, sql, params![owner.master_id, owner.epoch, limit])
        .await?
        .iter()
        .map(|row| {
            let json: String = column(row, "events")?;
            let events = serde_json::from_str(&json).map_err(|error| DbError::Corrupt(error.to_string()))?;
            Ok(OutboxRow { id: column(row, "id")?, events })
        })
        .collect()
}

/// Removes rows that were published.
///
/// # Errors
/// What the database reported.
pub async fn delete(tx: &Tx, ids: &[i64]) -> Result<u64, DbError> {
    let sql = format!("DELETE FROM outbox WHERE id {}", in_list(tx.get_database_backend(), 1));
    execute(tx, sql, params![id_list(ids)]).await
}

/// Hands the rows of an epoch that has ended to a living owner. They keep their ids and so come before anything that
/// the new owner adds from now on. Returns how many there were.
///
/// # Errors
/// What the database reported.
pub async fn take_over(tx: &Tx, from: Owner, to: Owner) -> Result<u64, DbError> {
    execute(
        tx,
        "UPDATE outbox SET masterid = $3, epoch = $4 WHERE masterid = $1 AND epoch = $2",
        params![from.master_id, from.epoch, to.master_id, to.epoch],
    )
    .await
}

/// The owners whose epoch is not the active one, but who still have rows.
///
/// # Errors
/// What the database reported.
pub async fn orphans(connection: &impl ConnectionTrait) -> Result<Vec<Owner>, DbError> {
    let sql = "SELECT DISTINCT o.masterid, o.epoch FROM outbox o JOIN masters m ON m.id = o.masterid
               WHERE NOT m.active OR m.epoch <> o.epoch";
    fetch_all(connection, sql, vec![])
        .await?
        .iter()
        .map(|row| Ok(Owner { master_id: id(row, "masterid")?, epoch: column(row, "epoch")? }))
        .collect()
}

/// How many rows wait, for metrics.
///
/// # Errors
/// What the database reported.
pub async fn depth(connection: &impl ConnectionTrait) -> Result<i64, DbError> {
    match fetch_one(connection, "SELECT count(*) AS n FROM outbox", vec![]).await? {
        Some(row) => column(&row, "n"),
        None => Ok(0),
    }
}

/// Beyond this many rows a backlog is only said to be at least so long: counting must stay cheap when it is not short.
const COUNTED: i64 = 10_000;

/// How many transactions of an owner have events that are still to be published, and the time of the oldest event.
///
/// # Errors
/// What the database reported.
pub async fn backlog(connection: &impl ConnectionTrait, owner: Owner) -> Result<(i64, Option<Timestamp>), DbError> {
    let oldest =
        "SELECT substr(events, 1, 200) AS head FROM outbox WHERE masterid = $1 AND epoch = $2 ORDER BY id LIMIT 1";
    let Some(row) = fetch_one(connection, oldest, params![owner.master_id, owner.epoch]).await? else {
        return Ok((0, None));
    };
    let since = first_event_time(&column::<String>(&row, "head")?);
    let sql = "SELECT count(*) AS n FROM (SELECT 1 AS one FROM outbox WHERE masterid = $1 AND epoch = $2 LIMIT $3) o";
    let depth = match fetch_one(connection, sql, params![owner.master_id, owner.epoch, COUNTED]).await? {
        Some(row) => column(&row, "n")?,
        None => 0,
    };
    Ok((depth, since))
}

/// The time in the first UUIDv7 of a text, which is the id of the row's first event.
fn first_event_time(json: &str) -> Option<Timestamp> {
    let id = json.split('"').find_map(|part| part.parse::<uuid::Uuid>().ok())?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000))?;
    Some(Timestamp::from_micros(micros))
}
