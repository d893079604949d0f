//! Code bases of projects.

use buildguild_types::ids::{CodebaseId, ProjectId};
use buildguild_types::resources::Codebase;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, id, name_hash};
use crate::{DbError, Tx, params};

const SELECT: &str = "SELECT id, projectid, name, slug FROM codebases";

fn from_row(row: &QueryResult) -> Result<Codebase, DbError> {
    Ok(Codebase {
        codebaseid: id(row, "id")?,
        projectid: id(row, "projectid")?,
        name: column(row, "name")?,
        slug: column(row, "slug")?,
    })
}

/// The id of a project's code base with this name; added if wanted, with the name as its slug.
///
/// # Errors
/// [`DbError::NotFound`] if there is none and none is to be added; [`DbError::Conflict`] if the project does not exist.
pub async fn find_id(
    connection: &impl ConnectionTrait,
    project: ProjectId,
    name: &str,
    create: bool,
) -> Result<CodebaseId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM codebases WHERE projectid = $1 AND name_hash = $2";
    if let Some(row) = fetch_one(connection, find, params![project, hash.as_str()]).await? {
        return id(&row, "id");
    }
    if create {
        let sql = "INSERT INTO codebases (projectid, name, name_hash, slug) VALUES ($1, $2, $3, $2)
                   ON CONFLICT (projectid, name_hash) DO NOTHING";
        execute(connection, sql, params![project, name, hash.as_str()]).await?;
        if let Some(row) = fetch_one(connection, find, params![project, hash]).await? {
            return id(&row, "id");
        }
    }
    Err(DbError::NotFound("code base"))
}

/// A code base.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, codebase: CodebaseId) -> Result<Option<Codebase>, DbError> {
    let sql = format!("{SELECT} WHERE id = $1");
    fetch_one(connection, sql, params![codebase]).await?.as_ref().map(from_row).transpose()
}

/// The code bases of a project, or all, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait, project: Option<ProjectId>) -> Result<Vec<Codebase>, DbError> {
    let sql = format!("{SELECT} WHERE CAST($1 AS BIGINT) IS NULL OR projectid = $1 ORDER BY id");
    fetch_all(connection, sql, params![project]).await?.iter().map(from_row).collect()
}

/// Sets the project and slug of a code base. Returns whether that changed anything.
///
/// # Errors
/// [`DbError::Conflict`] if the project does not exist or has one with that name.
pub async fn update_info(tx: &Tx, codebase: CodebaseId, project: ProjectId, slug: &str) -> Result<bool, DbError> {
    let sql = "UPDATE codebases SET projectid = $2, slug = $3 WHERE id = $1 AND (projectid <> $2 OR slug <> $3)";
    Ok(execute(tx, sql, params![codebase, project, slug]).await? > 0)
}
