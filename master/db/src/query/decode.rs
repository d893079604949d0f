//! From rows to the API's JSON.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::{Map, Value};

use super::MAX_ANSWER_BYTES;
use super::attach;
use super::error::QueryError;
use super::resource::{Field, Kind, Resource, Source};
use super::sql::Sql;

/// Microseconds of a second.
const MICROS: i64 = 1_000_000;

/// The fields of a query, with the columns behind them.
pub(super) struct Selection<'a> {
    fields: Vec<&'static Field>,
    properties: &'a [String],
}

impl<'a> Selection<'a> {
    /// The fields that `names` select; `properties` are those to fill in.
    pub(super) fn new(
        resource: &'static Resource,
        names: &[String],
        properties: &'a [String],
    ) -> Result<Self, QueryError> {
        let fields = resource.select(names)?;
        Ok(Self { fields, properties })
    }

    /// Appends the columns.
    pub(super) fn push(&self, sql: &mut Sql) {
        let mut is_first = true;
        let mut push = |column: &dyn Fn(&mut Sql)| {
            sql.push(if is_first { "(" } else { ", (" });
            column(sql);
            sql.push(")");
            is_first = false;
        };
        for field in &self.fields {
            match &field.source {
                Source::Column(column) | Source::SingletonList(column) | Source::JsonText { column, .. } => {
                    push(&|sql| _ = sql.push(column));
                }
                Source::Flag { when_true, .. } => push(&|sql| _ = sql.push(when_true)),
                Source::Built { columns: parts, .. } => {
                    parts.iter().for_each(|(column, _)| push(&|sql| _ = sql.push(column)));
                }
                Source::Attached(attachment) => push(&|sql| _ = sql.push(attachment.key())),
                Source::Properties(set) => push(&|sql| set.push(self.properties, sql)),
                Source::Constant(_) => {}
            }
        }
        if is_first {
            sql.push("1");
        }
    }

    /// The items of `rows`, with what is attached to them.
    pub(super) async fn decode<C: ConnectionTrait>(
        &self,
        connection: &C,
        rows: &[QueryResult],
    ) -> Result<Vec<Value>, QueryError> {
        let mut attached = self.attached(connection, rows).await?;
        rows.iter().map(|row| self.item(row, &mut attached)).collect()
    }

