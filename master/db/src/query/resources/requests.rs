//! Build requests and buildsets.

use super::super::attach::Attachment;
use super::super::property_set::PropertySet;
use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, attached, column, flag, nullable};

/// Build requests. What waits is served by `buildrequests_open` and `buildrequests_claimable`.
pub static BUILDREQUESTS: Resource = Resource {
    type_name: "buildrequest",
    plural: "buildrequests",
    from: "buildrequests br LEFT JOIN buildrequest_claims cl ON cl.brid = br.id",
    default_order: "br.id",
    key: "br.id",
    unique: &[],
    ties: Ties::OldestFirstAfter("br.priority"),
    totals: Totals::Page,
    fields: &[
        column("buildrequestid", Kind::Integer, "br.id"),
        column("buildsetid", Kind::Integer, "br.buildsetid"),
        column("builderid", Kind::Integer, "br.builderid"),
        column("priority", Kind::Integer, "br.priority"),
        flag("claimed", "br.claimed", "NOT br.claimed"),
        nullable("claimed_at", Kind::Time, "cl.claimed_at"),
        nullable("claimed_by_masterid", Kind::Integer, "cl.masterid"),
        flag("complete", "br.complete", "NOT br.complete"),
        // Buildbot's way of saying "none yet".
        column("results", Kind::Integer, "COALESCE(br.results, -1)"),
        column("submitted_at", Kind::Time, "br.submitted_at"),
        nullable("complete_at", Kind::Time, "br.complete_at"),
        column("waited_for", Kind::Boolean, "br.waited_for"),
        Field {
            name: "properties",
            kind: Kind::Json,
            nullable: true,
            source: Source::Properties(PropertySet::Request),
        },
    ],
};

/// Buildsets.
pub static BUILDSETS: Resource = Resource {
    type_name: "buildset",
    plural: "buildsets",
    from: "buildsets bs",
    default_order: "bs.id",
    key: "bs.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::Page,
    fields: &[
        column("bsid", Kind::Integer, "bs.id"),
        nullable("external_idstring", Kind::Text, "bs.external_idstring"),
        column("reason", Kind::Text, "bs.reason"),
        nullable("rebuilt_buildid", Kind::Integer, "bs.rebuilt_buildid"),
        column("submitted_at", Kind::Time, "bs.submitted_at"),
        flag("complete", "bs.complete", "NOT bs.complete"),
        nullable("complete_at", Kind::Time, "bs.complete_at"),
        nullable("results", Kind::Integer, "bs.results"),
        attached("sourcestamps", Kind::Objects, Attachment::BuildsetSourceStamps),
        nullable("parent_buildid", Kind::Integer, "bs.parent_buildid"),
        nullable("parent_relationship", Kind::Text, "bs.parent_relationship"),
    ],
};
