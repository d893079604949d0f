//! Branches of code bases: which commit is at the head.

use buildguild_types::ids::{BranchId, CodebaseId, CommitId};
use buildguild_types::resources::Branch;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, fetch_all, fetch_one, id, maybe_id, name_hash, time};
use crate::{DbError, Tx, params};

const SELECT: &str = "SELECT id, codebaseid, name, commitid, last_timestamp FROM codebase_branches";

fn from_row(row: &QueryResult) -> Result<Branch, DbError> {
    Ok(Branch {
        branchid: id(row, "id")?,
        codebaseid: id(row, "codebaseid")?,
        name: column(row, "name")?,
        commitid: maybe_id(row, "commitid")?,
        last_timestamp: time(row, "last_timestamp")?,
    })
}

/// A branch.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, branch: BranchId) -> Result<Option<Branch>, DbError> {
    let sql = format!("{SELECT} WHERE id = $1");
    fetch_one(connection, sql, params![branch]).await?.as_ref().map(from_row).transpose()
}

/// A code base's branch with this name.
///
/// # Errors
/// What the database reported.
pub async fn get_by_name(
    connection: &impl ConnectionTrait,
    codebase: CodebaseId,
    name: &str,
) -> Result<Option<Branch>, DbError> {
    let sql = format!("{SELECT} WHERE codebaseid = $1 AND name_hash = $2");
    fetch_one(connection, sql, params![codebase, name_hash(name)]).await?.as_ref().map(from_row).transpose()
}

/// The branches of a code base, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait, codebase: CodebaseId) -> Result<Vec<Branch>, DbError> {
    let sql = format!("{SELECT} WHERE codebaseid = $1 ORDER BY id");
    fetch_all(connection, sql, params![codebase]).await?.iter().map(from_row).collect()
}

/// Sets the head of a branch, which is added if there is none with this name. Returns it.
///
/// # Errors
/// [`DbError::Conflict`] if the code base or the commit does not exist.
pub async fn update(
    tx: &Tx,
    codebase: CodebaseId,
    name: &str,
    commit: Option<CommitId>,
    last: Timestamp,
) -> Result<Branch, DbError> {
    let sql = "INSERT INTO codebase_branches (codebaseid, name, name_hash, commitid, last_timestamp)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (codebaseid, name_hash)
               DO UPDATE SET commitid = excluded.commitid, last_timestamp = excluded.last_timestamp
               RETURNING id, codebaseid, name, commitid, last_timestamp";
    match fetch_one(tx, sql, params![codebase, name, name_hash(name), commit, last]).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::NotFound("branch")),
    }
}
