//! What the API says about itself: the links of the root, and the description of the endpoints.

use buildguild_db::query::{Field, Kind, Resource};
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
    let fields: Vec<Value> = resource.fields.iter().map(field_spec).collect();
    json!({"type": resource.type_name, "fields": fields})
}

fn field_spec(field: &Field) -> Value {
    let (name, spec) = match field.kind {
        Kind::Integer => ("integer", json!({"name": "integer"})),
        Kind::Text => ("string", json!({"name": "string"})),
        Kind::Identifier => ("identifier", json!({"name": "identifier"})),
        Kind::Boolean => ("boolean", json!({"name": "boolean"})),
        Kind::Time => ("datetime", json!({"name": "datetime"})),
        Kind::Integers => ("list", json!({"type": "list", "of": {"name": "integer"}})),
        Kind::Texts => ("list", json!({"type": "list", "of": {"name": "string"}})),
        Kind::Objects => ("list", json!({"type": "list", "of": {"name": "jsonobject"}})),
        Kind::Embedded => (field.name, json!({"name": field.name})),
        _ => ("jsonobject", json!({"name": "jsonobject"})),
    };
    let mut spec = spec;
    let mut name = name.to_owned();
    if field.nullable {
        name.push_str(" or None");
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("can_be_null".to_owned(), Value::Bool(true));
        }
    }
    json!({"name": field.name, "type": name, "type_spec": spec})
}
