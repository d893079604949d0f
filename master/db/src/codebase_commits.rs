//! Commits of code bases. Each knows its (first) parent, so two of them have a last common ancestor.

use buildguild_types::ids::{CodebaseId, CommitId};
use buildguild_types::resources::{Commit, CommitGraph};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, fetch_all, fetch_one, id, id_list, in_list, maybe_id, time};
use crate::{DbError, Tx, params};

/// How far back a common ancestor is looked for, as in Buildbot.
const DEPTH: i64 = 100;

const COLUMNS: &str = "id, codebaseid, author, committer, comments, when_timestamp, revision, parent_commitid";

fn from_row(row: &QueryResult) -> Result<Commit, DbError> {
    Ok(Commit {
        commitid: id(row, "id")?,
        codebaseid: id(row, "codebaseid")?,
        author: column(row, "author")?,
        committer: column(row, "committer")?,
        comments: column(row, "comments")?,
        when_timestamp: time(row, "when_timestamp")?,
        revision: column(row, "revision")?,
        parent_commitid: maybe_id(row, "parent_commitid")?,
    })
}

/// A commit to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommit {
    /// The code base.
    pub codebase: CodebaseId,
    /// Who wrote it.
    pub author: String,
    /// Who committed it.
    pub committer: Option<String>,
    /// The commit message.
    pub comments: String,
    /// When it was made.
    pub when: Timestamp,
    /// The revision in the version control system.
    pub revision: String,
    /// The commit before it.
    pub parent: Option<CommitId>,
}

/// Adds a commit, unless the code base has one with this revision. Returns its id and whether it is new.
///
/// # Errors
/// [`DbError::Conflict`] if the code base or the parent does not exist.
pub async fn add(tx: &Tx, commit: &NewCommit) -> Result<(CommitId, bool), DbError> {
    let sql = "INSERT INTO codebase_commits
                   (codebaseid, author, committer, comments, when_timestamp, revision, parent_commitid)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (codebaseid, revision) DO NOTHING RETURNING id";
    let values = params![
        commit.codebase,
        commit.author.as_str(),
        commit.committer.clone(),
        commit.comments.as_str(),
        commit.when,
        commit.revision.as_str(),
        commit.parent,
    ];
    if let Some(row) = fetch_one(tx, sql, values).await? {
        return Ok((id(&row, "id")?, true));
    }
    let found = get_by_revision(tx, commit.codebase, &commit.revision).await?;
    Ok((found.ok_or(DbError::NotFound("commit"))?.commitid, false))
}

/// A commit.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, commit: CommitId) -> Result<Option<Commit>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM codebase_commits WHERE id = $1");
    fetch_one(connection, sql, params![commit]).await?.as_ref().map(from_row).transpose()
}

/// Those of some commits that exist, by id.
///
/// # Errors
/// What the database reported.
pub async fn get_many(connection: &impl ConnectionTrait, commits: &[CommitId]) -> Result<Vec<Commit>, DbError> {
    let list = in_list(connection.get_database_backend(), 1);
    let sql = format!("SELECT {COLUMNS} FROM codebase_commits WHERE id {list} ORDER BY id");
    fetch_all(connection, sql, params![id_list(commits)]).await?.iter().map(from_row).collect()
}

/// A code base's commit with this revision.
///
/// # Errors
/// What the database reported.
pub async fn get_by_revision(
    connection: &impl ConnectionTrait,
    codebase: CodebaseId,
    revision: &str,
) -> Result<Option<Commit>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM codebase_commits WHERE codebaseid = $1 AND revision = $2");
    fetch_one(connection, sql, params![codebase, revision]).await?.as_ref().map(from_row).transpose()
}

/// The commits of a code base, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait, codebase: CodebaseId) -> Result<Vec<Commit>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM codebase_commits WHERE codebaseid = $1 ORDER BY id");
    fetch_all(connection, sql, params![codebase]).await?.iter().map(from_row).collect()
}

/// The last common ancestor of two commits of a code base, and the ways from it to each, both ends included. Without a
/// common ancestor among the last hundred of each, all is empty. `None` if one of the two is not in the code base.
///
/// # Errors
/// What the database reported.
pub async fn common_parent(
    connection: &impl ConnectionTrait,
    codebase: CodebaseId,
    first: CommitId,
    last: CommitId,
) -> Result<Option<CommitGraph>, DbError> {
    let first_line = line_to(connection, codebase, first).await?;
    let last_line = line_to(connection, codebase, last).await?;
    if first_line.is_empty() || last_line.is_empty() {
        return Ok(None);
    }
    // Lines go back in time, so the first meeting is the last common commit.
    let meeting = first_line
        .iter()
        .enumerate()
        .find_map(|(index, commit)| Some((index, last_line.iter().position(|other| other == commit)?)));
    let forward = |line: &[CommitId], end: usize| line[..=end].iter().rev().copied().collect();
    Ok(Some(match meeting {
        Some((to_first, to_last)) => CommitGraph {
            common: Some(first_line[to_first]),
            to1: forward(&first_line, to_first),
            to2: forward(&last_line, to_last),
        },
        None => CommitGraph { common: None, to1: Vec::new(), to2: Vec::new() },
    }))
}

/// A commit and its ancestors, the newest first.
async fn line_to(
    connection: &impl ConnectionTrait,
    codebase: CodebaseId,
    commit: CommitId,
) -> Result<Vec<CommitId>, DbError> {
    let sql = "WITH RECURSIVE line (id, parent, depth) AS (
                   SELECT id, parent_commitid, CAST(1 AS BIGINT) FROM codebase_commits
                   WHERE id = $1 AND codebaseid = $2
                   UNION ALL
                   SELECT c.id, c.parent_commitid, line.depth + 1 FROM line
                   JOIN codebase_commits c ON c.id = line.parent WHERE line.depth < $3
               ) SELECT id FROM line ORDER BY depth";
    fetch_all(connection, sql, params![commit, codebase, DEPTH]).await?.iter().map(|row| id(row, "id")).collect()
}
