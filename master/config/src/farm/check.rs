//! What only shows when all of a config is known: names that must be unique, and names that must
//! exist.

use std::collections::HashMap;

use buildguild_types::farm::FarmConfig;

use super::{Lower, strings};
use crate::diagnostic::suggest;
use crate::lang::{Node, ObjectNode};
use crate::schema::Kind;

impl Lower<'_> {
    pub(super) fn check(&self, entries: &[(String, Node)], farm: &FarmConfig) {
        let of = |key: &str, kind: Kind| -> Vec<&ObjectNode> {
            let Some((_, node)) = entries.iter().find(|(k, _)| k == key) else {
                return Vec::new();
            };
            let items: &[Node] = match node {
                Node::List(items) => items,
                other => std::slice::from_ref(other),
            };
            items
                .iter()
                .filter_map(|n| match n {
                    Node::Object(o) if o.class.kind == kind => Some(&**o),
                    _ => None,
                })
                .collect()
        };
        // A list with something unavailable in it is not known completely, so nothing is missing from it.
        let complete = |key: &str| match entries.iter().find(|(k, _)| k == key) {
            Some((_, Node::List(items))) => !items.iter().any(|i| match i {
                Node::Placeholder => true,
                Node::Object(o) => o.name().is_none() && o.class.param("name").is_some(),
                _ => false,
            }),
            Some((_, Node::Placeholder)) => false,
            _ => true,
        };
        let workers = of("workers", Kind::Worker);
        let builders = of("builders", Kind::Builder);
        let schedulers = of("schedulers", Kind::Scheduler);
        self.unique("worker", &workers);
        self.unique("builder", &builders);
        self.unique("scheduler", &schedulers);
        self.unique("project", &of("projects", Kind::Project));
        self.unique_sources(farm, &of("change_source", Kind::ChangeSource));
        self.builddirs(farm, &builders);
        let worker_names: Vec<&str> = workers.iter().filter_map(|o| o.name()).collect();
        let project_names: Vec<&str> = farm.projects.iter().map(|p| p.name.as_str()).collect();
        for o in &builders {
            let builder = o.name().unwrap_or("?");
            if complete("workers") {
                for argument in ["workername", "workernames", "slavename", "slavenames"] {
                    for worker in self.strings(o, argument) {
                        if !worker_names.contains(&worker.as_str()) {
                            let message = format!("builder `{builder}` uses unknown worker `{worker}`");
                            self.report.string(
                                o,
                                argument,
                                &worker,
                                message,
                                suggest(&worker, worker_names.iter().copied()),
                            );
                        }
                    }
                }
            }
            if let Some(project) = self.opt_str(o, "project")
                && complete("projects")
                && !project_names.contains(&project.as_str())
            {
                let message = format!("builder `{builder}` belongs to unknown project `{project}`");
                self.report.string(o, "project", &project, message, suggest(&project, project_names.iter().copied()));
            }
        }
        if complete("builders") {
            self.scheduled_builders(farm, &schedulers, &builders, complete("schedulers"));
        }
        if complete("schedulers") {
            self.upstreams(&schedulers);
        }
        if !farm.multi_master {
            self.something(entries, "workers", "no workers are configured");
            self.something(entries, "builders", "no builders are configured");
        }
    }

    fn something(&self, entries: &[(String, Node)], key: &str, message: &str) {
        let empty = match entries.iter().find(|(k, _)| k == key) {
            None => true,
            Some((_, Node::List(items))) => items.is_empty(),
            Some(_) => false,
        };
        if empty {
            self.report.key(key, message, Some(format!("c['{key}'] = [...]; multiMaster allows it to be empty")));
        }
    }

    fn unique(&self, what: &str, objects: &[&ObjectNode]) {
        let mut seen: HashMap<&str, &ObjectNode> = HashMap::new();
        for o in objects {
            let Some(name) = o.name() else {
                continue;
            };
            if let Some(first) = seen.get(name) {
                let place = self.report.collector.place(&self.report.collector.site(first.site));
                self.report.string(
                    o,
                    "name",
                    name,
                    format!("duplicate {what} name `{name}`"),
                    Some(format!("the first one is at {}:{}", place.file, place.line)),
                );
            } else {
                seen.insert(name, o);
            }
        }
    }

    fn unique_sources(&self, farm: &FarmConfig, objects: &[&ObjectNode]) {
        let mut seen: Vec<&str> = Vec::new();
        for (source, o) in farm.change_sources.iter().zip(objects) {
            if seen.contains(&source.name.as_str()) {
                self.report.argument(
                    o,
                    "repourl",
                    format!("duplicate change source name `{}`", source.name),
                    Some("give it a `name`, or one source several `branches`".to_owned()),
                );
            }
            seen.push(&source.name);
        }
    }

    fn builddirs(&self, farm: &FarmConfig, objects: &[&ObjectNode]) {
        let mut seen: HashMap<&str, &str> = HashMap::new();
        for builder in &farm.builders {
            match seen.get(builder.builddir.as_str()) {
                Some(other) if *other != builder.name => {
                    let message =
                        format!("builders `{other}` and `{}` share the builddir `{}`", builder.name, builder.builddir);
                    if let Some(o) = objects.iter().find(|o| o.name() == Some(&builder.name)) {
                        self.report.argument(o, "builddir", message, Some("give one of them a `builddir`".to_owned()));
                    }
                }
                _ => {
                    seen.insert(&builder.builddir, &builder.name);
                }
            }
        }
    }

    fn scheduled_builders(
        &self,
        farm: &FarmConfig,
        schedulers: &[&ObjectNode],
        builders: &[&ObjectNode],
        complete: bool,
    ) {
        let names: Vec<&str> = builders.iter().filter_map(|o| o.name()).collect();
        let mut scheduled: Vec<String> = Vec::new();
        let mut all_known = true;
        for o in schedulers {
            let Some(Node::List(items)) = o.arg("builderNames") else {
                all_known = false;
                continue;
            };
            let wanted = strings(items);
            all_known &= wanted.len() == items.len();
            for builder in wanted {
                if !names.contains(&builder.as_str()) && !farm.multi_master {
                    let scheduler = o.name().unwrap_or("?");
                    let message = format!("scheduler `{scheduler}` starts unknown builder `{builder}`");
                    self.report.string(o, "builderNames", &builder, message, suggest(&builder, names.iter().copied()));
                }
                scheduled.push(builder);
            }
        }
        if farm.multi_master || !all_known || !complete {
            return;
        }
        for o in builders {
            let Some(name) = o.name() else {
                continue;
            };
            if !scheduled.iter().any(|s| s == name) {
                let message = format!("builder `{name}` has no scheduler that starts it");
                self.report.string(
                    o,
                    "name",
                    name,
                    message,
                    Some("name it in the `builderNames` of a scheduler".to_owned()),
                );
            }
        }
    }

    fn upstreams(&self, schedulers: &[&ObjectNode]) {
        for o in schedulers {
            let Some(Node::Object(upstream)) = o.arg("upstream") else {
                continue;
            };
            let configured = schedulers.iter().any(|s| s.site == upstream.site);
            if !configured {
                let message = format!(
                    "scheduler `{}` depends on `{}`, which is not in c['schedulers']",
                    o.name().unwrap_or("?"),
                    upstream.name().unwrap_or("?")
                );
                self.report.argument(o, "upstream", message, None);
            }
        }
    }
}
