//! Code bases with their branches and commits.

use super::super::resource::{Kind, Resource, Ties, Totals, column, nullable};

/// Code bases.
pub static CODEBASES: Resource = Resource {
    type_name: "codebase",
    plural: "codebases",
    from: "codebases cb",
    default_order: "cb.id",
    key: "cb.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("codebaseid", Kind::Integer, "cb.id"),
        column("name", Kind::Identifier, "cb.name"),
        column("slug", Kind::Identifier, "cb.slug"),
        column("projectid", Kind::Integer, "cb.projectid"),
    ],
};

/// Branches.
pub static BRANCHES: Resource = Resource {
    type_name: "branch",
    plural: "branches",
    from: "codebase_branches br",
    default_order: "br.id",
    key: "br.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("branchid", Kind::Integer, "br.id"),
        column("codebaseid", Kind::Integer, "br.codebaseid"),
        column("name", Kind::Text, "br.name"),
        nullable("commitid", Kind::Integer, "br.commitid"),
        column("last_timestamp", Kind::Time, "br.last_timestamp"),
    ],
};

/// Commits.
pub static COMMITS: Resource = Resource {
    type_name: "commit",
    plural: "commits",
    from: "codebase_commits co",
    default_order: "co.id",
    key: "co.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::Page,
    fields: &[
        column("commitid", Kind::Integer, "co.id"),
        column("codebaseid", Kind::Integer, "co.codebaseid"),
        column("author", Kind::Text, "co.author"),
        nullable("committer", Kind::Text, "co.committer"),
        column("comments", Kind::Text, "co.comments"),
        column("when_timestamp", Kind::Time, "co.when_timestamp"),
        column("revision", Kind::Text, "co.revision"),
        nullable("parent_commitid", Kind::Integer, "co.parent_commitid"),
    ],
};
