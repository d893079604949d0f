//! Filters: one condition of a result spec, in SQL and in memory.

use serde_json::{Map, Value};

use buildguild_types::spec::{Filter, FilterOp};

use super::error::QueryError;
use super::resource::{Field, Kind, Resource, Source};
use super::sql::Sql;

/// Microseconds of a second.
const MICROS: i64 = 1_000_000;

/// Appends the condition that `filter` means.
pub(super) fn push(resource: &'static Resource, filter: &Filter, sql: &mut Sql) -> Result<(), QueryError> {
    let field = resource.field(&filter.field)?;
    match (&field.source, field.kind) {
        (Source::Flag { when_true, when_false }, _) => {
            let allowed = Truth::allowed(filter)?;
            match (allowed.yes, allowed.no) {
                (true, true) => sql.push("1 = 1"),
                (true, false) => sql.push("(").push(when_true).push(")"),
                (false, true) => sql.push("(").push(when_false).push(")"),
                (false, false) => sql.push("1 = 0"),
            };
        }
        (Source::Column(column), Kind::Boolean) => {
            let allowed = Truth::allowed(filter)?;
            match (allowed.yes, allowed.no) {
                (true, true) => sql.push("1 = 1"),
                (yes, no) if yes || no => sql.push(column).push(if yes { " = TRUE" } else { " = FALSE" }),
                _ => sql.push("1 = 0"),
            };
        }
        (Source::Column(column), Kind::Integer) => {
            let values = integers(filter)?;
            if filter.op == FilterOp::Contains {
                push_contains(&format!("CAST({column} AS TEXT)"), &digits(&values), sql);
            } else {
                push_comparison(field, filter, column, values, sql)?;
            }
        }
        (Source::Column(column), Kind::Time) => {
            let seconds = integers(filter)?;
            if filter.op == FilterOp::Contains {
                push_contains(&format!("CAST({column} / {MICROS} AS TEXT)"), &digits(&seconds), sql);
            } else {
                push_time(field, filter, column, &seconds, sql)?;
            }
        }
        (Source::Column(column), Kind::Text | Kind::Identifier) => {
            if filter.values.iter().any(|value| value.contains('\0')) {
                return Err(invalid(filter));
            }
            if filter.op == FilterOp::Contains {
                push_contains(column, &filter.values, sql);
            } else {
                push_comparison(field, filter, column, filter.values.clone(), sql)?;
            }
        }
        (Source::Attached(attachment), Kind::Integers | Kind::Texts) if filter.op == FilterOp::Contains => {
            let Some((before, after)) = attachment.contains() else { return Err(unsupported(filter)) };
            sql.push(before);
            if field.kind == Kind::Integers {
                sql.bind_list(integers(filter)?);
            } else if filter.values.iter().any(|value| value.contains('\0')) {
                return Err(invalid(filter));
            } else {
                sql.bind_list(filter.values.clone());
            }
            sql.push(after);
        }
        (Source::SingletonList(column), _) if filter.op == FilterOp::Contains => {
            sql.push(column).push(" IN (").bind_list(integers(filter)?).push(")");
        }
        (_, Kind::Objects | Kind::Json | Kind::Embedded) => return Err(invalid(filter)),
        // A list equals no text that a client can write.
        (
            Source::Column(_)
            | Source::SingletonList(_)
            | Source::Attached(_)
            | Source::Properties(_)
            | Source::JsonText { .. }
            | Source::Built { .. }
            | Source::Constant(_),
            _,
        ) => {
            if field.kind == Kind::Integers {
                integers(filter)?;
            }
            match filter.op {
                FilterOp::Eq => sql.push("1 = 0"),
                FilterOp::Ne => sql.push("1 = 1"),
                _ => return Err(unsupported(filter)),
            };
        }
    }
    Ok(())
}

