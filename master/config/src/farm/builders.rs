//! `c['builders']` and `c['projects']`.

use std::collections::BTreeMap;

use buildguild_types::farm::{BuilderConfig, CollapsePolicy, FactoryConfig, ProjectConfig};
use buildguild_types::identifier::{force_identifier, is_identifier};

use super::{Lower, strings};
use crate::lang::{Node, ObjectNode};

impl Lower<'_> {
    pub(super) fn builder(&self, o: &ObjectNode) -> Option<BuilderConfig> {
        let name = o.name()?.to_owned();
        if name.is_empty() || name.chars().count() > 70 {
            self.report.argument(o, "name", format!("builder name `{name}` must have 1 to 70 characters"), None);
        }
        if name.starts_with('_') {
            let message = format!("builder name `{name}` must not start with `_`");
            self.report.string(o, "name", &name, message, Some("such names are reserved".to_owned()));
        }
        let factory = match o.arg("factory") {
            Some(Node::Object(f)) => self.factory(f),
            _ => FactoryConfig::default(),
        };
        let mut worker_names = Vec::new();
        for argument in ["workername", "workernames", "slavename", "slavenames"] {
            for worker in self.strings(o, argument) {
                if !worker_names.contains(&worker) {
                    worker_names.push(worker);
                }
            }
        }
        if worker_names.is_empty() {
            self.report.argument(
                o,
                "workernames",
                format!("builder `{name}` has no worker"),
                Some("give `workername` or `workernames`".to_owned()),
            );
        }
        let builddir = self.opt_str(o, "builddir").unwrap_or_else(|| safe_directory(&name));
        let worker_builddir = self
            .opt_str(o, "workerbuilddir")
            .or_else(|| self.opt_str(o, "slavebuilddir"))
            .unwrap_or_else(|| builddir.clone());
        Some(BuilderConfig {
            worker_names,
            factory,
            worker_builddir,
            builddir,
            locks: self.locks(o),
            tags: self.tags(o, &name),
            next_worker: self.callable(o, "nextWorker").or_else(|| self.callable(o, "nextSlave")),
            next_build: self.callable(o, "nextBuild"),
            can_start_build: self.callable(o, "canStartBuild"),
            env: self.env(o),
            properties: self.properties(o, "properties"),
            default_properties: self.properties(o, "defaultProperties"),
            collapse_requests: match o.arg("collapseRequests").or_else(|| o.arg("mergeRequests")) {
                Some(node) => collapse(node),
                None => CollapsePolicy::Inherit,
            },
            description: self.opt_str(o, "description"),
            description_format: self.description_format(o),
            project: self.opt_str(o, "project"),
            do_build_if: self.callable(o, "do_build_if"),
            name,
        })
    }

    fn tags(&self, o: &ObjectNode, name: &str) -> Vec<String> {
        let mut tags = self.strings(o, "tags");
        tags.extend(self.strings(o, "category"));
        let mut seen = Vec::new();
        for tag in &tags {
            if seen.contains(&tag) {
                self.report.string(o, "tags", tag, format!("builder `{name}` has the tag `{tag}` twice"), None);
            }
            if tag.is_empty() {
                self.report.argument(o, "tags", format!("builder `{name}` has an empty tag"), None);
            }
            seen.push(tag);
        }
        tags
    }

    fn env(&self, o: &ObjectNode) -> BTreeMap<String, buildguild_types::render::Renderable> {
        if let Some(Node::Object(_)) = o.arg("env") {
            self.report.argument(
                o,
                "env",
                "BuilderConfig: argument `env` must be a dict; its values may be renderables",
                None,
            );
        }
        self.renderable_map(o, "env")
    }

    pub(super) fn description_format(&self, o: &ObjectNode) -> Option<String> {
        let format = self.opt_str(o, "description_format")?;
        if format != "markdown" {
            let message = format!("{}: `{format}` is no description format", o.class.name);
            self.report.argument(o, "description_format", message, Some("use None or 'markdown'".to_owned()));
        }
        Some(format)
    }

    fn factory(&self, o: &ObjectNode) -> FactoryConfig {
        let steps = match o.arg("steps") {
            Some(Node::List(items)) => items
                .iter()
                .filter_map(|n| match n {
                    Node::Object(s) => self.step(s),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        if let Some(Node::Call(_)) = o.arg("workdir") {
            self.report.argument(
                o,
                "workdir",
                "BuildFactory: a function as `workdir` is deprecated and not available",
                Some("use a renderable".to_owned()),
            );
            return FactoryConfig { steps, workdir: None };
        }
        FactoryConfig { steps, workdir: self.opt_renderable(o, "workdir") }
    }

    pub(super) fn project(&self, o: &ObjectNode) -> Option<ProjectConfig> {
        let name = o.name()?.to_owned();
        if name.is_empty() || name.chars().count() > 70 {
            self.report.argument(o, "name", format!("project name `{name}` must have 1 to 70 characters"), None);
        }
        let slug = self.opt_str(o, "slug").unwrap_or_else(|| force_identifier(50, &name));
        if !is_identifier(50, &slug) {
            let message = format!("project slug `{slug}` is not an identifier of at most 50 characters");
            self.report.argument(o, "slug", message, None);
        }
        Some(ProjectConfig {
            slug,
            description: self.opt_str(o, "description"),
            description_format: self.description_format(o),
            name,
        })
    }
}

/// `collapseRequests` as written.
pub(super) fn collapse(node: &Node) -> CollapsePolicy {
    match node {
        Node::Call(c) => CollapsePolicy::Callable(c.clone()),
        Node::Bool(true) => CollapsePolicy::Always,
        Node::Bool(false) => CollapsePolicy::Never,
        _ => CollapsePolicy::Inherit,
    }
}

/// The default build directory: the name with everything unusual replaced.
fn safe_directory(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// Strings of a list.
pub(super) fn string_list(node: &Node) -> Vec<String> {
    match node {
        Node::List(items) => strings(items),
        Node::Str(s) => vec![s.clone()],
        _ => Vec::new(),
    }
}
