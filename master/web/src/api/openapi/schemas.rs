//! The resource types as schemas.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::{
    Ref, RefOr, Schema,
    schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type},
};

/// A type, or that type or null.
pub(super) fn simple(kind: Type, is_nullable: bool) -> ObjectBuilder {
    let builder = ObjectBuilder::new();
    if is_nullable { builder.schema_type(SchemaType::Array(vec![kind, Type::Null])) } else { builder.schema_type(kind) }
}

/// Anything that JSON can hold.
pub(super) fn anything() -> Schema {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).build().into()
}

/// A list of `items`.
pub(super) fn list_of(items: impl Into<RefOr<Schema>>) -> Schema {
    ArrayBuilder::new().items(items.into()).build().into()
}

fn text() -> ObjectBuilder {
    simple(Type::String, false)
}

fn number() -> ObjectBuilder {
    simple(Type::Integer, false)
}

fn or_null(reference: Ref) -> Schema {
    AnyOfBuilder::new().item(reference).item(ObjectBuilder::new().schema_type(Type::Null)).build().into()
}

/// An object with any names and `values`.
fn map(is_nullable: bool, values: impl Into<RefOr<Schema>>) -> Schema {
    simple(Type::Object, is_nullable).additional_properties(Some(values.into())).build().into()
}

/// An object whose fields are all there.
fn object(fields: impl IntoIterator<Item = (&'static str, RefOr<Schema>)>) -> Schema {
    let builder = fields.into_iter().fold(ObjectBuilder::new().schema_type(Type::Object), |builder, (name, schema)| {
        builder.property(name, schema).required(name)
    });
    builder.build().into()
}

/// Properties: from name to `[value, source]`.
fn properties(is_nullable: bool) -> ObjectBuilder {
    let pair = ArrayBuilder::new()
        .prefix_items([anything(), text().build().into()])
        .min_items(Some(2))
        .max_items(Some(2))
        .description(Some("`[value, source]`"));
    simple(Type::Object, is_nullable).additional_properties(Some(RefOr::T(Schema::Array(pair.build()))))
}

/// What every field of a force form has.
const FIELDS_OF_ALL_KINDS: [&str; 13] = [
    "name",
    "fullName",
    "label",
    "type",
    "tablabel",
    "default",
    "required",
    "multiple",
    "regex",
    "hide",
    "maxsize",
    "autopopulate",
    "tooltip",
];

/// Schemas that no resource type is behind, but fields of resource types refer to.
pub(super) fn helpers() -> Vec<(&'static str, Schema)> {
    let url = object([("name", text().into()), ("url", text().into())]);
    let configured = object([("builderid", number().into()), ("masterid", number().into())]);
    let connected = object([("masterid", number().into())]);
    let patch = object([
        ("patchid", number().into()),
        ("level", number().into()),
        ("subdir", simple(Type::String, true).into()),
        ("author", simple(Type::String, true).into()),
        ("comment", simple(Type::String, true).into()),
        ("body", simple(Type::String, true).into()),
    ]);
    // The rest depends on the type of the field: `choices` of a list, `fields` of a group.
    let field = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("name", text())
        .property("fullName", simple(Type::String, true))
        .property("label", text())
        .property("type", text())
        .property("tablabel", text())
        .property("default", anything())
        .property("required", simple(Type::Boolean, false))
        .property("multiple", simple(Type::Boolean, false))
        .property("regex", simple(Type::String, true))
        .property("hide", simple(Type::Boolean, false))
        .property("maxsize", simple(Type::Integer, true))
        .property("autopopulate", map(true, map(false, anything())))
        .property("tooltip", simple(Type::String, true));
    let field = FIELDS_OF_ALL_KINDS
        .into_iter()
        .fold(field, |builder, name| builder.required(name))
        .property("choices", list_of(text()))
        .property("strict", simple(Type::Boolean, false))
        .property("size", number())
        .property("rows", number())
        .property("cols", number())
        .property("columns", simple(Type::Integer, true))
        .property("layout", text())
        .property("fields", list_of(Ref::from_schema_name("force_field")));
    let meta = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("total", number().description(Some("How many there are; see docs/http-api.md for what is counted.")))
        .property("next", text().description(Some("With `after`: where the next page begins.")))
        .required("total");
    vec![
        ("step_url", url),
        ("configured_builder", configured),
        ("connected_master", connected),
        ("patch", patch),
        ("force_field", field.build().into()),
        ("_meta", meta.build().into()),
    ]
}

/// A time as the API has it.
fn time(is_nullable: bool) -> RefOr<Schema> {
    simple(Type::Integer, is_nullable).description(Some("Seconds since 1970-01-01 UTC.")).into()
}

/// Fields that the application's own description calls opaque, or, as Buildbot's does, something else than they are.
fn known_field(resource: &str, field: &str, is_nullable: bool) -> Option<RefOr<Schema>> {
    let list = |name: &str| Some(list_of(Ref::from_schema_name(name)).into());
    match (resource, field) {
        ("build" | "change", "properties") => Some(properties(false).into()),
        ("buildrequest", "properties") => Some(properties(is_nullable).into()),
        ("buildrequest", "results") => Some(simple(Type::Integer, false).into()),
        ("branch", "last_timestamp")
        | ("buildset", "submitted_at" | "complete_at")
        | ("change" | "commit", "when_timestamp") => Some(time(is_nullable)),
        ("step", "urls") => list("step_url"),
        ("worker", "workerinfo") => Some(map(false, anything()).into()),
        ("worker", "configured_on") => list("configured_builder"),
        ("worker", "connected_to") => list("connected_master"),
        ("buildset", "sourcestamps") => list("sourcestamp"),
        ("forcescheduler", "all_fields") => list("force_field"),
        (_, "patch") => Some(or_null(Ref::from_schema_name("patch")).into()),
        _ => None,
    }
}

/// The schema of a resource type. `types` are the names of all.
pub(super) fn resource(name: &str, type_spec: &Value, types: &BTreeSet<&str>) -> Schema {
    let fields = type_spec["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = fields.iter().filter_map(|field| Some((field["name"].as_str()?, &field["type_spec"])));
    if matches!(name, "properties" | "sourcedproperties") {
        return properties(false).build().into();
    }
    let builder = named.fold(ObjectBuilder::new().schema_type(Type::Object), |builder, (field, type_spec)| {
        let is_nullable = type_spec["can_be_null"] == true;
        let schema = known_field(name, field, is_nullable).unwrap_or_else(|| field_schema(type_spec, types));
        builder.property(field, schema).required(field)
    });
    builder.build().into()
}

fn field_schema(type_spec: &Value, types: &BTreeSet<&str>) -> RefOr<Schema> {
    if type_spec["type"] == "list" {
        return list_of(field_schema(&type_spec["of"], types)).into();
    }
    let is_nullable = type_spec["can_be_null"] == true;
    // What is embedded is described by its fields, under its type.
    let name = type_spec["name"].as_str().or_else(|| type_spec["type"].as_str());
    match name.unwrap_or_default() {
        "integer" => simple(Type::Integer, is_nullable).into(),
        "datetime" => time(is_nullable),
        "string" | "identifier" => simple(Type::String, is_nullable).into(),
        "boolean" => simple(Type::Boolean, is_nullable).into(),
        name if types.contains(name) => {
            let reference = Ref::from_schema_name(name);
            if is_nullable { or_null(reference).into() } else { reference.into() }
        }
        // Opaque JSON.
        _ => anything().into(),
    }
}
