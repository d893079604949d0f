//! Compacting a finished log: small chunks are joined up to the usual size and compressed. Its lines stay what they are.

use buildguild_types::ids::LogId;

use super::{CHUNK_BYTES, Compression, read};
use crate::sql::{column, execute, fetch_one};
use crate::{Db, DbError, params};

/// How many chunks are looked at in one transaction.
const WINDOW: i64 = 64;

/// Compacts a finished log, window by window. Returns how many bytes were saved.
///
/// # Errors
/// What the database reported.
pub async fn compress(db: &Db, log: LogId, method: Compression) -> Result<i64, DbError> {
    let before = stored_bytes(db, log).await?;
    let mut line = 0;
    loop {
        let pieces = read::next_chunks(db.read(), log, line, WINDOW).await?;
        let Some(last) = pieces.last() else { break };
        line = last.last_line + 1;
        let mut joined: Vec<read::Piece> = Vec::new();
        for piece in pieces {
            match joined.last_mut() {
                Some(open) if open.content.len() + piece.content.len() <= CHUNK_BYTES => {
                    open.content.push_str(&piece.content);
                    open.last_line = piece.last_line;
                }
                _ => joined.push(piece),
            }
        }
        replace(db, log, &joined, method).await?;
    }
    Ok(before - stored_bytes(db, log).await?)
}

async fn replace(db: &Db, log: LogId, pieces: &[read::Piece], method: Compression) -> Result<(), DbError> {
    let chunks: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let (content, compression) = method.compress(piece.content.as_bytes());
            (piece.first_line, piece.last_line, content, compression)
        })
        .collect();
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(()) };
    let (first, last, chunks) = (first.0, last.1, &chunks);
    db.write(|tx| async move {
        // Only of a log that is finished: its writer is not at work any more.
        let sql = "SELECT id FROM logs WHERE id = $1 AND complete";
        if fetch_one(&tx, sql, params![log]).await?.is_none() {
            return Ok(());
        }
        let sql = "DELETE FROM logchunks WHERE logid = $1 AND first_line >= $2 AND last_line <= $3";
        execute(&tx, sql, params![log, first, last]).await?;
        for (first, last, content, compression) in chunks {
            let sql = "INSERT INTO logchunks (logid, first_line, last_line, content, compressed)
                       VALUES ($1, $2, $3, $4, $5)";
            execute(&tx, sql, params![log, *first, *last, content.clone(), compression.id()]).await?;
        }
        Ok(())
    })
    .await
}

async fn stored_bytes(db: &Db, log: LogId) -> Result<i64, DbError> {
    let sql = "SELECT CAST(COALESCE(sum(length(content)), 0) AS BIGINT) AS bytes FROM logchunks WHERE logid = $1";
    match fetch_one(db.read(), sql, params![log]).await? {
        Some(row) => column(&row, "bytes"),
        None => Ok(0),
    }
}
