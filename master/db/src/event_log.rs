//! The generation of the cluster's event log, and what was published lately.

use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::sql::{column, execute, fetch_all, fetch_one, id_list, in_list, now_sql};
use crate::{DbError, Owner, Tx, params};

/// The generation in force; none if there never was one.
///
/// # Errors
/// What the database reported.
pub async fn generation(connection: &impl ConnectionTrait) -> Result<Option<String>, DbError> {
    let row = fetch_one(connection, "SELECT generation FROM event_log WHERE id = 1", vec![]).await?;
    row.map(|row| column(&row, "generation")).transpose()
}

/// Puts `new` in force if `old` still is (none: if there never was one), and returns which one is in force then.
///
/// # Errors
/// What the database reported.
pub async fn replace_generation(tx: &Tx, old: Option<&str>, new: &str) -> Result<String, DbError> {
    let now = now_sql(tx.get_database_backend());
    let insert =
        format!("INSERT INTO event_log (id, generation, since) VALUES (1, $1, {now}) ON CONFLICT (id) DO NOTHING");
    if execute(tx, insert, params![new]).await? == 0
        && let Some(old) = old
    {
        let update = format!("UPDATE event_log SET generation = $1, since = {now} WHERE id = 1 AND generation = $2");
        execute(tx, update, params![new, old]).await?;
    }
    generation(tx).await?.ok_or(DbError::NotFound("the generation of the event log"))
}

/// A row that was published, and where its last event stood then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The row's id in the outbox.
    pub id: i64,
    /// The generation of the log.
    pub generation: String,
    /// The more significant half of the position.
    pub major: i64,
    /// The less significant half of the position.
    pub minor: i64,
}

/// Takes rows out of the outbox and keeps them as published. All of them were published up to `place`.
///
/// # Errors
/// What the database reported.
pub async fn keep_published(tx: &Tx, ids: &[i64], generation: &str, major: i64, minor: i64) -> Result<(), DbError> {
    let backend = tx.get_database_backend();
    let sql = format!(
        "INSERT INTO outbox_published (id, events, published_at, generation, major, minor)
         SELECT id, events, {}, $1, $2, $3 FROM outbox WHERE id {} ON CONFLICT (id) DO NOTHING",
        now_sql(backend),
        in_list(backend, 4)
    );
    execute(tx, sql, params![generation, major, minor, id_list(ids)]).await?;
    crate::outbox::delete(tx, ids).await?;
    Ok(())
}

/// Forgets what was published longer ago than `age`.
///
/// # Errors
/// What the database reported.
pub async fn forget_published(tx: &Tx, age: Duration) -> Result<u64, DbError> {
    let now = now_sql(tx.get_database_backend());
    let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    let sql = format!("DELETE FROM outbox_published WHERE published_at < {now} - $1");
    execute(tx, sql, params![micros]).await
}

/// The rows that were published in other generations than `generation`: the newest first, `limit` at most.
///
/// # Errors
/// What the database reported.
pub async fn published_before(
    connection: &impl ConnectionTrait,
    generation: &str,
    skip: i64,
    limit: i64,
) -> Result<Vec<Published>, DbError> {
    let sql = "SELECT id, generation, major, minor FROM outbox_published WHERE generation <> $1
               ORDER BY published_at DESC, major DESC, minor DESC, id DESC LIMIT $2 OFFSET $3";
    fetch_all(connection, sql, params![generation, limit, skip])
        .await?
        .iter()
        .map(|row| {
            Ok(Published {
                id: column(row, "id")?,
                generation: column(row, "generation")?,
                major: column(row, "major")?,
                minor: column(row, "minor")?,
            })
        })
        .collect()
}

/// Puts rows back into the outbox, for `owner` to publish them again. Rows that somebody else was quicker to take are
/// left out. Returns how many there were.
///
/// # Errors
/// What the database reported.
pub async fn publish_again(tx: &Tx, owner: Owner, ids: &[i64]) -> Result<u64, DbError> {
    let backend = tx.get_database_backend();
    // Whoever removes a row has it: the second of two masters waits here, and then finds nothing.
    let sql = format!("DELETE FROM outbox_published WHERE id {} RETURNING id, events", in_list(backend, 1));
    let taken = fetch_all(tx, sql, params![id_list(ids)]).await?;
    let mut rows = Vec::with_capacity(taken.len());
    for row in &taken {
        rows.push((column::<i64>(row, "id")?, column::<String>(row, "events")?));
    }
    rows.sort_unstable_by_key(|(id, _)| *id);
    for (id, events) in &rows {
        // With their ids they come before what waits now, as they did.
        let sql = "INSERT INTO outbox (id, masterid, epoch, events) VALUES ($1, $2, $3, $4)";
        execute(tx, sql, params![*id, owner.master_id, owner.epoch, events]).await?;
    }
    Ok(rows.len() as u64)
}

/// Forgets all rows that were published in other generations than `generation`.
///
/// # Errors
/// What the database reported.
pub async fn forget_generations_before(tx: &Tx, generation: &str) -> Result<u64, DbError> {
    execute(tx, "DELETE FROM outbox_published WHERE generation <> $1", params![generation]).await
}
