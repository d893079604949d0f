//! Source stamps, by themselves and embedded in changes and buildsets.

use serde_json::{Map, Value};

use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, column, nullable};

/// Source stamps.
pub static SOURCESTAMPS: Resource = Resource {
    type_name: "sourcestamp",
    plural: "sourcestamps",
    from: "sourcestamps ss LEFT JOIN patches pa ON pa.id = ss.patchid",
    default_order: "ss.id",
    key: "ss.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("ssid", Kind::Integer, "ss.id"),
        nullable("revision", Kind::Text, "ss.revision"),
        nullable("branch", Kind::Text, "ss.branch"),
        column("repository", Kind::Text, "ss.repository"),
        column("project", Kind::Text, "ss.project"),
        column("codebase", Kind::Text, "ss.codebase"),
        Field {
            name: "patch",
            kind: Kind::Embedded,
            nullable: true,
            source: Source::Built { columns: PATCH_COLUMNS, build: build_patch },
        },
        column("created_at", Kind::Time, "ss.created_at"),
    ],
};

const PATCH_COLUMNS: &[(&str, Kind)] = &[
    ("pa.id", Kind::Integer),
    ("pa.patchlevel", Kind::Integer),
    ("pa.subdir", Kind::Text),
    ("pa.patch_author", Kind::Text),
    ("pa.patch_comment", Kind::Text),
];

/// The columns of an embedded source stamp, for aliases `ss` and `pa`.
pub(in crate::query) const COLUMNS: &[(&str, Kind)] = &[
    ("ss.id", Kind::Integer),
    ("ss.branch", Kind::Text),
    ("ss.revision", Kind::Text),
    ("ss.repository", Kind::Text),
    ("ss.project", Kind::Text),
    ("ss.codebase", Kind::Text),
    ("ss.created_at", Kind::Time),
    ("pa.id", Kind::Integer),
    ("pa.patchlevel", Kind::Integer),
    ("pa.subdir", Kind::Text),
    ("pa.patch_author", Kind::Text),
    ("pa.patch_comment", Kind::Text),
];

/// The source stamps of some buildsets, up to the list of their ids; the columns are those of [`COLUMNS`].
pub(in crate::query) const SELECT_OF_BUILDSETS: &str = "SELECT bss.buildsetid, ss.id, ss.branch, ss.revision, \
     ss.repository, ss.project, ss.codebase, ss.created_at, pa.id, pa.patchlevel, pa.subdir, pa.patch_author, \
     pa.patch_comment FROM buildset_sourcestamps bss JOIN sourcestamps ss ON ss.id = bss.sourcestampid \
     LEFT JOIN patches pa ON pa.id = ss.patchid WHERE bss.buildsetid IN (";

/// An embedded source stamp from [`COLUMNS`].
pub(in crate::query) fn build(parts: &mut [Value]) -> Value {
    const NAMES: [&str; 7] = ["ssid", "branch", "revision", "repository", "project", "codebase", "created_at"];
    let (own, patch) = parts.split_at_mut(NAMES.len());
    let mut stamp: Map<String, Value> =
        NAMES.iter().zip(own).map(|(name, value)| ((*name).to_owned(), value.take())).collect();
    stamp.insert("patch".to_owned(), build_patch(patch));
    Value::Object(stamp)
}

/// An embedded patch, or null. The body is left out: only the worker needs it.
fn build_patch(parts: &mut [Value]) -> Value {
    const NAMES: [&str; 5] = ["patchid", "level", "subdir", "author", "comment"];
    if parts[0].is_null() {
        return Value::Null;
    }
    let mut patch: Map<String, Value> =
        NAMES.iter().zip(parts).map(|(name, value)| ((*name).to_owned(), value.take())).collect();
    patch.insert("body".to_owned(), Value::Null);
    Value::Object(patch)
}
