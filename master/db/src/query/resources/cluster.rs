//! Masters, and what runs on one of them: schedulers and change sources.

use serde_json::{Map, Value};

use super::super::resource::{Field, Kind, Resource, Source, Ties, Totals, column, nullable};

/// Masters.
pub static MASTERS: Resource = Resource {
    type_name: "master",
    plural: "masters",
    from: "masters m",
    default_order: "m.id",
    key: "m.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("masterid", Kind::Integer, "m.id"),
        column("name", Kind::Text, "m.name"),
        column("active", Kind::Boolean, "m.active"),
        column("last_active", Kind::Time, "m.last_active"),
        // Not in Buildbot: what a master tells of itself when it checks in.
        column("epoch", Kind::Integer, "m.epoch"),
        nullable("version", Kind::Text, "m.version"),
        nullable("config_hash", Kind::Text, "m.config_hash"),
        nullable(
            "draining_since",
            Kind::Time,
            "(SELECT w.created_at FROM wishes w WHERE w.kind = 'master.drain' AND w.target = m.id)",
        ),
        nullable(
            "draining_reason",
            Kind::Text,
            "(SELECT w.reason FROM wishes w WHERE w.kind = 'master.drain' AND w.target = m.id)",
        ),
        // Seconds, rounded up.
        nullable("expire_after", Kind::Integer, "(m.expire_after_ms + 999) / 1000"),
        column("outbox_depth", Kind::Integer, "m.outbox_depth"),
        nullable("outbox_since", Kind::Time, "m.outbox_since"),
    ],
};

/// Schedulers.
pub static SCHEDULERS: Resource = Resource {
    type_name: "scheduler",
    plural: "schedulers",
    from: "schedulers s LEFT JOIN scheduler_masters sm ON sm.schedulerid = s.id \
           LEFT JOIN masters m ON m.id = sm.masterid",
    default_order: "s.id",
    key: "s.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("schedulerid", Kind::Integer, "s.id"),
        column("name", Kind::Text, "s.name"),
        column("enabled", Kind::Boolean, "s.enabled"),
        MASTER,
    ],
};

/// Change sources.
pub static CHANGE_SOURCES: Resource = Resource {
    type_name: "changesource",
    plural: "changesources",
    from: "changesources cs LEFT JOIN changesource_masters csm ON csm.changesourceid = cs.id \
           LEFT JOIN masters m ON m.id = csm.masterid",
    default_order: "cs.id",
    key: "cs.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[column("changesourceid", Kind::Integer, "cs.id"), column("name", Kind::Text, "cs.name"), MASTER],
};

/// The master on which something runs.
const MASTER: Field = Field {
    name: "master",
    kind: Kind::Embedded,
    nullable: true,
    source: Source::Built {
        columns: &[
            ("m.id", Kind::Integer),
            ("m.name", Kind::Text),
            ("m.active", Kind::Boolean),
            ("m.last_active", Kind::Time),
        ],
        build: build_master,
    },
};

fn build_master(parts: &mut [Value]) -> Value {
    const NAMES: [&str; 4] = ["masterid", "name", "active", "last_active"];
    if parts[0].is_null() {
        return Value::Null;
    }
    let master: Map<String, Value> =
        NAMES.iter().zip(parts).map(|(name, value)| ((*name).to_owned(), value.take())).collect();
    Value::Object(master)
}