    /// The items of `rows` as the text of a JSON list: the same as [`Selection::decode`] and then serialising, without
    /// the trees between, which cost most of an answer's time.
    pub(super) async fn write<C: ConnectionTrait>(
        &self,
        connection: &C,
        rows: &[QueryResult],
    ) -> Result<String, QueryError> {
        let attached = self.attached(connection, rows).await?;
        let mut out = Vec::with_capacity(2 + rows.len() * self.fields.len() * 24);
        out.push(b'[');
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write_item(row, &attached, &mut out)?;
            if out.len() > MAX_ANSWER_BYTES {
                return Err(QueryError::TooLarge);
            }
        }
        out.push(b']');
        String::from_utf8(out).map_err(|error| DbErr::Custom(error.to_string()).into())
    }

    /// What is attached to the items, by the order of the fields it belongs to.
    async fn attached<C: ConnectionTrait>(
        &self,
        connection: &C,
        rows: &[QueryResult],
    ) -> Result<Vec<HashMap<i64, Value>>, QueryError> {
        let mut attached: Vec<HashMap<i64, Value>> = Vec::new();
        if rows.is_empty() {
            return Ok(attached);
        }
        let mut column = 0;
        for field in &self.fields {
            match &field.source {
                Source::Attached(attachment) => {
                    let mut keys =
                        rows.iter().map(|row| row.try_get_by_index(column)).collect::<Result<Vec<i64>, DbErr>>()?;
                    keys.sort_unstable();
                    keys.dedup();
                    attached.push(attach::load(connection, *attachment, &keys).await?);
                    column += 1;
                }
                Source::Built { columns, .. } => column += columns.len(),
                Source::Constant(_) => {}
                Source::Column(_)
                | Source::SingletonList(_)
                | Source::JsonText { .. }
                | Source::Properties(_)
                | Source::Flag { .. } => column += 1,
            }
        }
        Ok(attached)
    }

    fn write_item(
        &self,
        row: &QueryResult,
        attached: &[HashMap<i64, Value>],
        out: &mut Vec<u8>,
    ) -> Result<(), QueryError> {
        let mut column = 0;
        let mut attachment = 0;
        out.push(b'{');
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            // The names of fields are identifiers: nothing in them is to be escaped.
            out.push(b'"');
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b"\":");
            match &field.source {
                Source::Column(_) | Source::Flag { .. } => {
                    column += 1;
                    write_scalar(row, column - 1, field.kind, out)?;
                }
                Source::SingletonList(_) => {
                    column += 1;
                    let element: Option<i64> = row.try_get_by_index(column - 1)?;
                    write_value(&element.as_slice(), out)?;
                }
                Source::JsonText { default, .. } => {
                    column += 1;
                    let text: Option<String> = row.try_get_by_index(column - 1)?;
                    match text.filter(|text| is_json(text)) {
                        Some(text) => out.extend_from_slice(text.as_bytes()),
                        None => write_value(&default(), out)?,
                    }
                }
                Source::Built { columns, build } => {
                    let mut parts = columns
                        .iter()
                        .enumerate()
                        .map(|(index, (_, kind))| scalar(row, column + index, *kind))
                        .collect::<Result<Vec<Value>, DbErr>>()?;
                    column += columns.len();
                    write_value(&build(&mut parts), out)?;
                }
                Source::Attached(kind) => {
                    let key: i64 = row.try_get_by_index(column)?;
                    column += 1;
                    attachment += 1;
                    match attached[attachment - 1].get(&key) {
                        Some(value) => write_value(value, out)?,
                        None => write_value(&kind.empty(), out)?,
                    }
                }
                Source::Properties(set) => {
                    column += 1;
                    write_value(&set.decode(row.try_get_by_index(column - 1)?, self.properties), out)?;
                }
                Source::Constant(value) => write_value(&value(), out)?,
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn item(&self, row: &QueryResult, attached: &mut [HashMap<i64, Value>]) -> Result<Value, QueryError> {
        let mut item = Map::new();
        let mut column = 0;
        let mut attachment = 0;
        for field in &self.fields {
            let value = match &field.source {
                Source::Column(_) | Source::Flag { .. } => {
                    column += 1;
                    scalar(row, column - 1, field.kind)?
                }
                Source::SingletonList(_) => {
                    column += 1;
                    let element: Option<i64> = row.try_get_by_index(column - 1)?;
                    element.into_iter().collect::<Vec<i64>>().into()
                }
                Source::JsonText { default, .. } => {
                    column += 1;
                    let text: Option<String> = row.try_get_by_index(column - 1)?;
                    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(default)
                }
                Source::Built { columns, build } => {
                    let mut parts = columns
                        .iter()
                        .enumerate()
                        .map(|(index, (_, kind))| scalar(row, column + index, *kind))
                        .collect::<Result<Vec<Value>, DbErr>>()?;
                    column += columns.len();
                    build(&mut parts)
                }
                Source::Attached(kind) => {
                    let key: i64 = row.try_get_by_index(column)?;
                    column += 1;
                    attachment += 1;
                    // The keys of the items differ.
                    attached[attachment - 1].remove(&key).unwrap_or_else(|| kind.empty())
                }
                Source::Properties(set) => {
                    column += 1;
                    set.decode(row.try_get_by_index(column - 1)?, self.properties)
                }
                Source::Constant(value) => value(),
            };
            item.insert(field.name.to_owned(), value);
        }
        Ok(Value::Object(item))
    }
}

/// One column as JSON.
pub(super) fn scalar(row: &QueryResult, column: usize, kind: Kind) -> Result<Value, DbErr> {
    Ok(match kind {
        Kind::Integer => row.try_get_by_index::<Option<i64>>(column)?.map_or(Value::Null, Value::from),
        Kind::Time => row
            .try_get_by_index::<Option<i64>>(column)?
            .map_or(Value::Null, |micros| Value::from(micros.div_euclid(MICROS))),
        Kind::Boolean => row.try_get_by_index::<Option<bool>>(column)?.map_or(Value::Null, Value::from),
        Kind::Text | Kind::Identifier => {
            row.try_get_by_index::<Option<String>>(column)?.map_or(Value::Null, Value::from)
        }
        Kind::Integers | Kind::Texts | Kind::Objects | Kind::Json | Kind::Embedded => row
            .try_get_by_index::<Option<String>>(column)?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null),
    })
}

/// One column as JSON text: what [`scalar`] gives, written.
fn write_scalar(row: &QueryResult, column: usize, kind: Kind, out: &mut Vec<u8>) -> Result<(), DbErr> {
    match kind {
        Kind::Integer => write_value(&row.try_get_by_index::<Option<i64>>(column)?, out),
        Kind::Time => {
            write_value(&row.try_get_by_index::<Option<i64>>(column)?.map(|micros| micros.div_euclid(MICROS)), out)
        }
        Kind::Boolean => write_value(&row.try_get_by_index::<Option<bool>>(column)?, out),
        Kind::Text | Kind::Identifier => write_value(&row.try_get_by_index::<Option<String>>(column)?, out),
        Kind::Integers | Kind::Texts | Kind::Objects | Kind::Json | Kind::Embedded => {
            match row.try_get_by_index::<Option<String>>(column)?.filter(|text| is_json(text)) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => out.extend_from_slice(b"null"),
            }
            Ok(())
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn write_value(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), DbErr> {
    serde_json::to_writer(out, value).map_err(|error| DbErr::Custom(error.to_string()))
}
