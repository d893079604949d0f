//! Versions of the farm configuration: the files that were read and the inputs they asked for, under one hash. A build
//! begun under a version can go on with it on any replica.

use buildguild_types::time::Timestamp;
use sea_orm::ConnectionTrait;

use crate::sql::{column, execute, fetch_all};
use crate::{DbError, Tx, params};

/// What a stored part of a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartKind {
    /// A file of the configuration.
    File,
    /// An input: the value of an `env()` or `read_file()`.
    Input,
}

impl PartKind {
    const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Input => "input",
        }
    }
}

/// A part of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its path or name.
    pub name: String,
    /// Its content, perhaps encrypted by the caller.
    pub content: Vec<u8>,
}

/// Stores a version unless it is there.
///
/// # Errors
/// What the database reported.
pub async fn put(tx: &Tx, hash: &str, parts: &[Part], now: Timestamp) -> Result<(), DbError> {
    let sql = "INSERT INTO config_versions (hash, created_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
    if execute(tx, sql, params![hash, now]).await? == 0 {
        return Ok(());
    }
    for part in parts {
        let sql = "INSERT INTO config_files (hash, kind, name, content) VALUES ($1, $2, $3, $4)";
        execute(tx, sql, params![hash, part.kind.name(), &part.name, part.content.clone()]).await?;
    }
    Ok(())
}

/// The parts of a version; none if it is unknown.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, hash: &str) -> Result<Vec<Part>, DbError> {
    let sql = "SELECT kind, name, content FROM config_files WHERE hash = $1 ORDER BY kind, name";
    fetch_all(connection, sql, params![hash])
        .await?
        .iter()
        .map(|row| {
            let kind: String = column(row, "kind")?;
            let kind = match kind.as_str() {
                "file" => PartKind::File,
                "input" => PartKind::Input,
                other => return Err(DbError::Corrupt(format!("unknown part {other}"))),
            };
            Ok(Part { kind, name: column(row, "name")?, content: column(row, "content")? })
        })
        .collect()
}
