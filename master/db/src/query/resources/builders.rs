//! Builders, projects and workers.

use serde_json::{Value, json};

use super::super::attach::Attachment;
use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, attached, column, nullable};

/// Builders.
pub static BUILDERS: Resource = Resource {
    type_name: "builder",
    plural: "builders",
    from: "builders b",
    default_order: "b.id",
    key: "b.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("builderid", Kind::Integer, "b.id"),
        column("name", Kind::Text, "b.name"),
        attached("masterids", Kind::Integers, Attachment::BuilderMasters),
        nullable("description", Kind::Text, "b.description"),
        nullable("description_format", Kind::Text, "b.description_format"),
        nullable("description_html", Kind::Text, "b.description_html"),
        nullable("projectid", Kind::Integer, "b.projectid"),
        attached("tags", Kind::Texts, Attachment::BuilderTags),
    ],
};

/// Projects. `active` is told only when asked for; [`super::super::Scope::ActiveProjects`] answers that.
pub static PROJECTS: Resource = Resource {
    type_name: "project",
    plural: "projects",
    from: "projects p",
    default_order: "p.id",
    key: "p.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("projectid", Kind::Integer, "p.id"),
        column("name", Kind::Identifier, "p.name"),
        column("slug", Kind::Identifier, "p.slug"),
        Field { name: "active", kind: Kind::Boolean, nullable: true, source: Source::Constant(|| Value::Null) },
        nullable("description", Kind::Text, "p.description"),
        nullable("description_format", Kind::Text, "p.description_format"),
        nullable("description_html", Kind::Text, "p.description_html"),
    ],
};

/// Workers.
pub static WORKERS: Resource = Resource {
    type_name: "worker",
    plural: "workers",
    from: "workers w",
    default_order: "w.id",
    key: "w.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("workerid", Kind::Integer, "w.id"),
        column("name", Kind::Text, "w.name"),
        attached("configured_on", Kind::Objects, Attachment::WorkerConfiguredOn),
        attached("connected_to", Kind::Objects, Attachment::WorkerConnectedTo),
        Field {
            name: "workerinfo",
            kind: Kind::Json,
            nullable: false,
            source: Source::JsonText { column: "w.info", default: || json!({}) },
        },
        column("paused", Kind::Boolean, "w.paused"),
        nullable("pause_reason", Kind::Text, "w.pause_reason"),
        column("graceful", Kind::Boolean, "w.graceful"),
    ],
};
