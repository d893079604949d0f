//! Changes.

use super::super::attach::Attachment;
use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, attached, column, nullable};
use super::sourcestamps;

/// Changes, the newest first unless asked otherwise.
pub static CHANGES: Resource = Resource {
    type_name: "change",
    plural: "changes",
    from: "changes c JOIN sourcestamps ss ON ss.id = c.sourcestampid LEFT JOIN patches pa ON pa.id = ss.patchid",
    default_order: "c.changeid DESC",
    key: "c.changeid",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::Page,
    fields: &[
        column("changeid", Kind::Integer, "c.changeid"),
        column("author", Kind::Text, "c.author"),
        nullable("committer", Kind::Text, "c.committer"),
        column("comments", Kind::Text, "c.comments"),
        nullable("branch", Kind::Text, "c.branch"),
        nullable("revision", Kind::Text, "c.revision"),
        nullable("revlink", Kind::Text, "c.revlink"),
        column("repository", Kind::Text, "c.repository"),
        column("project", Kind::Text, "c.project"),
        column("codebase", Kind::Text, "c.codebase"),
        nullable("category", Kind::Text, "c.category"),
        attached("files", Kind::Texts, Attachment::ChangeFiles),
        column("when_timestamp", Kind::Time, "c.when_timestamp"),
        Field {
            name: "parent_changeids",
            kind: Kind::Integers,
            nullable: false,
            source: Source::SingletonList("c.parent_changeids"),
        },
        attached("properties", Kind::Json, Attachment::ChangeProperties),
        Field {
            name: "sourcestamp",
            kind: Kind::Embedded,
            nullable: false,
            source: Source::Built { columns: sourcestamps::COLUMNS, build: sourcestamps::build },
        },
    ],
};
