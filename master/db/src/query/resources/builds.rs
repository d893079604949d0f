//! Builds, their data, and properties as lists.

use serde_json::Value;

use super::super::property_set::PropertySet;
use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, column, flag, nullable};

/// Builds. Pages are served by the primary key, by `builds_builderid` and the unique (builderid, number), by the
/// indexes on the other ids, by `builds_started`, `builds_complete` and `builds_running`.
pub static BUILDS: Resource = Resource {
    type_name: "build",
    plural: "builds",
    from: "builds b",
    default_order: "b.id",
    key: "b.id",
    unique: &["b.builderid", "b.number"],
    ties: Ties::Follow,
    totals: Totals::Page,
    fields: &[
        column("buildid", Kind::Integer, "b.id"),
        column("number", Kind::Integer, "b.number"),
        column("builderid", Kind::Integer, "b.builderid"),
        column("buildrequestid", Kind::Integer, "b.buildrequestid"),
        nullable("workerid", Kind::Integer, "b.workerid"),
        column("masterid", Kind::Integer, "b.masterid"),
        column("started_at", Kind::Time, "b.started_at"),
        flag("complete", "b.complete_at IS NOT NULL", "b.complete_at IS NULL"),
        nullable("complete_at", Kind::Time, "b.complete_at"),
        nullable("results", Kind::Integer, "b.results"),
        column("state_string", Kind::Text, "b.state_string"),
        column("locks_duration_s", Kind::Integer, "b.locks_duration_s"),
        Field { name: "properties", kind: Kind::Json, nullable: false, source: Source::Properties(PropertySet::Build) },
    ],
};

/// Build data, without the values.
pub static BUILD_DATA: Resource = Resource {
    type_name: "build_data",
    plural: "build_data",
    from: "build_data bd",
    default_order: "bd.name, bd.id",
    key: "bd.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("buildid", Kind::Integer, "bd.buildid"),
        column("name", Kind::Text, "bd.name"),
        Field { name: "value", kind: Kind::Json, nullable: true, source: Source::Constant(|| Value::Null) },
        column("length", Kind::Integer, "bd.length"),
        column("source", Kind::Text, "bd.source"),
    ],
};

/// The properties of a build, one by one, the values as JSON text.
pub static BUILD_PROPERTIES: Resource = Resource {
    type_name: "_property",
    plural: "_properties",
    from: "build_properties bp",
    default_order: "bp.name",
    key: "bp.name",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("name", Kind::Text, "bp.name"),
        column("source", Kind::Text, "bp.source"),
        column("value", Kind::Text, "bp.value"),
    ],
};

/// The properties of a buildset, one by one.
pub static BUILDSET_PROPERTIES: Resource = Resource {
    type_name: "_property",
    plural: "_properties",
    from: "buildset_properties bp",
    default_order: "bp.property_name",
    key: "bp.property_name",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("name", Kind::Text, "bp.property_name"),
        half("source", &[("bp.property_value", Kind::Json)], source_of_pair),
        half("value", &[("bp.property_value", Kind::Json)], value_of_pair),
    ],
};

/// The properties of a change, one by one.
pub static CHANGE_PROPERTIES: Resource = Resource {
    type_name: "_property",
    plural: "_properties",
    from: "change_properties cp",
    default_order: "cp.property_name",
    key: "cp.property_name",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("name", Kind::Text, "cp.property_name"),
        half("source", &[("cp.property_value", Kind::Json)], source_of_pair),
        half("value", &[("cp.property_value", Kind::Json)], value_of_pair),
    ],
};

/// One half of a `[value, source]` that is stored as one JSON text.
const fn half(name: &'static str, columns: &'static [(&'static str, Kind)], build: fn(&mut [Value]) -> Value) -> Field {
    Field { name, kind: Kind::Text, nullable: false, source: Source::Built { columns, build } }
}

fn value_of_pair(parts: &mut [Value]) -> Value {
    Value::String(parts[0].get(0).unwrap_or(&Value::Null).to_string())
}

fn source_of_pair(parts: &mut [Value]) -> Value {
    parts[0].get_mut(1).map_or(Value::Null, Value::take)
}
