//! Paging by key: `after` goes on behind the last item of the page before.
//!
//! Each page has a cursor for the next one: the values that its last item has in the order. Deep pages cost what the
//! first one costs, what is added meanwhile shifts nothing, and it does not matter whether that item is still there. A
//! cursor is opaque to clients, but nothing relies on that: its values are checked for their types, and bound.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{QueryResult, Value};
use serde_json::Value as Json;

use buildguild_types::spec::{FilterOp, OrderBy, ResultSpec};

use super::error::QueryError;
use super::order::SortKey;
use super::resource::{Kind, Resource};
use super::sql::Sql;

/// The parameter's name. It comes among the filters, because the parser of queries does not know the resource types.
pub(super) const AFTER: &str = "after";

/// What the columns with an item's place are called in a statement, and then numbered.
const COLUMN: &str = "after_";

/// The spec without `after`, and its value: the cursor, or an empty text for the first page.
pub(super) fn split<'a>(
    resource: &'static Resource,
    spec: &'a ResultSpec,
) -> Result<(Cow<'a, ResultSpec>, Option<&'a str>), QueryError> {
    let is_after = |field: &str, op: FilterOp| field == AFTER && op == FilterOp::Eq;
    let Some(filter) = spec.filters.iter().find(|filter| is_after(&filter.field, filter.op)) else {
        return Ok((Cow::Borrowed(spec), None));
    };
    if !resource.has_id() {
        return Err(QueryError::UnknownParameter(AFTER.to_owned()));
    }
    let [cursor] = filter.values.as_slice() else { return Err(QueryError::InvalidCursor) };
    let mut rest = spec.clone();
    rest.filters.retain(|filter| !is_after(&filter.field, filter.op));
    Ok((Cow::Owned(rest), Some(cursor)))
}

/// Pages that go on after each other.
pub(super) struct Paging {
    /// The order.
    pub(super) keys: Vec<SortKey>,
    /// The order in words: a cursor belongs to one.
    order: String,
    /// Where the page begins: the values of the item before it. The first page begins nowhere.
    place: Option<Vec<Option<Value>>>,
}

impl Paging {
    /// The pages of an order, from `cursor` on.
    pub(super) fn new(keys: Vec<SortKey>, order: &[OrderBy], cursor: &str) -> Result<Self, QueryError> {
        let order: Vec<String> =
            order.iter().map(|key| format!("{}{}", if key.descending { "-" } else { "" }, key.field)).collect();
        let order = order.join(",");
        let place = if cursor.is_empty() { None } else { Some(place(&keys, &order, cursor)?) };
        Ok(Self { keys, order, place })
    }

    /// Appends the columns that [`Paging::cursor`] needs.
    pub(super) fn push_columns(&self, sql: &mut Sql) {
        for (index, key) in self.keys.iter().enumerate() {
            match key.kind {
                Kind::Text | Kind::Identifier | Kind::Boolean => sql.push(", ").push(&key.expression),
                // A flag's 0 and 1 would be a smaller type.
                _ => sql.push(", CAST(").push(&key.expression).push(" AS BIGINT)"),
            };
            sql.push(" AS ").push(COLUMN).push(&index.to_string());
        }
    }

    /// The cursor for the page after the item of this row.
    pub(super) fn cursor(&self, row: &QueryResult) -> Result<String, QueryError> {
        let mut values = vec![Json::from(self.order.as_str())];
        for (index, key) in self.keys.iter().enumerate() {
            let column = format!("{COLUMN}{index}");
            values.push(match key.kind {
                Kind::Text | Kind::Identifier => row.try_get::<Option<String>>("", &column)?.into(),
                Kind::Boolean => row.try_get::<Option<bool>>("", &column)?.into(),
                _ => row.try_get::<Option<i64>>("", &column)?.into(),
            });
        }
        Ok(URL_SAFE_NO_PAD.encode(Json::Array(values).to_string()))
    }

    /// Appends the condition that an item comes behind the place.
    pub(super) fn push_condition(&self, sql: &mut Sql) {
        let Some(place) = &self.place else { return };
        let pairs: Vec<_> = self.keys.iter().zip(place).collect();
        sql.push(" AND ");
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
}

/// The values in a cursor, if it belongs to this order.
fn place(keys: &[SortKey], order: &str, cursor: &str) -> Result<Vec<Option<Value>>, QueryError> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| QueryError::InvalidCursor)?;
    let values: Vec<Json> = serde_json::from_slice(&decoded).map_err(|_| QueryError::InvalidCursor)?;
    match values.split_first() {
        Some((Json::String(own), values)) if own == order && values.len() == keys.len() => {
            keys.iter().zip(values).map(|(key, value)| value_of(key, value).ok_or(QueryError::InvalidCursor)).collect()
        }
        _ => Err(QueryError::InvalidCursor),
    }
}

/// A value of a cursor; `None` if the key has no such values.
fn value_of(key: &SortKey, value: &Json) -> Option<Option<Value>> {
    if value.is_null() {
        return key.nullable.then_some(None);
    }
    Some(Some(match key.kind {
        Kind::Text | Kind::Identifier => value.as_str().filter(|text| !text.contains('\0'))?.into(),
        Kind::Boolean => value.as_bool()?.into(),
        _ => value.as_i64()?.into(),
    }))
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
