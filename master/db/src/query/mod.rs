//! Reads for the API: result specs as SQL, generic over the resource types.
//!
//! Each resource type is a table of its API fields ([`Resource`], one file each in `resources/`): the SQL expression
//! behind a field, its type, and whether it can be null. A list is one statement: where the path limits the collection
//! ([`Scope`]), what the query string filters, the order, the page. Fields that are lists are attached afterwards by
//! one statement per field, for the whole page at once.
//!
//! The meaning is the same on SQLite and PostgreSQL, and is this:
//!
//! - A field that is null never equals anything, and no comparison with it holds; so `ne` does match it.
//! - In an order, null comes before everything else and false before true; texts are ordered by code point, lists by
//!   their first difference. The id decides between equals, so that pages neither overlap nor leave gaps.
//! - Times are compared in whole seconds, as the API shows them, but ordered by the microseconds behind them.

mod after;
mod attach;
mod decode;
mod error;
mod filter;
mod order;
mod property_set;
mod resource;
pub mod resources;
mod scope;
mod sql;

use sea_orm::{ConnectionTrait, DatabaseBackend, QueryResult, Statement};
use serde_json::{Map, Value};

use buildguild_types::spec::{Filter, ResultSpec};

pub use error::QueryError;
pub use filter::parse_boolean;
pub use resource::{Field, Kind, Resource};
pub use scope::{BuildRef, BuilderRef, CodebaseRef, LogRef, ProjectRef, Scope, StepRef, WorkerRef};

use after::Paging;
use decode::Selection;
use resource::{Source, Totals};
use sql::Sql;

/// The most items of one answer. Whoever wants more asks page by page; without a bound, one request for all builds of
/// a large farm would take the replica's memory.
pub const MAX_ITEMS: u64 = 100_000;

/// The most text of one answer. The largest number of builds or requests is well below it; texts that clients and
/// commits bring along (comments, properties) are not.
const MAX_ANSWER_BYTES: usize = 128 << 20;

/// The most filter values of one query; each is a bound parameter, of which both databases allow some ten thousands.
const MAX_FILTER_VALUES: usize = 2_000;

/// The most filters, and the most keys of an order, of one query. No page has more than a handful.
const MAX_CONDITIONS: usize = 50;

/// One page of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The resources, as the API's JSON.
    pub items: Vec<Value>,
    /// How many match the filters without limit and offset; for the collections that grow without end (builds,
    /// requests, buildsets, changes, commits) with a limit or offset only the size of the page, as Buildbot has it.
    pub total: u64,
}

/// One page of a collection as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPage {
    /// The resources: a JSON list.
    pub items: String,
    /// As [`Page::total`].
    pub total: u64,
    /// With `after`: what to give as `after` for the page behind this one. A page that is not full is the last one for
    /// now.
    pub next: Option<String>,
}

/// The items of `resource` within `scopes` that `spec` asks for; it knows no `after`.
///
/// # Errors
/// When the spec does not fit the resource type, when there are more than [`MAX_ITEMS`], or when the database fails.
pub async fn list<C: ConnectionTrait>(
    connection: &C,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &ResultSpec,
) -> Result<Page, QueryError> {
    if spec.filters.iter().any(|filter| filter.field == after::AFTER) {
        return Err(QueryError::UnknownParameter(after::AFTER.to_owned()));
    }
    let Rows { selection, rows, .. } = rows(connection, resource, scopes, spec).await?;
    let items = selection.decode(connection, &rows).await?;
    Ok(Page { items, total: total(connection, resource, scopes, spec, rows.len() as u64).await? })
}

/// As [`list`], with the items as JSON text: for answers that are sent as they are. Pages may go on `after` each other.
///
/// # Errors
/// As [`list`].
pub async fn list_text<C: ConnectionTrait>(
    connection: &C,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &ResultSpec,
) -> Result<TextPage, QueryError> {
    let Rows { selection, rows, next } = rows(connection, resource, scopes, spec).await?;
    let items = selection.write(connection, &rows).await?;
    Ok(TextPage { items, total: total(connection, resource, scopes, spec, rows.len() as u64).await?, next })
}

/// The rows of a page, and what is to be made of them.
struct Rows<'a> {
    selection: Selection<'a>,
    rows: Vec<QueryResult>,
    /// As [`TextPage::next`].
    next: Option<String>,
}

