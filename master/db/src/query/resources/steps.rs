//! Steps and logs.

use serde_json::json;

use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, column, flag, nullable};

/// Steps, in the order of their numbers.
pub static STEPS: Resource = Resource {
    type_name: "step",
    plural: "steps",
    from: "steps s",
    default_order: "s.buildid, s.number",
    key: "s.id",
    unique: &["s.buildid", "s.number"],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("stepid", Kind::Integer, "s.id"),
        column("number", Kind::Integer, "s.number"),
        column("name", Kind::Text, "s.name"),
        column("buildid", Kind::Integer, "s.buildid"),
        nullable("started_at", Kind::Time, "s.started_at"),
        nullable("locks_acquired_at", Kind::Time, "s.locks_acquired_at"),
        flag("complete", "s.complete_at IS NOT NULL", "s.complete_at IS NULL"),
        nullable("complete_at", Kind::Time, "s.complete_at"),
        nullable("results", Kind::Integer, "s.results"),
        column("state_string", Kind::Text, "s.state_string"),
        Field {
            name: "urls",
            kind: Kind::Objects,
            nullable: false,
            source: Source::JsonText { column: "s.urls_json", default: || json!([]) },
        },
        column("hidden", Kind::Boolean, "s.hidden"),
    ],
};

/// Logs.
pub static LOGS: Resource = Resource {
    type_name: "log",
    plural: "logs",
    from: "logs l",
    default_order: "l.id",
    key: "l.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("logid", Kind::Integer, "l.id"),
        column("name", Kind::Text, "l.name"),
        column("slug", Kind::Identifier, "l.slug"),
        column("stepid", Kind::Integer, "l.stepid"),
        column("complete", Kind::Boolean, "l.complete"),
        column("num_lines", Kind::Integer, "l.num_lines"),
        column("type", Kind::Identifier, "l.type"),
    ],
};