/// The column that has one value in all rows that pass the filter.
pub(super) fn fixed(resource: &'static Resource, filter: &Filter) -> Option<&'static str> {
    match (filter.op, filter.values.len(), &resource.field(&filter.field).ok()?.source) {
        (FilterOp::Eq, 1, Source::Column(column)) => Some(column),
        _ => None,
    }
}

/// `eq` and `ne` with any number of values, the other comparisons with one.
fn push_comparison<V: Into<sea_orm::Value>>(
    field: &Field,
    filter: &Filter,
    column: &str,
    mut values: Vec<V>,
    sql: &mut Sql,
) -> Result<(), QueryError> {
    match filter.op {
        FilterOp::Eq if values.len() == 1 => {
            sql.push(column).push(" = ").bind_list(values);
        }
        FilterOp::Eq => {
            sql.push(column).push(" IN (").bind_list(values).push(")");
        }
        FilterOp::Ne => {
            sql.push("(");
            if field.nullable {
                sql.push(column).push(" IS NULL OR ");
            }
            sql.push(column).push(" NOT IN (").bind_list(values).push("))");
        }
        FilterOp::Lt | FilterOp::Le | FilterOp::Gt | FilterOp::Ge => {
            let (Some(value), true) = (values.pop(), values.is_empty()) else { return Err(invalid(filter)) };
            sql.push(column).push(sign(filter.op)).bind(value);
        }
        FilterOp::Contains => return Err(unsupported(filter)),
    }
    Ok(())
}

/// Times: the second `v` of the API is the microseconds from `v` up to, without, `v + 1`.
fn push_time(field: &Field, filter: &Filter, column: &str, seconds: &[i64], sql: &mut Sql) -> Result<(), QueryError> {
    let start = |second: i64| second.saturating_mul(MICROS);
    let end = |second: i64| second.saturating_add(1).saturating_mul(MICROS);
    match filter.op {
        FilterOp::Eq | FilterOp::Ne => {
            sql.push("(");
            if filter.op == FilterOp::Ne {
                if field.nullable {
                    sql.push(column).push(" IS NULL OR ");
                }
                sql.push("NOT (");
            }
            for (index, second) in seconds.iter().enumerate() {
                if index > 0 {
                    sql.push(" OR ");
                }
                sql.push("(").push(column).push(" >= ").bind(start(*second));
                sql.push(" AND ").push(column).push(" < ").bind(end(*second)).push(")");
            }
            sql.push(if filter.op == FilterOp::Ne { "))" } else { ")" });
        }
        FilterOp::Lt | FilterOp::Le | FilterOp::Gt | FilterOp::Ge => {
            let [second] = seconds else { return Err(invalid(filter)) };
            match filter.op {
                FilterOp::Lt => sql.push(column).push(" < ").bind(start(*second)),
                FilterOp::Le => sql.push(column).push(" < ").bind(end(*second)),
                FilterOp::Gt => sql.push(column).push(" >= ").bind(end(*second)),
                _ => sql.push(column).push(" >= ").bind(start(*second)),
            };
        }
        FilterOp::Contains => return Err(unsupported(filter)),
    }
    Ok(())
}

/// Text search by code points; `LIKE` would ignore case on SQLite and give `%` a meaning.
fn push_contains(column: &str, values: &[String], sql: &mut Sql) {
    sql.push("(");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            sql.push(" OR ");
        }
        sql.push(if sql.is_postgres() { "strpos(" } else { "instr(" });
        sql.push(column).push(", ").bind(value.as_str()).push(") > 0");
    }
    sql.push(")");
}

fn sign(op: FilterOp) -> &'static str {
    match op {
        FilterOp::Lt => " < ",
        FilterOp::Le => " <= ",
        FilterOp::Gt => " > ",
        FilterOp::Ge => " >= ",
        FilterOp::Eq | FilterOp::Ne | FilterOp::Contains => " = ",
    }
}

fn compare<T: Ord>(op: FilterOp, left: &T, right: &T) -> bool {
    match op {
        FilterOp::Lt => left < right,
        FilterOp::Le => left <= right,
        FilterOp::Gt => left > right,
        FilterOp::Ge => left >= right,
        FilterOp::Eq | FilterOp::Ne | FilterOp::Contains => left == right,
    }
}

fn invalid(filter: &Filter) -> QueryError {
    QueryError::InvalidValue(filter.field.clone())
}

fn unsupported(filter: &Filter) -> QueryError {
    let operator = match filter.op {
        FilterOp::Eq => "eq",
        FilterOp::Ne => "ne",
        FilterOp::Lt => "lt",
        FilterOp::Le => "le",
        FilterOp::Gt => "gt",
        FilterOp::Ge => "ge",
        FilterOp::Contains => "contains",
    };
    QueryError::UnsupportedOperator { field: filter.field.clone(), operator }
}

/// Numbers as texts: a number "contains" another if its digits do, as in Buildbot.
fn digits(numbers: &[i64]) -> Vec<String> {
    numbers.iter().map(i64::to_string).collect()
}

