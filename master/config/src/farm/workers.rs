//! `c['workers']`.

use buildguild_types::farm::{WorkerConfig, WorkerKind};
use buildguild_types::identifier::is_identifier;

use super::Lower;
use crate::lang::ObjectNode;

/// Names that Buildbot keeps for other clients of the worker port.
const RESERVED: [&str; 3] = ["debug", "change", "status"];

impl Lower<'_> {
    pub(super) fn worker(&self, o: &ObjectNode) -> Option<WorkerConfig> {
        let name = o.name()?.to_owned();
        if !is_identifier(50, &name) {
            self.report.string(
                o,
                "name",
                &name,
                format!("worker name `{name}` is not an identifier of at most 50 characters"),
                Some("use letters, digits, `-` and `_`, not beginning with a digit".to_owned()),
            );
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!("worker name `{name}` is reserved");
            self.report.string(o, "name", &name, message, None);
        }
        self.unavailable(o, &["locks", "machine_name"]);
        let kind = if o.class.name == "LocalWorker" {
            WorkerKind::Local { workdir: self.opt_str(o, "workdir") }
        } else {
            WorkerKind::Remote { password: self.required_renderable(o, "password") }
        };
        let max_builds = self.unsigned(o, "max_builds").map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        if max_builds == Some(0) {
            self.report.argument(o, "max_builds", "Worker: argument `max_builds` must be at least 1", None);
        }
        Some(WorkerConfig {
            name,
            kind,
            max_builds,
            notify_on_missing: self.strings(o, "notify_on_missing"),
            missing_timeout_secs: self.seconds(o, "missing_timeout").unwrap_or(3600),
            properties: self.properties(o, "properties"),
            default_properties: self.properties(o, "defaultProperties"),
            keepalive_interval_secs: self.seconds(o, "keepalive_interval"),
        })
    }
}
