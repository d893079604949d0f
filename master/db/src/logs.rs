//! Logs: append-only lines, kept as compressed chunks that are addressed by line.
//!
//! Content is whole lines, each ended by a newline; the lines of a stream log begin with the letter of their channel.
//! A chunk holds at most 64 KiB before compression, so reading lines N to M touches only the chunks that hold them.

mod chunks;
mod codec;
mod compress;
mod read;

use buildguild_types::ids::{LogId, StepId};
use buildguild_types::resources::{Log, LogKind};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

pub use chunks::{CHUNK_BYTES, Chunk, Prepared};
pub use codec::Compression;
pub use compress::compress;
pub use read::{CHUNKS_AT_ONCE, Piece, lines, next_chunks};

use crate::sql::{column, execute, fetch_all, fetch_one, id};
use crate::{DbError, Tx, params};

/// The longest slug of a log, in characters.
pub const SLUG_LENGTH: usize = 50;

/// The columns of a log (`l`).
pub(crate) const COLUMNS: &str = "l.id AS logid, l.name AS name, l.slug AS slug, l.stepid AS stepid,
    l.complete AS complete, l.num_lines AS num_lines, l.type AS type";

const RETURNING: &str = "RETURNING id AS logid, name, slug, stepid, complete, num_lines, type";

pub(crate) fn from_row(row: &QueryResult) -> Result<Log, DbError> {
    let letter: String = column(row, "type")?;
    Ok(Log {
        logid: id(row, "logid")?,
        stepid: id(row, "stepid")?,
        name: column(row, "name")?,
        slug: column(row, "slug")?,
        kind: LogKind::from_letter(&letter)
            .ok_or_else(|| DbError::Corrupt(format!("a log of the unknown type {letter}")))?,
        num_lines: column(row, "num_lines")?,
        complete: column(row, "complete")?,
    })
}

/// A number that a worker gave to a piece of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// The command.
    pub command: String,
    /// The number; each is larger than the one before.
    pub sequence: i64,
}

/// Adds a log. The slug is an identifier of at most 50 characters; if it is taken in the step, it gets a number.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, step: StepId, name: &str, slug: &str, kind: LogKind) -> Result<Log, DbError> {
    let sql = format!(
        "INSERT INTO logs (name, slug, stepid, type) VALUES ($1, $2, $3, $4)
         ON CONFLICT (stepid, slug) DO NOTHING {RETURNING}"
    );
    let mut unique: String = slug.chars().take(SLUG_LENGTH).collect();
    for suffix in 2..1000 {
        let values = params![name, unique.as_str(), step, kind.letter()];
        if let Some(row) = fetch_one(tx, sql.as_str(), values).await? {
            return from_row(&row);
        }
        let end = format!("_{suffix}");
        unique = slug.chars().take(SLUG_LENGTH - end.len()).collect::<String>() + &end;
    }
    Err(DbError::Invalid(format!("too many logs with the slug {slug}")))
}

/// What an append did.
#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// Lines `first` to `last` are new; the log as it is now.
    Lines {
        /// The first new line.
        first: i64,
        /// The last new line.
        last: i64,
        /// The log.
        log: Log,
    },
    /// Nothing: the content was empty, or the numbered output had been stored before.
    Nothing,
}

/// Appends prepared lines. With a number, output that has been stored before is not stored again.
///
/// # Errors
/// [`DbError::AlreadyComplete`] if the log is finished: a finished log never changes.
pub async fn append(
    tx: &Tx,
    log: LogId,
    prepared: &Prepared,
    output: Option<&CommandOutput>,
) -> Result<Appended, DbError> {
    if let Some(output) = output {
        // Of each command the highest number that was stored, in the transaction that stored it.
        let sql = "INSERT INTO commands (id, stepid, last_seq) SELECT $1, stepid, $2 FROM logs WHERE id = $3
                   ON CONFLICT (id) DO UPDATE SET last_seq = excluded.last_seq
                   WHERE commands.last_seq < excluded.last_seq";
        if execute(tx, sql, params![&output.command, output.sequence, log]).await? == 0 {
            return Ok(Appended::Nothing);
        }
    }
    if prepared.lines() == 0 {
        return Ok(Appended::Nothing);
    }
    let sql = format!("UPDATE logs SET num_lines = num_lines + $2 WHERE id = $1 AND NOT complete {RETURNING}");
    let row = fetch_one(tx, sql, params![log, prepared.lines()]).await?.ok_or(DbError::AlreadyComplete)?;
    let log = from_row(&row)?;
    let first = log.num_lines - prepared.lines();
    insert_chunks(tx, log.logid, first, prepared).await?;
    Ok(Appended::Lines { first, last: log.num_lines - 1, log })
}

