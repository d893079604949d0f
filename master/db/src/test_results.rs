//! Test results, and the names and files of tests, which are kept once per builder.

use buildguild_types::ids::{BuilderId, TestResultId, TestResultSetId};
use buildguild_types::resources::TestResult;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};
use serde::Serialize;

use crate::builders::json;
use crate::sql::{Cell, column, execute, fetch_all, fetch_one, id, rows_of};
use crate::{DbError, Tx, params};

/// Results of one insert. A step may report a hundred thousand.
const BATCH: usize = 1_000;

const SELECT: &str = "SELECT tr.id AS id, tr.builderid AS builderid, tr.test_result_setid AS test_result_setid,
        tn.name AS test_name, tp.path AS test_code_path, tr.line AS line, tr.duration_ns AS duration_ns,
        tr.value AS value
    FROM test_results tr LEFT JOIN test_names tn ON tn.id = tr.test_nameid
    LEFT JOIN test_code_paths tp ON tp.id = tr.test_code_pathid";

fn from_row(row: &QueryResult) -> Result<TestResult, DbError> {
    Ok(TestResult {
        test_resultid: id(row, "id")?,
        test_result_setid: id(row, "test_result_setid")?,
        builderid: id(row, "builderid")?,
        test_name: column(row, "test_name")?,
        test_code_path: column(row, "test_code_path")?,
        line: column(row, "line")?,
        duration_ns: column(row, "duration_ns")?,
        value: column::<Option<String>>(row, "value")?.unwrap_or_default(),
    })
}

/// A result to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewTestResult {
    /// The value, as text.
    pub value: String,
    /// The test's name.
    pub test_name: Option<String>,
    /// The file it is about.
    pub test_code_path: Option<String>,
    /// The line in that file.
    pub line: Option<i64>,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<i64>,
}

/// Adds results to a set, in a few statements however many there are.
///
/// # Errors
/// [`DbError::Invalid`] if a result has neither a name nor a file; [`DbError::Conflict`] if the set does not exist.
pub async fn add(tx: &Tx, builder: BuilderId, set: TestResultSetId, results: &[NewTestResult]) -> Result<(), DbError> {
    if results.iter().any(|result| result.test_name.is_none() && result.test_code_path.is_none()) {
        return Err(DbError::Invalid("a test result needs a test name or a code path".to_owned()));
    }
    for results in results.chunks(BATCH) {
        let names = results.iter().filter_map(|result| result.test_name.as_deref());
        intern(tx, builder, "test_names", "name", names).await?;
        let paths = results.iter().filter_map(|result| result.test_code_path.as_deref());
        intern(tx, builder, "test_code_paths", "path", paths).await?;
        let rows: Vec<_> =
            results.iter().map(|r| (&r.test_name, &r.test_code_path, r.line, r.duration_ns, &r.value)).collect();
        let cells = [Cell::Text, Cell::Text, Cell::Int, Cell::Int, Cell::Text];
        let (cells, from) = rows_of(tx.get_database_backend(), 3, &cells);
        let sql = format!(
            "INSERT INTO test_results
                 (builderid, test_result_setid, test_nameid, test_code_pathid, line, duration_ns, value)
             SELECT $1, $2, tn.id, tp.id, {}, {}, {} FROM {from}
             LEFT JOIN test_names tn ON tn.builderid = $1 AND tn.name = {}
             LEFT JOIN test_code_paths tp ON tp.builderid = $1 AND tp.path = {}
             ORDER BY e.key",
            cells[2], cells[3], cells[4], cells[0], cells[1]
        );
        execute(tx, sql, params![builder, set, json(&rows)?]).await?;
    }
    Ok(())
}

/// Adds the texts that a builder does not have yet.
async fn intern<'a>(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    table: &str,
    text: &str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<(), DbError> {
    let mut rows: Vec<(&str,)> = texts.map(|text| (text,)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    // Sorted, so that two transactions which add the same texts wait for each other instead of blocking each other.
    rows.sort_unstable();
    rows.dedup();
    let (cells, from) = rows_of(connection.get_database_backend(), 2, &[Cell::Text]);
    let sql = format!(
        "INSERT INTO {table} (builderid, {text}) SELECT $1, {} FROM {from} WHERE true ORDER BY e.key
         ON CONFLICT (builderid, {text}) DO NOTHING",
        cells[0]
    );
    execute(connection, sql, params![builder, json(&rows)?]).await?;
    Ok(())
}

/// A result.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, result: TestResultId) -> Result<Option<TestResult>, DbError> {
    let sql = format!("{SELECT} WHERE tr.id = $1");
    fetch_one(connection, sql, params![result]).await?.as_ref().map(from_row).transpose()
}

/// The results of a set, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    set: TestResultSetId,
) -> Result<Vec<TestResult>, DbError> {
    let sql = format!("{SELECT} WHERE tr.builderid = $1 AND tr.test_result_setid = $2 ORDER BY tr.id");
    fetch_all(connection, sql, params![builder, set]).await?.iter().map(from_row).collect()
}

/// The names of a builder's tests that start with a prefix, in order.
///
/// # Errors
/// What the database reported.
pub async fn names(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    prefix: &str,
) -> Result<Vec<String>, DbError> {
    texts(connection, builder, "test_names", "name", prefix).await
}

/// The files of a builder's test results that start with a prefix, in order.
///
/// # Errors
/// What the database reported.
pub async fn code_paths(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    prefix: &str,
) -> Result<Vec<String>, DbError> {
    texts(connection, builder, "test_code_paths", "path", prefix).await
}

async fn texts(
    connection: &impl ConnectionTrait,
    builder: BuilderId,
    table: &str,
    text: &str,
    prefix: &str,
) -> Result<Vec<String>, DbError> {
    // A range of code points serves the unique index; LIKE would give % and _ a meaning, and ignore case on SQLite.
    let starts = match connection.get_database_backend() {
        DbBackend::Postgres => "starts_with",
        _ => "1 = instr",
    };
    let sql = format!(
        "SELECT {text} AS text FROM {table} WHERE builderid = $1 AND {text} >= $2 AND {starts}({text}, $2)
         ORDER BY {text}"
    );
    fetch_all(connection, sql, params![builder, prefix]).await?.iter().map(|row| column(row, "text")).collect()
}
