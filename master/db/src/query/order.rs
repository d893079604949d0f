//! The order of a collection, in SQL and in memory.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use buildguild_types::spec::OrderBy;

use super::error::QueryError;
use super::resource::{Kind, Resource, Source, Ties};
use super::sql::Sql;

/// A key of an order.
pub(super) struct SortKey {
    pub(super) expression: Cow<'static, str>,
    /// The type of the values; a number for a flag.
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    pub(super) descending: bool,
}

impl SortKey {
    fn id(resource: &'static Resource, descending: bool) -> Self {
        Self { expression: resource.key.into(), kind: Kind::Integer, nullable: false, descending }
    }
}

/// The keys of an order: those asked for, then the unique key, by which alone an order goes that asks for nothing.
///
/// `fixed` are columns that have one value in all rows, because the path or a filter says so.
pub(super) fn keys(
    resource: &'static Resource,
    order: &[OrderBy],
    fixed: &[&'static str],
) -> Result<Vec<SortKey>, QueryError> {
    let mut keys = Vec::with_capacity(order.len() + 1);
    let mut known: Vec<&str> = fixed.to_vec();
    for key in order {
        let field = resource.field(&key.field)?;
        let mut total = false;
        let (expression, kind) = match &field.source {
            Source::Column(column) => {
                known.push(column);
                total |= *column == resource.key;
                total |= !resource.unique.is_empty() && resource.unique.iter().all(|column| known.contains(column));
                (Cow::Borrowed(*column), field.kind)
            }
            Source::Flag { when_true, .. } => {
                (Cow::Owned(format!("(CASE WHEN {when_true} THEN 1 ELSE 0 END)")), Kind::Integer)
            }
            // The empty list comes first, as null does.
            Source::SingletonList(column) => (Cow::Borrowed(*column), Kind::Integer),
            Source::Attached(attachment) => match attachment.order_text() {
                Some(expression) => (Cow::Borrowed(expression), Kind::Text),
                None => return Err(QueryError::Unordered(key.field.clone())),
            },
            // Objects have no order among themselves; whether there is one has.
            Source::Built { columns: [(column, _), ..], .. } if field.nullable => {
                (Cow::Owned(format!("(CASE WHEN {column} IS NULL THEN 0 ELSE 1 END)")), Kind::Integer)
            }
            // Not asked for, so the same for all.
            Source::Properties(_) => continue,
            Source::JsonText { .. } | Source::Built { .. } | Source::Constant(_) => {
                return Err(QueryError::Unordered(key.field.clone()));
            }
        };
        let nullable = match &field.source {
            Source::Column(_) | Source::Flag { .. } => field.nullable,
            Source::SingletonList(_) => true,
            _ => false,
        };
        keys.push(SortKey { expression, kind, nullable, descending: key.descending });
        if total {
            // What follows a unique key has no say; a shorter order is more often an index's.
            return Ok(keys);
        }
    }
    let queue = match resource.ties {
        Ties::Follow => false,
        Ties::OldestFirstAfter(column) => known.last() == Some(&column),
    };
    let descending = !queue && keys.last().is_some_and(|key| key.descending);
    keys.push(SortKey::id(resource, descending));
    Ok(keys)
}

/// Appends `ORDER BY` and the keys.
///
/// Null comes first when ascending. For a column that cannot be null this is left unsaid: PostgreSQL would not use an
/// index that is declared without it.
pub(super) fn push(keys: &[SortKey], sql: &mut Sql) {
    sql.push(" ORDER BY ");
    for (index, key) in keys.iter().enumerate() {
        let direction = match (key.descending, key.nullable) {
            (false, false) => " ASC",
            (false, true) => " ASC NULLS FIRST",
            (true, false) => " DESC",
            (true, true) => " DESC NULLS LAST",
        };
        sql.push(if index > 0 { ", " } else { "" }).push(&key.expression).push(direction);
    }
}

/// Sorts items that are not in the database; equals stay in their order.
pub(super) fn sort(
    resource: &'static Resource,
    order: &[OrderBy],
    items: &mut [Map<String, Value>],
) -> Result<(), QueryError> {
    for key in order {
        let field = resource.field(&key.field)?;
        if matches!(field.kind, Kind::Objects | Kind::Json | Kind::Embedded) {
            return Err(QueryError::Unordered(key.field.clone()));
        }
    }
    items.sort_by(|left, right| {
        order
            .iter()
            .map(|key| {
                let ordering = compare(left.get(&key.field), right.get(&key.field));
                if key.descending { ordering.reverse() } else { ordering }
            })
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    Ok(())
}

fn compare(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    match (left.unwrap_or(&Value::Null), right.unwrap_or(&Value::Null)) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => left.as_i64().cmp(&right.as_i64()),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => left
            .iter()
            .zip(right)
            .map(|(left, right)| compare(Some(left), Some(right)))
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| left.len().cmp(&right.len())),
        _ => Ordering::Equal,
    }
}
