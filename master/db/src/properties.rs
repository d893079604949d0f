//! Properties of builds and buildsets.

use std::collections::BTreeMap;

use buildguild_types::ids::{BuildId, BuildsetId};
use buildguild_types::properties::{Properties, Property};
use sea_orm::{ConnectionTrait, QueryResult};

use crate::builders::json;
use crate::sql::{Cell, column, execute, fetch_all, id, id_list, in_list, rows_of};
use crate::{DbError, Tx, params};

/// The longest name of a property.
pub const NAME_LENGTH: usize = 256;

/// Sets properties of a build, whatever they were before, in one statement.
///
/// # Errors
/// [`DbError::Invalid`] if a name is too long.
pub async fn set_for_build(tx: &Tx, build: BuildId, properties: &Properties) -> Result<(), DbError> {
    if properties.is_empty() {
        return Ok(());
    }
    let rows = properties
        .iter()
        .map(|(name, property)| Ok((checked(name)?, property.value().to_string(), property.source())))
        .collect::<Result<Vec<_>, DbError>>()?;
    let (cells, from) = rows_of(tx.get_database_backend(), 2, &[Cell::Text, Cell::Text, Cell::Text]);
    let sql = format!(
        "INSERT INTO build_properties (buildid, name, value, source) SELECT $1, {}, {}, {} FROM {from} WHERE true
         ON CONFLICT (buildid, name) DO UPDATE SET value = excluded.value, source = excluded.source",
        cells[0], cells[1], cells[2]
    );
    execute(tx, sql, params![build, json(&rows)?]).await?;
    Ok(())
}

/// Adds the properties of a new buildset.
///
/// # Errors
/// [`DbError::Invalid`] if a name is too long.
pub async fn add_for_buildset(tx: &Tx, buildset: BuildsetId, properties: &Properties) -> Result<(), DbError> {
    if properties.is_empty() {
        return Ok(());
    }
    let rows = properties
        .iter()
        .map(|(name, property)| Ok((checked(name)?, json(property)?)))
        .collect::<Result<Vec<_>, DbError>>()?;
    let (cells, from) = rows_of(tx.get_database_backend(), 2, &[Cell::Text, Cell::Text]);
    let sql = format!(
        "INSERT INTO buildset_properties (buildsetid, property_name, property_value) SELECT $1, {}, {} FROM {from}",
        cells[0], cells[1]
    );
    execute(tx, sql, params![buildset, json(&rows)?]).await?;
    Ok(())
}

fn checked(name: &str) -> Result<&str, DbError> {
    if name.chars().count() > NAME_LENGTH {
        return Err(DbError::Invalid(format!("a property's name has more than {NAME_LENGTH} characters")));
    }
    Ok(name)
}

fn build_property(row: &QueryResult) -> Result<(String, Property), DbError> {
    let value: String = column(row, "value")?;
    let value: serde_json::Value = serde_json::from_str(&value).map_err(|error| DbError::Corrupt(error.to_string()))?;
    Ok((column(row, "name")?, Property(value, column(row, "source")?)))
}

fn buildset_property(row: &QueryResult) -> Result<(String, Property), DbError> {
    let value: String = column(row, "property_value")?;
    let value = serde_json::from_str(&value).map_err(|error| DbError::Corrupt(error.to_string()))?;
    Ok((column(row, "property_name")?, value))
}

/// The properties of a build.
///
/// # Errors
/// What the database reported.
pub async fn of_build(connection: &impl ConnectionTrait, build: BuildId) -> Result<Properties, DbError> {
    let sql = "SELECT name, value, source FROM build_properties WHERE buildid = $1";
    fetch_all(connection, sql, params![build]).await?.iter().map(build_property).collect()
}

/// Some properties (those named; all if none is) of several builds.
///
/// # Errors
/// What the database reported.
pub async fn of_builds(
    connection: &impl ConnectionTrait,
    builds: &[BuildId],
    names: &[String],
) -> Result<BTreeMap<BuildId, Properties>, DbError> {
    let backend = connection.get_database_backend();
    let (cells, from) = rows_of(backend, 2, &[Cell::Text]);
    let sql = format!(
        "SELECT buildid, name, value, source FROM build_properties WHERE buildid {} AND ($2 = '[]' OR name IN
         (SELECT {} FROM {from}))",
        in_list(backend, 1),
        cells[0]
    );
    let names: Vec<[&String; 1]> = names.iter().map(|name| [name]).collect();
    let mut all: BTreeMap<BuildId, Vec<(String, Property)>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![id_list(builds), json(&names)?]).await? {
        all.entry(id(&row, "buildid")?).or_default().push(build_property(&row)?);
    }
    Ok(all.into_iter().map(|(build, list)| (build, list.into_iter().collect())).collect())
}

/// The properties of a buildset.
///
/// # Errors
/// What the database reported.
pub async fn of_buildset(connection: &impl ConnectionTrait, buildset: BuildsetId) -> Result<Properties, DbError> {
    let sql = "SELECT property_name, property_value FROM buildset_properties WHERE buildsetid = $1";
    fetch_all(connection, sql, params![buildset]).await?.iter().map(buildset_property).collect()
}

/// The properties of several buildsets.
///
/// # Errors
/// What the database reported.
pub async fn of_buildsets(
    connection: &impl ConnectionTrait,
    buildsets: &[BuildsetId],
) -> Result<BTreeMap<BuildsetId, Properties>, DbError> {
    let sql = format!(
        "SELECT buildsetid, property_name, property_value FROM buildset_properties WHERE buildsetid {}",
        in_list(connection.get_database_backend(), 1)
    );
    let mut all: BTreeMap<BuildsetId, Vec<(String, Property)>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![id_list(buildsets)]).await? {
        all.entry(id(&row, "buildsetid")?).or_default().push(buildset_property(&row)?);
    }
    Ok(all.into_iter().map(|(buildset, list)| (buildset, list.into_iter().collect())).collect())
}
