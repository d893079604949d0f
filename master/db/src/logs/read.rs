//! Reading lines: only the chunks that hold them are touched.

use buildguild_types::ids::LogId;
use sea_orm::ConnectionTrait;

use super::codec::Compression;
use crate::sql::{column, fetch_all};
use crate::{DbError, params};

/// Some whole chunks of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The number of the first line.
    pub first_line: i64,
    /// The number of the last line.
    pub last_line: i64,
    /// The lines, each ended by a newline.
    pub content: String,
}

impl Piece {
    /// Its part of the lines `first` to `last`, both included.
    fn between(&self, first: i64, last: i64) -> &str {
        let skip = usize::try_from(first.saturating_sub(self.first_line)).unwrap_or(0);
        let keep = usize::try_from(last.min(self.last_line) - self.first_line + 1).unwrap_or(0);
        self.content.get(offset_of(&self.content, skip)..offset_of(&self.content, keep)).unwrap_or_default()
    }
}

/// Chunks read at once: at most 64 KiB each, so reading a log of any size takes half a mebibyte.
pub const CHUNKS_AT_ONCE: i64 = 8;

/// At most `limit` chunks, from the one that holds `line` on: for streaming a log of any size. The first piece may
/// begin before `line`; go on with the last piece's `last_line + 1`. No pieces: there is nothing at or after `line`.
///
/// # Errors
/// What the database reported.
pub async fn next_chunks(
    connection: &impl ConnectionTrait,
    log: LogId,
    line: i64,
    limit: i64,
) -> Result<Vec<Piece>, DbError> {
    pieces(connection, log, line, i64::MAX, limit).await
}

/// Lines `first` to `last`, both included (to the end if `last` is beyond it), but no more than the chunk with which they
/// reach `max_bytes`.
///
/// # Errors
/// What the database reported.
pub async fn lines(
    connection: &impl ConnectionTrait,
    log: LogId,
    first: i64,
    last: i64,
    max_bytes: usize,
) -> Result<String, DbError> {
    let mut out = String::new();
    let mut line = first;
    while line <= last && out.len() < max_bytes {
        let pieces = pieces(connection, log, line, last, CHUNKS_AT_ONCE).await?;
        let Some(next) = pieces.last().map(|piece| piece.last_line.saturating_add(1)) else { break };
        for piece in &pieces {
            out.push_str(piece.between(line, last));
        }
        line = next;
    }
    Ok(out)
}

/// Where line `line` begins; the end if there are fewer.
fn offset_of(text: &str, line: usize) -> usize {
    match line {
        0 => 0,
        _ => text.match_indices('\n').nth(line - 1).map_or(text.len(), |(at, _)| at + 1),
    }
}

async fn pieces(
    connection: &impl ConnectionTrait,
    log: LogId,
    first: i64,
    last: i64,
    limit: i64,
) -> Result<Vec<Piece>, DbError> {
    // The primary key (logid, first_line) finds the chunk that holds the first line, and the range from there.
    let sql = "SELECT first_line, last_line, content, compressed FROM logchunks
               WHERE logid = $1 AND first_line >= COALESCE(
                   (SELECT max(first_line) FROM logchunks WHERE logid = $1 AND first_line <= $2), 0)
                 AND first_line <= $3 AND last_line >= $2
               ORDER BY first_line LIMIT $4";
    fetch_all(connection, sql, params![log, first, last, limit])
        .await?
        .iter()
        .map(|row| {
            let method: i64 = column(row, "compressed")?;
            let method = Compression::from_id(method)
                .ok_or_else(|| DbError::Corrupt(format!("a log chunk with the unknown compression {method}")))?;
            let bytes: Vec<u8> = column(row, "content")?;
            let content = String::from_utf8(method.decompress(&bytes)?.into_owned())
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            Ok(Piece { first_line: column(row, "first_line")?, last_line: column(row, "last_line")?, content })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_out_of_a_piece() {
        let piece = Piece { first_line: 10, last_line: 13, content: "a\nb\nc\nd\n".to_owned() };
        assert_eq!(piece.between(0, i64::MAX), "a\nb\nc\nd\n");
        assert_eq!(piece.between(11, i64::MAX), "b\nc\nd\n");
        assert_eq!(piece.between(11, 12), "b\nc\n");
        assert_eq!(piece.between(0, 11), "a\nb\n");
        assert_eq!(piece.between(13, 13), "d\n");
        assert_eq!(piece.between(20, 30), "");
    }
}
