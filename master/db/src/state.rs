//! State that objects keep across restarts: JSON values under (object, name).

use buildguild_types::ids::ObjectId;
use sea_orm::ConnectionTrait;
use serde_json::Value;

use crate::sql::{column, execute, fetch_one, id};
use crate::{DbError, Tx, params};

/// The id of an object, by name and class; added if there is none.
///
/// # Errors
/// What the database reported.
pub async fn object_id(connection: &impl ConnectionTrait, name: &str, class_name: &str) -> Result<ObjectId, DbError> {
    let find = "SELECT id FROM objects WHERE name = $1 AND class_name = $2";
    if let Some(row) = fetch_one(connection, find, params![name, class_name]).await? {
        return id(&row, "id");
    }
    let sql = "INSERT INTO objects (name, class_name) VALUES ($1, $2) ON CONFLICT (name, class_name) DO NOTHING";
    execute(connection, sql, params![name, class_name]).await?;
    match fetch_one(connection, find, params![name, class_name]).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("object")),
    }
}

/// A value, if it was ever set.
///
/// # Errors
/// [`DbError::Corrupt`] if it is no JSON.
pub async fn get(connection: &impl ConnectionTrait, object: ObjectId, name: &str) -> Result<Option<Value>, DbError> {
    let sql = "SELECT value_json FROM object_state WHERE objectid = $1 AND name = $2";
    let Some(row) = fetch_one(connection, sql, params![object, name]).await? else { return Ok(None) };
    let text: String = column(&row, "value_json")?;
    serde_json::from_str(&text).map(Some).map_err(|error| DbError::Corrupt(format!("state {name:?}: {error}")))
}

/// Sets a value, whatever it was.
///
/// # Errors
/// [`DbError::Conflict`] if there is no such object.
pub async fn set(tx: &Tx, object: ObjectId, name: &str, value: &Value) -> Result<(), DbError> {
    let sql = "INSERT INTO object_state (objectid, name, value_json) VALUES ($1, $2, $3)
               ON CONFLICT (objectid, name) DO UPDATE SET value_json = excluded.value_json";
    execute(tx, sql, params![object, name, value.to_string()]).await?;
    Ok(())
}

/// Sets a value unless there is one, and returns the one that counts: of all masters that try, the first one's.
///
/// # Errors
/// As for [`get`] and [`set`].
pub async fn atomic_create(tx: &Tx, object: ObjectId, name: &str, value: &Value) -> Result<Value, DbError> {
    let sql = "INSERT INTO object_state (objectid, name, value_json) VALUES ($1, $2, $3)
               ON CONFLICT (objectid, name) DO NOTHING";
    execute(tx, sql, params![object, name, value.to_string()]).await?;
    get(tx, object, name).await?.ok_or(DbError::NotFound("state"))
}
