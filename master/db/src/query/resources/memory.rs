//! Resource types whose items are made by the endpoints themselves.

use serde_json::Value;

use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals};

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, nullable: false, source: Source::Constant(|| Value::Null) }
}

const fn in_memory(type_name: &'static str, plural: &'static str, fields: &'static [Field]) -> Resource {
    Resource {
        type_name,
        plural,
        fields,
        from: "",
        default_order: "",
        key: "",
        unique: &[],
        ties: Ties::Follow,
        totals: Totals::All,
    }
}

/// Force schedulers; they come from the farm's configuration.
pub static FORCE_SCHEDULERS: Resource = in_memory(
    "forcescheduler",
    "forceschedulers",
    &[
        field("name", Kind::Identifier),
        field("button_name", Kind::Text),
        field("label", Kind::Text),
        field("builder_names", Kind::Texts),
        field("enabled", Kind::Boolean),
        field("all_fields", Kind::Objects),
    ],
);

/// Parts of logs.
pub static LOG_CHUNKS: Resource = in_memory(
    "logchunk",
    "logchunks",
    &[field("logid", Kind::Integer), field("firstline", Kind::Integer), field("content", Kind::Text)],
);

/// The way from two commits to their last common ancestor.
pub static COMMIT_GRAPHS: Resource = in_memory(
    "commit_graph",
    "commit_graphs",
    &[
        Field { name: "common", kind: Kind::Integer, nullable: true, source: Source::Constant(|| Value::Null) },
        field("to1", Kind::Integers),
        field("to2", Kind::Integers),
    ],
);

/// Properties as one object; its keys are the properties' names, so it has no fields of its own.
pub static PROPERTIES: Resource = in_memory("sourcedproperties", "properties", &[]);

/// The links of the root.
pub static ROOT_LINKS: Resource = in_memory("rootlink", "rootlinks", &[field("name", Kind::Text)]);

/// The description of the endpoints.
pub static SPECS: Resource = in_memory(
    "spec",
    "specs",
    &[
        field("path", Kind::Text),
        field("type", Kind::Text),
        field("plural", Kind::Text),
        field("type_spec", Kind::Json),
    ],
);
