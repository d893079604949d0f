//! Paging by key: `after=ID` goes on behind an item, wherever it stands in the order asked for.
//!
//! Deep pages cost what the first one costs, and what is added meanwhile shifts nothing. The place is that of the item as
//! it is now: where its values in the order change (when a build ends, for example), it takes the place with it.

use std::borrow::Cow;

use sea_orm::{ConnectionTrait, QueryResult, Value};

use buildguild_types::spec::{FilterOp, ResultSpec};

use super::error::QueryError;
use super::order::SortKey;
use super::resource::{Kind, Resource};
use super::sql::Sql;

/// The parameter's name. It comes among the filters, because the parser of queries does not know the resource types.
const AFTER: &str = "after";

/// The spec without `after`, and the id behind which the page begins.
pub(super) fn split<'a>(
    resource: &'static Resource,
    spec: &'a ResultSpec,
) -> Result<(Cow<'a, ResultSpec>, Option<i64>), QueryError> {
    let is_after = |field: &str, op: FilterOp| field == AFTER && op == FilterOp::Eq;
    let Some(filter) = spec.filters.iter().find(|filter| is_after(&filter.field, filter.op)) else {
        return Ok((Cow::Borrowed(spec), None));
    };
    if !resource.has_id() {
        return Err(QueryError::UnknownField(AFTER.to_owned()));
    }
    let [id] = filter.values.as_slice() else { return Err(QueryError::InvalidValue(AFTER.to_owned())) };
    let id = id.parse().map_err(|_| QueryError::InvalidValue(AFTER.to_owned()))?;
    let mut rest = spec.clone();
    rest.filters.retain(|filter| !is_after(&filter.field, filter.op));
    Ok((Cow::Owned(rest), Some(id)))
}

/// A place in an order: the values that the item has there.
pub(super) struct Place {
    values: Vec<Option<Value>>,
}

/// Where the item `id` stands.
pub(super) async fn place<C: ConnectionTrait>(
    connection: &C,
    resource: &'static Resource,
    keys: &[SortKey],
    id: i64,
) -> Result<Place, QueryError> {
    let mut sql = Sql::new(connection.get_database_backend());
    sql.push("SELECT ");
    for (index, key) in keys.iter().enumerate() {
        sql.push(if index > 0 { ", " } else { "" });
        match key.kind {
            Kind::Text | Kind::Identifier | Kind::Boolean => sql.push(&key.expression),
            // A flag's 0 and 1 would be a smaller type.
            _ => sql.push("CAST(").push(&key.expression).push(" AS BIGINT)"),
        };
    }
    sql.push(" FROM ").push(resource.from).push(" WHERE ").push(resource.key).push(" = ").bind(id);
    let Some(row) = connection.query_one_raw(sql.into_statement()).await? else {
        return Err(QueryError::NoSuchPlace(id));
    };
    let values = keys.iter().enumerate().map(|(index, key)| value(&row, index, key.kind)).collect::<Result<_, _>>()?;
    Ok(Place { values })
}

fn value(row: &QueryResult, index: usize, kind: Kind) -> Result<Option<Value>, QueryError> {
    Ok(match kind {
        Kind::Text | Kind::Identifier => row.try_get_by_index::<Option<String>>(index)?.map(Value::from),
        Kind::Boolean => row.try_get_by_index::<Option<bool>>(index)?.map(Value::from),
        _ => row.try_get_by_index::<Option<i64>>(index)?.map(Value::from),
    })
}

/// Appends the condition that an item comes behind `place`.
pub(super) fn push(keys: &[SortKey], place: &Place, sql: &mut Sql) {
    let pairs: Vec<_> = keys.iter().zip(&place.values).collect();
    // What follows is too much for a planner; this it can read off an index.
    if let [(first, Some(value)), _, ..] = pairs.as_slice()
        && !first.nullable
    {
        let operator = if first.descending { " <= " } else { " >= " };
        sql.push(&first.expression).push(operator).bind(value.clone()).push(" AND ");
    }
    sql.push("(");
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            sql.push(" OR ");
        }
        sql.push("(");
        for (before, value) in &pairs[..index] {
            match value {
                Some(value) => sql.push(&before.expression).push(" = ").bind(value.clone()),
                None => sql.push(&before.expression).push(" IS NULL"),
            };
            sql.push(" AND ");
        }
        push_behind(key, value.as_ref(), sql);
        sql.push(")");
    }
    sql.push(")");
}

/// Appends that a key alone says "behind". Null comes first when ascending, last when descending.
fn push_behind(key: &SortKey, value: Option<&Value>, sql: &mut Sql) {
    match (value, key.descending) {
        (None, false) => sql.push(&key.expression).push(" IS NOT NULL"),
        (None, true) => sql.push("1 = 0"),
        (Some(value), false) => sql.push(&key.expression).push(" > ").bind(value.clone()),
        (Some(value), true) if key.nullable => {
            sql.push("(").push(&key.expression).push(" < ").bind(value.clone());
            sql.push(" OR ").push(&key.expression).push(" IS NULL)")
        }
        (Some(value), true) => sql.push(&key.expression).push(" < ").bind(value.clone()),
    };
}
