//! Sets of test results, each made by one step.

use buildguild_types::ids::{BuildId, BuilderId, CommitId, StepId, TestResultSetId};
use buildguild_types::resources::TestResultSet;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{column, execute, fetch_all, fetch_one, id, id_list, in_list};
use crate::{DbError, Tx, params};

const COLUMNS: &str = "ts.id AS id, ts.builderid AS builderid, ts.buildid AS buildid, ts.stepid AS stepid,
    ts.description AS description, ts.category AS category, ts.value_unit AS value_unit,
    ts.tests_passed AS tests_passed, ts.tests_failed AS tests_failed, ts.complete AS complete";

fn from_row(row: &QueryResult) -> Result<TestResultSet, DbError> {
    Ok(TestResultSet {
        test_result_setid: id(row, "id")?,
        builderid: id(row, "builderid")?,
        buildid: id(row, "buildid")?,
        stepid: id(row, "stepid")?,
        description: column(row, "description")?,
        category: column(row, "category")?,
        value_unit: column(row, "value_unit")?,
        tests_passed: column(row, "tests_passed")?,
        tests_failed: column(row, "tests_failed")?,
        complete: column(row, "complete")?,
    })
}

/// A set to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTestResultSet {
    /// The builder.
    pub builder: BuilderId,
    /// The build.
    pub build: BuildId,
    /// The step.
    pub step: StepId,
    /// What was tested.
    pub description: Option<String>,
    /// What kind of result: `pass_fail`, `code_issue`, ...
    pub category: String,
    /// The unit of the values: `boolean`, `ms`, ...
    pub value_unit: String,
}

/// Adds an incomplete set.
///
/// # Errors
/// [`DbError::Conflict`] if the builder, the build or the step does not exist.
pub async fn add(tx: &Tx, set: &NewTestResultSet) -> Result<TestResultSetId, DbError> {
    let sql = "INSERT INTO test_result_sets (builderid, buildid, stepid, description, category, value_unit)
               VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
    let values = params![
        set.builder,
        set.build,
        set.step,
        set.description.clone(),
        set.category.as_str(),
        set.value_unit.as_str(),
    ];
    match fetch_one(tx, sql, values).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("test result set")),
    }
}

/// A set.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, set: TestResultSetId) -> Result<Option<TestResultSet>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM test_result_sets ts WHERE ts.id = $1");
    fetch_one(connection, sql, params![set]).await?.as_ref().map(from_row).transpose()
}

/// Which sets. What is `None` may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestResultSetFilter {
    /// Of this builder.
    pub builder: Option<BuilderId>,
    /// Of this build.
    pub build: Option<BuildId>,
    /// Of this step.
    pub step: Option<StepId>,
    /// Complete or not.
    pub complete: Option<bool>,
}

/// The sets that fit, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(
    connection: &impl ConnectionTrait,
    filter: TestResultSetFilter,
) -> Result<Vec<TestResultSet>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM test_result_sets ts
         WHERE (CAST($1 AS BIGINT) IS NULL OR ts.builderid = $1) AND (CAST($2 AS BIGINT) IS NULL OR ts.buildid = $2)
           AND (CAST($3 AS BIGINT) IS NULL OR ts.stepid = $3) AND (CAST($4 AS BOOLEAN) IS NULL OR ts.complete = $4)
         ORDER BY ts.id"
    );
    let values = params![filter.builder, filter.build, filter.step, filter.complete];
    fetch_all(connection, sql, values).await?.iter().map(from_row).collect()
}

/// The sets of builds that checked out one of some commits, by id.
///
/// # Errors
/// What the database reported.
pub async fn list_for_commits(
    connection: &impl ConnectionTrait,
    commits: &[CommitId],
) -> Result<Vec<TestResultSet>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM test_result_sets ts WHERE ts.buildid IN (
             SELECT b.id FROM codebase_commits c JOIN sourcestamps ss ON ss.revision = c.revision
             JOIN buildset_sourcestamps bss ON bss.sourcestampid = ss.id
             JOIN buildrequests br ON br.buildsetid = bss.buildsetid JOIN builds b ON b.buildrequestid = br.id
             WHERE c.id {}) ORDER BY ts.id",
        in_list(connection.get_database_backend(), 1)
    );
    fetch_all(connection, sql, params![id_list(commits)]).await?.iter().map(from_row).collect()
}

/// Completes a set, with the numbers of tests if they are known.
///
/// # Errors
/// [`DbError::AlreadyComplete`], or [`DbError::NotFound`].
pub async fn complete(
    tx: &Tx,
    set: TestResultSetId,
    tests_passed: Option<i64>,
    tests_failed: Option<i64>,
) -> Result<(), DbError> {
    let sql = "UPDATE test_result_sets SET complete = TRUE, tests_passed = $2, tests_failed = $3
               WHERE id = $1 AND NOT complete";
    if execute(tx, sql, params![set, tests_passed, tests_failed]).await? > 0 {
        return Ok(());
    }
    match get(tx, set).await? {
        Some(_) => Err(DbError::AlreadyComplete),
        None => Err(DbError::NotFound("test result set")),
    }
}
