//! Small helpers around raw statements.
//!
//! The connectors write SQL by hand: the hot paths need `RETURNING`, `ON CONFLICT`, row locks and multi-row inserts,
//! and a statement whose text never changes is prepared once per connection. `$1`, `$2`, ... work on both databases.
//! Lists go in as one JSON array (see [`in_list`] and [`rows_of`]), so that the text does not depend on their length.

use buildguild_types::ids::{
    BranchId, BuildId, BuildRequestId, BuilderId, BuildsetId, ChangeId, ChangeSourceId, CodebaseId, CommitId, LogId,
    MasterId, ObjectId, PatchId, ProjectId, SchedulerId, SourceStampId, StepId, TagId, TestResultId, TestResultSetId,
    UserId, WorkerId,
};
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, TryGetable, Value};
use sha2::{Digest, Sha256};

use crate::DbError;

/// Something that can be bound to a placeholder of a statement.
pub trait Param {
    /// The value to bind.
    fn param(self) -> Value;
}

macro_rules! plain_params {
    ($($type:ty),+) => {$(
        impl Param for $type {
            fn param(self) -> Value {
                self.into()
            }
        }
        impl Param for Option<$type> {
            fn param(self) -> Value {
                self.into()
            }
        }
    )+};
}
plain_params!(i64, bool, String, Vec<u8>);

impl Param for &str {
    fn param(self) -> Value {
        self.into()
    }
}

impl Param for &String {
    fn param(self) -> Value {
        self.as_str().into()
    }
}

impl Param for Option<&str> {
    fn param(self) -> Value {
        self.map(str::to_owned).into()
    }
}

macro_rules! id_params {
    ($($type:ty),+ $(,)?) => {$(
        impl Param for $type {
            fn param(self) -> Value {
                self.get().into()
            }
        }
        impl Param for Option<$type> {
            fn param(self) -> Value {
                self.map(<$type>::get).into()
            }
        }
    )+};
}
id_params!(
    BranchId,
    BuildId,
    BuildRequestId,
    BuilderId,
    BuildsetId,
    ChangeId,
    ChangeSourceId,
    CodebaseId,
    CommitId,
    LogId,
    MasterId,
    ObjectId,
    PatchId,
    ProjectId,
    SchedulerId,
    SourceStampId,
    StepId,
    TagId,
    TestResultId,
    TestResultSetId,
    UserId,
    WorkerId,
);

impl Param for Timestamp {
    fn param(self) -> Value {
        self.micros().into()
    }
}

impl Param for Option<Timestamp> {
    fn param(self) -> Value {
        self.map(Timestamp::micros).into()
    }
}

impl Param for Results {
    fn param(self) -> Value {
        i64::from(self.code()).into()
    }
}

impl Param for Option<Results> {
    fn param(self) -> Value {
        self.map(|results| i64::from(results.code())).into()
    }
}

/// A list of parameters: `params![id, "name", None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        ::std::vec![$($crate::Param::param($value)),*]
    };
}