async fn rows<'a, C: ConnectionTrait>(
    connection: &C,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &'a ResultSpec,
) -> Result<Rows<'a>, QueryError> {
    let selection = Selection::new(resource, &spec.fields, &spec.properties)?;
    let (rest, after) = after::split(resource, spec)?;
    let paging = match after {
        // Checked first: the order is not to be trusted before.
        Some(cursor) => {
            check(resource, &rest)?;
            let keys = order::keys(resource, &rest.order, &fixed_columns(resource, scopes, &rest))?;
            Some(Paging::new(keys, &rest.order, cursor)?)
        }
        None => None,
    };
    let statement = page_statement(connection.get_database_backend(), resource, scopes, &rest, paging.as_ref())?;
    let rows = if spec.limit == Some(0) { Vec::new() } else { connection.query_all_raw(statement).await? };
    if rows.len() as u64 > MAX_ITEMS {
        return Err(QueryError::TooManyItems);
    }
    let next = match (&paging, rows.last()) {
        (Some(paging), Some(last)) => Some(paging.cursor(last)?),
        // Nothing new: the same place again.
        _ => after.filter(|cursor| !cursor.is_empty()).map(str::to_owned),
    };
    Ok(Rows { selection, rows, next })
}

/// How many items match, when the page has `found` of them.
async fn total<C: ConnectionTrait>(
    connection: &C,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &ResultSpec,
    found: u64,
) -> Result<u64, QueryError> {
    let (spec, after) = after::split(resource, spec)?;
    let paged = spec.limit.is_some() || spec.offset.is_some() || after.is_some();
    let offset = spec.offset.unwrap_or(0);
    let complete_page = found > 0 || offset == 0;
    if !paged || resource.totals == Totals::Page {
        return Ok(found);
    }
    if after.is_none() && complete_page && spec.limit.is_none_or(|limit| found < limit) {
        // The page ends where the collection ends, so nothing needs to be counted.
        return Ok(offset + found);
    }
    let mut sql = Sql::new(connection.get_database_backend());
    sql.push("SELECT COUNT(*)");
    push_condition(&mut sql, resource, scopes, &spec.filters)?;
    let row = connection.query_one_raw(sql.into_statement()).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The statement by which [`list`] gets the rows of a page: what `EXPLAIN` is to be asked about.
///
/// # Errors
/// When the spec does not fit the resource type.
pub fn statement(
    backend: DatabaseBackend,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &ResultSpec,
) -> Result<Statement, QueryError> {
    page_statement(backend, resource, scopes, spec, None)
}

/// Columns that have one value in all rows, because the path or a filter says so.
fn fixed_columns(resource: &'static Resource, scopes: &[Scope], spec: &ResultSpec) -> Vec<&'static str> {
    scopes
        .iter()
        .filter_map(|scope| scope.fixed(resource))
        .chain(spec.filters.iter().filter_map(|filter| filter::fixed(resource, filter)))
        .collect()
}

/// As [`statement`], for one of the pages that go on after each other.
fn page_statement(
    backend: DatabaseBackend,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &ResultSpec,
    paging: Option<&Paging>,
) -> Result<Statement, QueryError> {
    check(resource, spec)?;
    let mut sql = Sql::new(backend);
    sql.push("SELECT ");
    Selection::new(resource, &spec.fields, &spec.properties)?.push(&mut sql);
    if let Some(paging) = paging {
        paging.push_columns(&mut sql);
    }
    push_condition(&mut sql, resource, scopes, &spec.filters)?;
    match paging {
        Some(paging) => {
            paging.push_condition(&mut sql);
            order::push(&paging.keys, &mut sql);
        }
        None if spec.order.is_empty() => {
            sql.push(" ORDER BY ").push(resource.default_order);
        }
        None => order::push(&order::keys(resource, &spec.order, &fixed_columns(resource, scopes, spec))?, &mut sql),
    }
    // The limit is written out, not bound: a plan made for an unknown limit may sort what an index would give in order.
    let limit = spec.limit.map_or(MAX_ITEMS + 1, |limit| limit.min(MAX_ITEMS + 1));
    sql.push(&format!(" LIMIT {limit}"));
    if let Some(offset) = spec.offset.filter(|offset| *offset > 0) {
        sql.push(" OFFSET ").bind(i64::try_from(offset).unwrap_or(i64::MAX));
    }
    Ok(sql.into_statement())
}

fn push_condition(
    sql: &mut Sql,
    resource: &'static Resource,
    scopes: &[Scope],
    filters: &[Filter],
) -> Result<(), QueryError> {
    sql.push(" FROM ").push(resource.from).push(" WHERE 1 = 1");
    for scope in scopes {
        sql.push(" AND ");
        scope.push(resource, sql)?;
    }
    for filter in filters {
        sql.push(" AND ");
        filter::push(resource, filter, sql)?;
    }
    Ok(())
}

/// The one item of `resource` within `scopes`, if it exists. Of the spec only fields and properties count.
///
/// # Errors
/// As [`check_single`], or when the database fails.
pub async fn find<C: ConnectionTrait>(
    connection: &C,
    resource: &'static Resource,
    scopes: &[Scope],
    spec: &ResultSpec,
) -> Result<Option<Value>, QueryError> {
    check_single(resource, spec)?;
    let selection = Selection::new(resource, &spec.fields, &spec.properties)?;
    let mut sql = Sql::new(connection.get_database_backend());
    sql.push("SELECT ");
    selection.push(&mut sql);
    push_condition(&mut sql, resource, scopes, &[])?;
    sql.push(" LIMIT 1");
    let rows = connection.query_all_raw(sql.into_statement()).await?;
    Ok(selection.decode(connection, &rows).await?.pop())
}

/// Applies a spec to items that are not in the database (force schedulers, root links): the same meaning, in memory.
///
/// # Errors
/// As for [`list`], without the database's.
pub fn list_in_memory(
    resource: &'static Resource,
    items: Vec<Map<String, Value>>,
    spec: &ResultSpec,
) -> Result<Page, QueryError> {
    let selected = check(resource, spec)?;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let mut keep = true;
        for filter in &spec.filters {
            keep &= filter::matches(resource, filter, &item)?;
        }
        if keep {
            kept.push(item);
        }
    }
    order::sort(resource, &spec.order, &mut kept)?;
    let total = kept.len() as u64;
    let items = kept
        .into_iter()
        .skip(usize::try_from(spec.offset.unwrap_or(0)).unwrap_or(usize::MAX))
        .take(usize::try_from(spec.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX))
        .map(|mut item| {
            item.retain(|name, _| selected.iter().any(|field| field.name == name));
            Value::Object(item)
        })
        .collect();
    Ok(Page { items, total })
}

/// Checks the spec of a single resource: a filter is an error; an order says nothing, but its fields have to exist.
///
/// # Errors
/// [`QueryError::NotACollection`] for a filter, else as for a collection.
pub fn check_single(resource: &'static Resource, spec: &ResultSpec) -> Result<(), QueryError> {
    check(resource, spec)?;
    if spec.filters.is_empty() { Ok(()) } else { Err(QueryError::NotACollection) }
}

/// Checks a spec against the resource type, in the order in which the API applies its parts, and returns the fields that
/// it selects.
fn check(resource: &'static Resource, spec: &ResultSpec) -> Result<Vec<&'static Field>, QueryError> {
    let values = spec.filters.iter().map(|filter| filter.values.len()).sum::<usize>();
    if values > MAX_FILTER_VALUES
        || spec.filters.len() > MAX_CONDITIONS
        || spec.order.len() > MAX_CONDITIONS
        || spec.properties.len() > MAX_FILTER_VALUES
    {
        return Err(QueryError::TooComplex);
    }
    let fields = resource.select(&spec.fields)?;
    let selected = |name: &str| fields.iter().any(|field| field.name == name);
    for filter in &spec.filters {
        if !resource.has_field(&filter.field) {
            return Err(QueryError::UnknownParameter(filter.field.clone()));
        }
        if !selected(&filter.field) {
            return Err(QueryError::FilterNotSelected(filter.field.clone()));
        }
    }
    for order in &spec.order {
        let field = resource.field(&order.field)?;
        if !selected(&order.field) {
            return Err(QueryError::OrderNotSelected(order.field.clone()));
        }
        // Without `property=` all are equal.
        if matches!(field.source, Source::Properties(_)) && !spec.properties.is_empty() {
            return Err(QueryError::Unordered(order.field.clone()));
        }
    }
    Ok(fields)
}
