//! Tags of builders.

use buildguild_types::ids::TagId;
use sea_orm::ConnectionTrait;

use crate::sql::{execute, fetch_one, id, name_hash};
use crate::{DbError, params};

/// The id of a tag; added if there is none.
///
/// # Errors
/// What the database reported.
pub async fn find_id(connection: &impl ConnectionTrait, name: &str) -> Result<TagId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM tags WHERE name_hash = $1";
    if let Some(row) = fetch_one(connection, find, params![hash.as_str()]).await? {
        return id(&row, "id");
    }
    let sql = "INSERT INTO tags (name, name_hash) VALUES ($1, $2) ON CONFLICT (name_hash) DO NOTHING";
    execute(connection, sql, params![name, hash.as_str()]).await?;
    match fetch_one(connection, find, params![hash]).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("tag")),
    }
}
