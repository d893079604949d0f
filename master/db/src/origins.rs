//! Where a step comes from, in names: what a downloaded log is called after.

use buildguild_types::ids::StepId;
use sea_orm::ConnectionTrait;

use crate::sql::{column, fetch_one};
use crate::{DbError, params};

/// Where a step comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The builder's name.
    pub builder: String,
    /// The build's number.
    pub number: i64,
    /// The worker's name; empty if the worker has been deleted.
    pub worker: String,
    /// The step's name.
    pub step: String,
}

/// Where a step comes from.
///
/// # Errors
/// What the database reported.
pub async fn of_step(connection: &impl ConnectionTrait, step: StepId) -> Result<Option<Origin>, DbError> {
    let sql = "SELECT r.name AS builder, b.number AS number, w.name AS worker, s.name AS step
               FROM steps s JOIN builds b ON b.id = s.buildid JOIN builders r ON r.id = b.builderid
               LEFT JOIN workers w ON w.id = b.workerid WHERE s.id = $1";
    let Some(row) = fetch_one(connection, sql, params![step]).await? else { return Ok(None) };
    Ok(Some(Origin {
        builder: column(&row, "builder")?,
        number: column(&row, "number")?,
        worker: column::<Option<String>>(&row, "worker")?.unwrap_or_default(),
        step: column(&row, "step")?,
    }))
}