async fn insert_chunks(tx: &Tx, log: LogId, first: i64, prepared: &Prepared) -> Result<(), DbError> {
    let sql = "INSERT INTO logchunks (logid, first_line, last_line, content, compressed) VALUES ($1, $2, $3, $4, $5)";
    let mut line = first;
    for chunk in prepared.chunks() {
        let values = params![log, line, line + chunk.lines - 1, chunk.content.clone(), chunk.compression.id()];
        execute(tx, sql, values).await?;
        line += chunk.lines;
    }
    Ok(())
}

/// The highest number of a command's output that was stored.
///
/// # Errors
/// What the database reported.
pub async fn last_sequence(connection: &impl ConnectionTrait, command: &str) -> Result<Option<i64>, DbError> {
    let sql = "SELECT last_seq FROM commands WHERE id = $1";
    fetch_one(connection, sql, params![command]).await?.map(|row| column(&row, "last_seq")).transpose()
}

/// Finishes a log.
///
/// # Errors
/// [`DbError::AlreadyComplete`] if it is finished (or does not exist).
pub async fn finish(tx: &Tx, log: LogId) -> Result<Log, DbError> {
    let sql = format!("UPDATE logs SET complete = TRUE WHERE id = $1 AND NOT complete {RETURNING}");
    match fetch_one(tx, sql, params![log]).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::AlreadyComplete),
    }
}

/// Finishes all open logs of a build, and returns them.
///
/// # Errors
/// What the database reported.
pub async fn finish_all_of_build(tx: &Tx, build: buildguild_types::ids::BuildId) -> Result<Vec<Log>, DbError> {
    let sql = format!(
        "UPDATE logs SET complete = TRUE
         WHERE NOT complete AND stepid IN (SELECT id FROM steps WHERE buildid = $1) {RETURNING}"
    );
    let mut logs = fetch_all(tx, sql, params![build]).await?.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    logs.sort_by_key(|log| log.logid);
    Ok(logs)
}

/// Finishes all open logs of a step, and returns them.
///
/// # Errors
/// What the database reported.
pub async fn finish_all_of_step(tx: &Tx, step: StepId) -> Result<Vec<Log>, DbError> {
    let sql = format!("UPDATE logs SET complete = TRUE WHERE NOT complete AND stepid = $1 {RETURNING}");
    let mut logs = fetch_all(tx, sql, params![step]).await?.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    logs.sort_by_key(|log| log.logid);
    Ok(logs)
}

/// A log.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, log: LogId) -> Result<Option<Log>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM logs l WHERE l.id = $1");
    fetch_one(connection, sql, params![log]).await?.as_ref().map(from_row).transpose()
}

/// A log by its step and slug.
///
/// # Errors
/// What the database reported.
pub async fn by_slug(connection: &impl ConnectionTrait, step: StepId, slug: &str) -> Result<Option<Log>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM logs l WHERE l.stepid = $1 AND l.slug = $2");
    fetch_one(connection, sql, params![step, slug]).await?.as_ref().map(from_row).transpose()
}

/// The logs of a step, by id.
///
/// # Errors
/// What the database reported.
pub async fn for_step(connection: &impl ConnectionTrait, step: StepId) -> Result<Vec<Log>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM logs l WHERE l.stepid = $1 ORDER BY l.id");
    fetch_all(connection, sql, params![step]).await?.iter().map(from_row).collect()
}

/// Deletes the content of the logs of steps that started before a time, and marks those logs as deleted. Returns the
/// number of chunks.
///
/// # Errors
/// What the database reported.
pub async fn delete_old_chunks(tx: &Tx, older_than: Timestamp) -> Result<u64, DbError> {
    let old = "SELECT l.id FROM logs l JOIN steps s ON s.id = l.stepid WHERE s.started_at < $1";
    let sql = format!("UPDATE logs SET type = 'd' WHERE type <> 'd' AND id IN ({old})");
    execute(tx, sql, params![older_than]).await?;
    execute(tx, format!("DELETE FROM logchunks WHERE logid IN ({old})"), params![older_than]).await
}
