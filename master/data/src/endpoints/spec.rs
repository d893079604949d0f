//! What the API says about itself: the links of the root, and the description of the endpoints.

use buildguild_db::query::{Field, Kind, Resource, resources};
use serde_json::{Map, Value, json};

use super::table::ENDPOINTS;

/// The links of the root, in Buildbot's order.
const ROOT_LINKS: [&str; 14] = [
    "builders",
    "builds",
    "buildrequests",
    "codebases",
    "workers",
    "logchunks",
    "buildsets",
    "changes",
    "changesources",
    "masters",
    "sourcestamps",
    "schedulers",
    "forceschedulers",
    "projects",
];

/// The links of the root.
pub(super) fn root_links() -> Vec<Map<String, Value>> {
    ROOT_LINKS.iter().map(|name| Map::from_iter([("name".to_owned(), json!(name))])).collect()
}

/// One item for each endpoint.
pub(super) fn application_spec() -> Vec<Map<String, Value>> {
    ENDPOINTS
        .iter()
        .map(|endpoint| {
            let resource = endpoint.resource;
            Map::from_iter([
                ("path".to_owned(), json!(endpoint.path.replace("a:", "s:"))),
                ("plural".to_owned(), json!(resource.plural)),
                ("type".to_owned(), json!(resource.type_name)),
                ("type_spec".to_owned(), type_spec(resource)),
            ])
        })
        .collect()
}

fn type_spec(resource: &Resource) -> Value {
    if resource.fields.is_empty() {
        return json!({"name": resource.type_name});
    }
    let fields: Vec<Value> = resource.fields.iter().map(|field| field_spec(resource, field)).collect();
    json!({"type": resource.type_name, "fields": fields})
}

/// The description of an entity of plain fields.
fn entity(name: &str, fields: &[(&str, &str)]) -> Value {
    let field = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind, "type_spec": {"name": kind}});
    json!({"type": name, "fields": fields.iter().map(field).collect::<Vec<_>>()})
}

/// The description of what is embedded under a name.
fn embedded(name: &str) -> Option<Value> {
    Some(match name {
        "sourcestamp" | "sourcestamps" => type_spec(&resources::SOURCESTAMPS),
        "patch" => entity(
            "patch",
            &[
                ("patchid", "integer"),
                ("body", "binary"),
                ("level", "integer"),
                ("subdir", "string"),
                ("author", "string"),
                ("comment", "string"),
            ],
        ),
        "master" => entity(
            "master",
            &[("masterid", "integer"), ("name", "string"), ("active", "boolean"), ("last_active", "datetime")],
        ),
        "urls" => entity("Url", &[("name", "string"), ("url", "string")]),
        "connected_to" => entity("master_id", &[("masterid", "integer")]),
        "configured_on" => entity("master_builder", &[("masterid", "integer"), ("builderid", "integer")]),
        _ => return None,
    })
}

/// What Buildbot calls a type otherwise than the field's values would suggest: its name there, and whether null is
/// possible.
fn special(resource: &str, field: &Field) -> Option<(&'static str, bool)> {
    Some(match (resource, field.name) {
        ("build" | "buildrequest", "properties") => ("sourcedproperties", true),
        ("change", "properties") => ("sourcedproperties", false),
        // Always a number, but clients should be ready for the null of a request that is not complete.
        ("buildrequest", "results") => ("integer", true),
        ("branch", "last_timestamp") | ("change" | "commit", "when_timestamp") | ("buildset", "submitted_at") => {
            ("integer", false)
        }
        ("buildset", "complete_at") => ("integer", true),
        ("step", "name") => ("identifier", false),
        ("build_data", "value") => ("binary", true),
        ("_property", "value") => ("jsonobject", false),
        _ => return None,
    })
}

fn field_spec(resource: &Resource, field: &Field) -> Value {
    let (name, mut spec, nullable) = match special(resource.type_name, field) {
        Some((name, nullable)) => (name, json!({"name": name}), nullable),
        None => {
            let (name, spec) = plain_spec(field);
            (name, spec, field.nullable)
        }
    };
    let mut name = name.to_owned();
    if nullable {
        name.push_str(" or None");
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("can_be_null".to_owned(), Value::Bool(true));
        }
    }
    json!({"name": field.name, "type": name, "type_spec": spec})
}

/// What the type of a field's values is called, and its description.
fn plain_spec(field: &Field) -> (&'static str, Value) {
    let simple = |name: &'static str| (name, json!({"name": name}));
    let list = |of: Value| ("list", json!({"type": "list", "of": of}));
    match field.kind {
        Kind::Integer => simple("integer"),
        Kind::Text => simple("string"),
        Kind::Identifier => simple("identifier"),
        Kind::Boolean => simple("boolean"),
        Kind::Time => simple("datetime"),
        Kind::Integers => list(json!({"name": "integer"})),
        Kind::Texts => list(json!({"name": "string"})),
        Kind::Objects => list(embedded(field.name).unwrap_or_else(|| json!({"name": "jsonobject"}))),
        Kind::Embedded => (field.name, embedded(field.name).unwrap_or_else(|| json!({"name": field.name}))),
        _ => simple("jsonobject"),
    }
}
