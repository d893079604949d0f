//! The properties of builds and requests that a query asks for by name: one more column of the same statement.
//!
//! A statement of their own would cost a page with one build as much again as the build itself.

use serde_json::{Map, Value, json};

use super::sql::Sql;

/// Where the properties of an item are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PropertySet {
    /// Those of a build, each with its source.
    Build,
    /// Those that a request has from its buildset, without their sources.
    Request,
}

impl PropertySet {
    /// The value of an item whose properties were not asked for.
    pub(super) fn unasked(self) -> Value {
        match self {
            Self::Build => json!({}),
            Self::Request => Value::Null,
        }
    }

    /// Appends the column: JSON text, null if there is none of these properties. `*` stands for all.
    pub(super) fn push(self, names: &[String], sql: &mut Sql) {
        if names.is_empty() {
            sql.push("NULL");
            return;
        }
        // Values are JSON already; here they are texts, which each database puts into its list as they are.
        let (object, list) = if sql.is_postgres() {
            ("json_object_agg", "json_build_array")
        } else {
            ("json_group_object", "json_array")
        };
        let name = match self {
            Self::Build => {
                sql.push("SELECT ").push(object).push("(bp.name, ").push(list).push("(bp.value, bp.source))");
                sql.push(as_text(sql)).push(" FROM build_properties bp WHERE bp.buildid = b.id");
                "bp.name"
            }
            Self::Request => {
                sql.push("SELECT ").push(object).push("(bp.property_name, ").push(list).push("(bp.property_value))");
                sql.push(as_text(sql)).push(" FROM buildset_properties bp WHERE bp.buildsetid = br.buildsetid");
                "bp.property_name"
            }
        };
        if names.iter().all(|name| name != "*") {
            // No name has a NUL, and PostgreSQL takes no text with one.
            let names = names.iter().filter(|name| !name.contains('\0')).map(String::as_str);
            sql.push(" AND ").push(name).push(" IN (").bind_list(names).push(")");
        }
    }

    /// The value of an item, from the column.
    pub(super) fn decode(self, column: Option<String>, names: &[String]) -> Value {
        if names.is_empty() {
            return self.unasked();
        }
        let texts: Map<String, Value> = column.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let properties = texts.into_iter().map(|(name, parts)| (name, self.property(&parts)));
        Value::Object(properties.collect())
    }

    fn property(self, parts: &Value) -> Value {
        let value = parts[0].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
        match self {
            Self::Build => json!([value, parts[1]]),
            Self::Request => value,
        }
    }
}

/// SQLite's JSON is text.
fn as_text(sql: &Sql) -> &'static str {
    if sql.is_postgres() { "::text" } else { "" }
}
