//! Build plans: what a build will do, as versioned JSON, with the configuration version it refers to.

use buildguild_types::ids::BuildId;
use sea_orm::ConnectionTrait;

use crate::sql::{column, execute, fetch_one};
use crate::{DbError, Tx, params};

/// Stores the plan of a new build.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, build: BuildId, config_hash: &str, plan: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO build_plans (buildid, config_hash, plan) VALUES ($1, $2, $3)";
    execute(tx, sql, params![build, config_hash, plan]).await?;
    Ok(())
}

/// The plan of a build, as JSON.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, build: BuildId) -> Result<Option<String>, DbError> {
    let sql = "SELECT plan FROM build_plans WHERE buildid = $1";
    fetch_one(connection, sql, params![build]).await?.map(|row| column(&row, "plan")).transpose()
}
