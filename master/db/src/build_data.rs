//! Data that builds keep: small blobs under a name.

use buildguild_types::ids::BuildId;
use buildguild_types::resources::BuildData;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, id};
use crate::{DbError, Tx, params};

/// A piece of build data with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildDataValue {
    /// The build.
    pub buildid: BuildId,
    /// Its name.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
    /// Who set it.
    pub source: String,
}

fn from_row(row: &QueryResult) -> Result<BuildData, DbError> {
    Ok(BuildData {
        buildid: id(row, "buildid")?,
        name: column(row, "name")?,
        value: None,
        length: column(row, "length")?,
        source: column(row, "source")?,
    })
}

/// Sets a piece of data, whatever it was.
///
/// # Errors
/// [`DbError::Conflict`] if there is no such build.
pub async fn set(tx: &Tx, build: BuildId, name: &str, value: &[u8], source: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO build_data (buildid, name, value, length, source) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (buildid, name)
               DO UPDATE SET value = excluded.value, length = excluded.length, source = excluded.source";
    let length = i64::try_from(value.len()).map_err(|_| DbError::Invalid("build data is too long".to_owned()))?;
    execute(tx, sql, params![build, name, value.to_vec(), length, source]).await?;
    Ok(())
}

/// A piece of data with its value.
///
/// # Errors
/// What the database reported.
pub async fn get(
    connection: &impl ConnectionTrait,
    build: BuildId,
    name: &str,
) -> Result<Option<BuildDataValue>, DbError> {
    let sql = "SELECT buildid, name, value, source FROM build_data WHERE buildid = $1 AND name = $2";
    let Some(row) = fetch_one(connection, sql, params![build, name]).await? else { return Ok(None) };
    Ok(Some(BuildDataValue {
        buildid: id(&row, "buildid")?,
        name: column(&row, "name")?,
        value: column(&row, "value")?,
        source: column(&row, "source")?,
    }))
}

/// A piece of data without its value.
///
/// # Errors
/// What the database reported.
pub async fn get_no_value(
    connection: &impl ConnectionTrait,
    build: BuildId,
    name: &str,
) -> Result<Option<BuildData>, DbError> {
    let sql = "SELECT buildid, name, length, source FROM build_data WHERE buildid = $1 AND name = $2";
    fetch_one(connection, sql, params![build, name]).await?.as_ref().map(from_row).transpose()
}

/// All data of a build, without values, by name.
///
/// # Errors
/// What the database reported.
pub async fn list_no_values(connection: &impl ConnectionTrait, build: BuildId) -> Result<Vec<BuildData>, DbError> {
    let sql = "SELECT buildid, name, length, source FROM build_data WHERE buildid = $1 ORDER BY name";
    fetch_all(connection, sql, params![build]).await?.iter().map(from_row).collect()
}

/// Deletes the data of builds that ended before a time. Returns how many pieces.
///
/// # Errors
/// What the database reported.
pub async fn delete_old(tx: &Tx, older_than: Timestamp) -> Result<u64, DbError> {
    let sql = "DELETE FROM build_data WHERE buildid IN (SELECT id FROM builds WHERE complete_at < $1)";
    execute(tx, sql, params![older_than]).await
}