/// The values as numbers. One beyond the range of ids and times is taken as the end of the range.
fn integers(filter: &Filter) -> Result<Vec<i64>, QueryError> {
    filter
        .values
        .iter()
        .map(|value| {
            let value = value.trim();
            let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid(filter));
            }
            Ok(value.parse().unwrap_or(if value.starts_with('-') { i64::MIN } else { i64::MAX }))
        })
        .collect()
}

/// Which of the two truth values a filter lets through.
struct Truth {
    yes: bool,
    no: bool,
}

impl Truth {
    fn allowed(filter: &Filter) -> Result<Self, QueryError> {
        let values: Vec<bool> = filter
            .values
            .iter()
            .map(|value| boolean(value).ok_or_else(|| invalid(filter)))
            .collect::<Result<_, _>>()?;
        let holds = |truth: bool| match filter.op {
            FilterOp::Eq => Ok(values.contains(&truth)),
            FilterOp::Ne => Ok(!values.contains(&truth)),
            FilterOp::Lt | FilterOp::Le | FilterOp::Gt | FilterOp::Ge => match values.as_slice() {
                [value] => Ok(compare(filter.op, &truth, value)),
                _ => Err(invalid(filter)),
            },
            FilterOp::Contains => Err(unsupported(filter)),
        };
        Ok(Self { yes: holds(true)?, no: holds(false)? })
    }
}

/// The truth value that a filter's values mean, if they are one.
pub fn parse_boolean(values: &[String]) -> Option<bool> {
    match values {
        [value] => boolean(value),
        _ => None,
    }
}

/// A truth value in any spelling of the API.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Whether an item that is not in the database passes a filter.
pub(super) fn matches(
    resource: &'static Resource,
    filter: &Filter,
    item: &Map<String, Value>,
) -> Result<bool, QueryError> {
    let field = resource.field(&filter.field)?;
    let value = item.get(field.name).unwrap_or(&Value::Null);
    let one = |holds: &dyn Fn(&str) -> bool| match filter.values.as_slice() {
        [only] => Ok(holds(only)),
        _ => Err(invalid(filter)),
    };
    Ok(match field.kind {
        Kind::Boolean => {
            let allowed = Truth::allowed(filter)?;
            match value {
                Value::Bool(true) => allowed.yes,
                Value::Bool(false) => allowed.no,
                _ => filter.op == FilterOp::Ne,
            }
        }
        Kind::Integer | Kind::Time => {
            let wanted = integers(filter)?;
            match (filter.op, value.as_i64()) {
                (FilterOp::Contains, value) => value.is_some_and(|value| {
                    let text = value.to_string();
                    digits(&wanted).iter().any(|wanted| text.contains(wanted.as_str()))
                }),
                (FilterOp::Ne, value) => value.is_none_or(|value| !wanted.contains(&value)),
                (_, None) => false,
                (FilterOp::Eq, Some(value)) => wanted.contains(&value),
                (op, Some(value)) => match wanted.as_slice() {
                    [only] => compare(op, &value, only),
                    _ => return Err(invalid(filter)),
                },
            }
        }
        Kind::Text | Kind::Identifier => match (filter.op, value.as_str()) {
            (FilterOp::Ne, value) => value.is_none_or(|value| !filter.values.iter().any(|wanted| wanted == value)),
            (_, None) => false,
            (FilterOp::Eq, Some(value)) => filter.values.iter().any(|wanted| wanted == value),
            (FilterOp::Contains, Some(value)) => filter.values.iter().any(|wanted| value.contains(wanted.as_str())),
            (op, Some(value)) => one(&|wanted| compare(op, &value, &wanted))?,
        },
        Kind::Integers | Kind::Texts if filter.op == FilterOp::Contains => {
            let numbers = if field.kind == Kind::Integers { integers(filter)? } else { Vec::new() };
            value.as_array().is_some_and(|elements| {
                elements.iter().any(|element| match element {
                    Value::String(text) => filter.values.iter().any(|wanted| wanted == text),
                    Value::Number(number) => number.as_i64().is_some_and(|number| numbers.contains(&number)),
                    _ => false,
                })
            })
        }
        Kind::Objects | Kind::Json | Kind::Embedded => return Err(invalid(filter)),
        Kind::Integers | Kind::Texts => {
            if field.kind == Kind::Integers {
                integers(filter)?;
            }
            match filter.op {
                FilterOp::Eq => false,
                FilterOp::Ne => true,
                _ => return Err(unsupported(filter)),
            }
        }
    })
}