fn statement(connection: &impl ConnectionTrait, sql: impl Into<String>, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

/// Runs a statement and tells how many rows it changed.
///
/// # Errors
/// What the database reported.
pub async fn execute(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<u64, DbError> {
    Ok(connection.execute_raw(statement(connection, sql, values)).await?.rows_affected())
}

/// Runs a query and returns all its rows.
///
/// # Errors
/// What the database reported.
pub async fn fetch_all(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<Vec<QueryResult>, DbError> {
    Ok(connection.query_all_raw(statement(connection, sql, values)).await?)
}

/// Runs a query and returns its first row.
///
/// # Errors
/// What the database reported.
pub async fn fetch_one(
    connection: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<Option<QueryResult>, DbError> {
    Ok(connection.query_one_raw(statement(connection, sql, values)).await?)
}

/// A column of a row.
pub(crate) fn column<T: TryGetable>(row: &QueryResult, name: &str) -> Result<T, DbError> {
    Ok(row.try_get("", name)?)
}

/// An id column.
pub(crate) fn id<T: From<i64>>(row: &QueryResult, name: &str) -> Result<T, DbError> {
    Ok(T::from(row.try_get::<i64>("", name)?))
}

/// An id column that may be null.
pub(crate) fn maybe_id<T: From<i64>>(row: &QueryResult, name: &str) -> Result<Option<T>, DbError> {
    Ok(row.try_get::<Option<i64>>("", name)?.map(T::from))
}

/// A time column.
pub(crate) fn time(row: &QueryResult, name: &str) -> Result<Timestamp, DbError> {
    Ok(Timestamp::from_micros(row.try_get("", name)?))
}

/// A time column that may be null.
pub(crate) fn maybe_time(row: &QueryResult, name: &str) -> Result<Option<Timestamp>, DbError> {
    Ok(row.try_get::<Option<i64>>("", name)?.map(Timestamp::from_micros))
}

/// A results column that may be null.
pub(crate) fn maybe_results(row: &QueryResult, name: &str) -> Result<Option<Results>, DbError> {
    row.try_get::<Option<i64>>("", name)?
        .map(|code| Results::try_from(code).map_err(|error| DbError::Corrupt(error.to_string())))
        .transpose()
}

/// A condition "is in the list bound to `$n`", which follows a column; bind [`id_list`].
pub(crate) fn in_list(backend: DbBackend, n: usize) -> String {
    match backend {
        // As an array, the planner takes it for the few values that it is, and uses the index.
        DbBackend::Postgres => format!("= ANY (translate(${n}, '[]', '{{}}')::bigint[])"),
        _ => format!("IN (SELECT value FROM json_each(${n}))"),
    }
}

/// A list of ids as the parameter of [`in_list`].
pub(crate) fn id_list<T: Copy + Into<i64>>(ids: &[T]) -> String {
    let mut text = String::with_capacity(2 + ids.len() * 8);
    text.push('[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&(*id).into().to_string());
    }
    text.push(']');
    text
}

/// How a cell of [`rows_of`] is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    Text,
    Int,
    Bool,
}

/// `SELECT`able rows from a JSON array of arrays bound to `$n`: the expressions of the cells (each row's list elements
/// in order) and the `FROM` clause.
pub(crate) fn rows_of(backend: DbBackend, n: usize, cells: &[Cell]) -> (Vec<String>, String) {
    let expressions = cells
        .iter()
        .enumerate()
        .map(|(index, cell)| match (backend, cell) {
            (DbBackend::Postgres, Cell::Text) => format!("e.value->>{index}"),
            (DbBackend::Postgres, Cell::Int) => format!("(e.value->>{index})::bigint"),
            (DbBackend::Postgres, Cell::Bool) => format!("(e.value->>{index})::boolean"),
            (_, _) => format!("json_extract(e.value, '$[{index}]')"),
        })
        .collect();
    let from = match backend {
        DbBackend::Postgres => format!("json_array_elements(${n}::json) WITH ORDINALITY AS e(value, key)"),
        _ => format!("json_each(${n}) AS e"),
    };
    (expressions, from)
}

/// SQL for the database's clock in microseconds since the epoch.
pub(crate) fn now_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "(extract(epoch from clock_timestamp()) * 1000000)::bigint",
        _ => "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)",
    }
}

/// The time by the database's clock.
///
/// # Errors
/// What the database reported.
pub async fn database_now(connection: &impl ConnectionTrait) -> Result<Timestamp, DbError> {
    let sql = format!("SELECT {} AS now", now_sql(connection.get_database_backend()));
    match fetch_one(connection, sql, vec![]).await? {
        Some(row) => time(&row, "now"),
        None => Err(DbError::NotFound("the time")),
    }
}

/// The hash by which long names are unique.
pub fn name_hash(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes()))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}
