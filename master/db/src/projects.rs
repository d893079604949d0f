//! Projects.

use buildguild_types::ids::ProjectId;
use buildguild_types::resources::Project;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, id, name_hash};
use crate::{DbError, Tx, params};

const SELECT: &str = "SELECT p.id AS projectid, p.name AS name, p.slug AS slug, p.description AS description,
    p.description_format AS description_format, p.description_html AS description_html FROM projects p";

fn from_row(row: &QueryResult) -> Result<Project, DbError> {
    Ok(Project {
        projectid: id(row, "projectid")?,
        name: column(row, "name")?,
        slug: column(row, "slug")?,
        description: column(row, "description")?,
        description_format: column(row, "description_format")?,
        description_html: column(row, "description_html")?,
        active: None,
    })
}

/// What the configuration says of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectInfo {
    /// The name for URLs.
    pub slug: String,
    /// What it is.
    pub description: Option<String>,
    /// `markdown`, or nothing.
    pub description_format: Option<String>,
    /// The description as sanitised HTML.
    pub description_html: Option<String>,
}

/// The id of the project with this name; added if wanted, with the name as its slug.
///
/// # Errors
/// [`DbError::NotFound`] if there is none and none is to be added.
pub async fn find_id(connection: &impl ConnectionTrait, name: &str, create: bool) -> Result<ProjectId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM projects WHERE name_hash = $1";
    if let Some(row) = fetch_one(connection, find, params![hash.as_str()]).await? {
        return id(&row, "id");
    }
    if create {
        let sql = "INSERT INTO projects (name, name_hash, slug) VALUES ($1, $2, $1) ON CONFLICT (name_hash) DO NOTHING";
        execute(connection, sql, params![name, hash.as_str()]).await?;
        if let Some(row) = fetch_one(connection, find, params![hash]).await? {
            return id(&row, "id");
        }
    }
    Err(DbError::NotFound("project"))
}

/// A project.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, project: ProjectId) -> Result<Option<Project>, DbError> {
    let sql = format!("{SELECT} WHERE p.id = $1");
    fetch_one(connection, sql, params![project]).await?.as_ref().map(from_row).transpose()
}

/// All projects, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait) -> Result<Vec<Project>, DbError> {
    fetch_all(connection, format!("{SELECT} ORDER BY p.id"), params![]).await?.iter().map(from_row).collect()
}

/// The projects that have a builder on some master, by id.
///
/// # Errors
/// What the database reported.
pub async fn list_active(connection: &impl ConnectionTrait) -> Result<Vec<Project>, DbError> {
    let sql = format!(
        "{SELECT} WHERE EXISTS (SELECT 1 FROM builders b JOIN builder_masters bm ON bm.builderid = b.id
                                WHERE b.projectid = p.id) ORDER BY p.id"
    );
    fetch_all(connection, sql, params![]).await?.iter().map(from_row).collect()
}

/// Sets what the configuration says of a project. Returns whether that changed anything.
///
/// # Errors
/// What the database reported.
pub async fn update_info(tx: &Tx, project: ProjectId, info: &ProjectInfo) -> Result<bool, DbError> {
    let sql = "UPDATE projects SET slug = $2, description = $3, description_format = $4, description_html = $5
               WHERE id = $1 AND (slug <> $2 OR description IS DISTINCT FROM $3
                   OR description_format IS DISTINCT FROM $4 OR description_html IS DISTINCT FROM $5)";
    let values = params![
        project,
        info.slug.as_str(),
        info.description.clone(),
        info.description_format.clone(),
        info.description_html.clone(),
    ];
    Ok(execute(tx, sql, values).await? > 0)
}
