//! SSE streams and their filters: what one replica has to know of the streams of the others.
//!
//! A row is a session, not a fact: without it a client has to fetch again, nothing more. Each stream has one owner, the
//! process that serves it; a stream that resumes elsewhere changes its owner, and what the old one still does to it
//! finds no row.

use std::time::Duration;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, now_sql};
use crate::{DbError, Tx, params};

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStream {
    /// The uuid of its handshake.
    pub id: String,
    /// Who serves it; empty if nobody does.
    pub owner: String,
    /// What it listens to.
    pub filters: Vec<String>,
    /// Grows with each change of the filters.
    pub version: i64,
}

/// How a filter was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterChange {
    /// The stream as it is now.
    Done(EventStream),
    /// It was as asked for: the filter was there (or, to be removed, was not).
    Unchanged(EventStream),
    /// It has as many filters as are allowed.
    TooMany,
    /// There is no such stream.
    Unknown,
}

fn stream(row: &QueryResult) -> Result<EventStream, DbError> {
    let filters: String = column(row, "filters")?;
    let filters = serde_json::from_str(&filters).map_err(|error| DbError::Corrupt(error.to_string()))?;
    Ok(EventStream { id: column(row, "id")?, owner: column(row, "owner")?, filters, version: column(row, "version")? })
}

fn text_of(filters: &[String]) -> String {
    serde_json::json!(filters).to_string()
}

/// Records that `owner` serves a new stream.
///
/// # Errors
/// What the database reported.
pub async fn begin(tx: &Tx, id: &str, owner: &str, filters: &[String]) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO event_streams (id, owner, filters, version, applied, seen_at) VALUES ($1, $2, $3, 0, 0, {})
         ON CONFLICT (id) DO NOTHING",
        now_sql(tx.get_database_backend())
    );
    execute(tx, sql, params![id, owner, text_of(filters)]).await?;
    Ok(())
}

/// Takes a stream over from whoever served it; `None` if it is not known (any more).
///
/// # Errors
/// What the database reported.
pub async fn take(tx: &Tx, id: &str, owner: &str) -> Result<Option<EventStream>, DbError> {
    let sql = format!(
        "UPDATE event_streams SET owner = $2, version = version + 1, applied = version + 1, seen_at = {}
         WHERE id = $1 RETURNING id, owner, filters, version",
        now_sql(tx.get_database_backend())
    );
    fetch_one(tx, sql, params![id, owner]).await?.as_ref().map(stream).transpose()
}

/// Adds a filter to a stream, or removes it. What `owner` changes of its own streams counts as applied.
///
/// # Errors
/// What the database reported.
pub async fn change(
    tx: &Tx,
    id: &str,
    owner: &str,
    filter: &str,
    is_add: bool,
    max_filters: usize,
) -> Result<FilterChange, DbError> {
    // An update locks the row on both databases; a stream that nobody serves cannot be changed.
    let sql = "UPDATE event_streams SET version = version WHERE id = $1 AND owner <> ''
               RETURNING id, owner, filters, version";
    let Some(row) = fetch_one(tx, sql, params![id]).await? else { return Ok(FilterChange::Unknown) };
    let mut found = stream(&row)?;
    let at = found.filters.iter().position(|known| known == filter);
    match (at, is_add) {
        (Some(_), true) | (None, false) => return Ok(FilterChange::Unchanged(found)),
        (None, true) if found.filters.len() >= max_filters => return Ok(FilterChange::TooMany),
        (None, true) => found.filters.push(filter.to_owned()),
        (Some(at), false) => {
            found.filters.remove(at);
        }
    }
    found.version += 1;
    let sql = "UPDATE event_streams
               SET filters = $3, version = $4, applied = CASE WHEN owner = $2 THEN $4 ELSE applied END
               WHERE id = $1";
    execute(tx, sql, params![id, owner, text_of(&found.filters), found.version]).await?;
    Ok(FilterChange::Done(found))
}

/// The streams of `owner` whose filters somebody else has changed.
///
/// # Errors
/// What the database reported.
pub async fn changed(connection: &impl ConnectionTrait, owner: &str) -> Result<Vec<EventStream>, DbError> {
    let sql = "SELECT id, owner, filters, version FROM event_streams WHERE owner = $1 AND version > applied";
    fetch_all(connection, sql, params![owner]).await?.iter().map(stream).collect()
}

/// Records that `owner` listens by a version of the filters.
///
/// # Errors
/// What the database reported.
pub async fn applied(tx: &Tx, id: &str, owner: &str, version: i64) -> Result<(), DbError> {
    let sql = "UPDATE event_streams SET applied = $3 WHERE id = $1 AND owner = $2 AND applied < $3";
    execute(tx, sql, params![id, owner, version]).await?;
    Ok(())
}

/// Whether the owner listens by a version of the filters, or nobody serves the stream any more.
///
/// # Errors
/// What the database reported.
pub async fn is_applied(connection: &impl ConnectionTrait, id: &str, version: i64) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM event_streams WHERE id = $1 AND owner <> '' AND applied < $2";
    Ok(fetch_one(connection, sql, params![id, version]).await?.is_none())
}

/// Ends a stream that listened by a version of its filters, unless `owner` itself has taken it up again since. It is kept
/// for a while if its client needs it to come back.
///
/// # Errors
/// What the database reported.
pub async fn end(tx: &Tx, id: &str, owner: &str, version: i64, keep: bool) -> Result<(), DbError> {
    let sql = if keep {
        format!(
            "UPDATE event_streams SET owner = '', seen_at = {} WHERE id = $1 AND owner = $2 AND applied <= $3",
            now_sql(tx.get_database_backend())
        )
    } else {
        "DELETE FROM event_streams WHERE id = $1 AND owner = $2 AND applied <= $3".to_owned()
    };
    execute(tx, sql, params![id, owner, version]).await?;
    Ok(())
}

/// Says that the streams of `owner` are alive, and forgets those of which nobody has said so for `keep_for`.
///
/// # Errors
/// What the database reported.
pub async fn tidy(tx: &Tx, owner: &str, keep_for: Duration) -> Result<u64, DbError> {
    let now = now_sql(tx.get_database_backend());
    execute(tx, format!("UPDATE event_streams SET seen_at = {now} WHERE owner = $1"), params![owner]).await?;
    let micros = i64::try_from(keep_for.as_micros()).unwrap_or(i64::MAX);
    execute(tx, format!("DELETE FROM event_streams WHERE seen_at < {now} - $1"), params![micros]).await
}
