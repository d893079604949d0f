//! `c['schedulers']`.

use std::collections::BTreeMap;

use buildguild_types::farm::{
    ChangeFilter, CodebaseSpec, OrCallable, SchedulerConfig, SchedulerKind, StringMatch, TreeSchedulerConfig,
};
use serde_json::Value;

use super::{Lower, describe};
use crate::lang::{Node, ObjectNode};

impl Lower<'_> {
    pub(super) fn scheduler(&self, o: &ObjectNode) -> Option<SchedulerConfig> {
        let name = o.name()?.to_owned();
        if name.is_empty() {
            self.report.argument(o, "name", "a scheduler needs a name", None);
            return None;
        }
        let kind = self.scheduler_kind(o)?;
        let (properties, codebases, priority, reason) = if matches!(kind, SchedulerKind::Force(_)) {
            (BTreeMap::new(), default_codebases(), None, None)
        } else {
            (
                self.renderable_map(o, "properties"),
                self.codebases(o),
                match o.arg("priority") {
                    Some(Node::Int(i)) => Some(OrCallable::Value(*i)),
                    Some(Node::Call(c)) => Some(OrCallable::Callable(c.clone())),
                    _ => None,
                },
                self.opt_renderable(o, "reason"),
            )
        };
        let builder_names = self.required_renderable(o, "builderNames");
        if builder_names.as_literal().and_then(Value::as_array).is_some_and(Vec::is_empty) {
            let message = format!("scheduler `{name}` has no builders");
            self.report.argument(o, "builderNames", message, None);
        }
        Some(SchedulerConfig { name, builder_names, properties, codebases, priority, reason, kind })
    }

    fn scheduler_kind(&self, o: &ObjectNode) -> Option<SchedulerKind> {
        if matches!(o.class.name, "Triggerable" | "Dependent" | "Periodic" | "Nightly") {
            let message = format!("schedulers.{} is checked, but starts no builds in this version", o.class.name);
            self.report.argument_warning(o, "", message, None);
        }
        Some(match o.class.name {
            "SingleBranchScheduler" | "Scheduler" => {
                if o.arg("change_filter").is_none() && !o.is_given("branch") && o.arg("branches").is_none() {
                    self.report.argument_warning(
                        o,
                        "",
                        format!("{} without `change_filter` mixes all branches in one build", o.class.name),
                        Some("for example change_filter=util.ChangeFilter(branch='main'); AnyBranchScheduler keeps branches apart".to_owned()),
                    );
                }
                SchedulerKind::SingleBranch(Box::new(self.tree(o)))
            }
            "AnyBranchScheduler" => SchedulerKind::AnyBranch(Box::new(self.tree(o))),
            "ForceScheduler" => SchedulerKind::Force(Box::new(self.force(o))),
            "Triggerable" => SchedulerKind::Triggerable,
            "Dependent" => match o.arg("upstream") {
                Some(Node::Object(up)) => SchedulerKind::Dependent { upstream: up.name()?.to_owned() },
                _ => return None,
            },
            "Periodic" => {
                let period_secs = self.seconds(o, "periodicBuildTimer")?;
                if period_secs == 0 {
                    let message = "Periodic: argument `periodicBuildTimer` must be positive";
                    self.report.argument(o, "periodicBuildTimer", message, None);
                }
                SchedulerKind::Periodic {
                    period_secs,
                    changes: Box::new(self.tree(o)),
                    only_if_changed: self.bool(o, "onlyIfChanged"),
                }
            }
            "Nightly" => SchedulerKind::Nightly {
                time: self.nightly(o, &["minute", "hour", "dayOfMonth", "month", "dayOfWeek"]),
                force_at: self.nightly(
                    o,
                    &[
                        "force_at_minute",
                        "force_at_hour",
                        "force_at_day_of_month",
                        "force_at_month",
                        "force_at_day_of_week",
                    ],
                ),
                only_if_changed: self.bool(o, "onlyIfChanged"),
                changes: Box::new(self.tree(o)),
            },
            other => {
                let message = format!("schedulers.{other} is known to Buildbot but not available in this version");
                self.report.argument(o, "", message, None);
                return None;
            }
        })
    }

    fn tree(&self, o: &ObjectNode) -> TreeSchedulerConfig {
        let mut change_filter = match o.arg("change_filter") {
            Some(Node::Object(f)) => self.change_filter(f),
            _ => ChangeFilter::default(),
        };
        // The old way to say the same, where the class still has it.
        let deprecated = o.class.param("categories").is_some();
        for argument in ["branch", "branches", "categories"] {
            if deprecated && o.arg("change_filter").is_some() && o.is_given(argument) {
                let message = format!("{}: `{argument}` has no effect beside `change_filter`", o.class.name);
                self.report.argument_warning(o, argument, message, Some("make it a part of the filter".to_owned()));
            }
        }
        if deprecated && o.arg("change_filter").is_none() {
            if o.is_given("branch") {
                change_filter.branch =
                    StringMatch { eq: Some(vec![self.opt_str(o, "branch")]), ..StringMatch::default() };
            }
            if o.arg("branches").is_some() {
                let branches = self.strings(o, "branches").into_iter().map(Some).collect();
                change_filter.branch = StringMatch { eq: Some(branches), ..StringMatch::default() };
            }
            if o.arg("categories").is_some() {
                let categories = self.strings(o, "categories").into_iter().map(Some).collect();
                change_filter.category = StringMatch { eq: Some(categories), ..StringMatch::default() };
            }
        }
        let timer = self.float(o, "treeStableTimer");
        if timer.is_some_and(|t| t < 0.0) {
            let message = format!("{}: argument `treeStableTimer` must not be negative", o.class.name);
            self.report.argument(o, "treeStableTimer", message, None);
        }
        TreeSchedulerConfig {
            tree_stable_timer_secs: timer.filter(|t| *t > 0.0),
            change_filter,
            file_is_important: self.callable(o, "fileIsImportant"),
            only_important: self.bool(o, "onlyImportant"),
            create_absolute_source_stamps: self.bool(o, "createAbsoluteSourceStamps"),
        }
    }

    fn nightly(&self, o: &ObjectNode, names: &[&str]) -> BTreeMap<String, Value> {
        names
            .iter()
            .filter_map(|name| {
                self.check_time(o, name);
                let value = self.opt_renderable(o, name)?.as_literal()?.clone();
                (!value.is_null()).then(|| ((*name).to_owned(), value))
            })
            .collect()
    }

    fn codebases(&self, o: &ObjectNode) -> BTreeMap<String, CodebaseSpec> {
        let bad = |what: &str| {
            let message =
                format!("{}: argument `codebases` is a list of names or a dict of dicts, not {what}", o.class.name);
            self.report.argument(o, "codebases", message, None);
        };
        match o.arg("codebases") {
            None => default_codebases(),
            Some(Node::List(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Node::Str(name) => Some((name.clone(), CodebaseSpec::default())),
                    other => {
                        bad(describe(other));
                        None
                    }
                })
                .collect(),
            Some(Node::Dict(entries)) => {
                let mut out = BTreeMap::new();
                for (k, v) in entries {
                    let (Node::Str(name), Node::Dict(fields)) = (k, v) else {
                        bad(describe(v));
                        continue;
                    };
                    let mut spec = CodebaseSpec::default();
                    for (field, value) in fields {
                        let value = match value {
                            Node::Str(s) => Some(s.clone()),
                            _ => None,
                        };
                        match field {
                            Node::Str(f) if f == "repository" => spec.repository = value.unwrap_or_default(),
                            Node::Str(f) if f == "branch" => spec.branch = value,
                            Node::Str(f) if f == "revision" => spec.revision = value,
                            Node::Str(f) => {
                                let message = format!("a code base has no `{f}`");
                                let help = crate::diagnostic::suggest(f, ["repository", "branch", "revision"]);
                                self.report.string(o, "codebases", f, message, help);
                            }
                            other => bad(describe(other)),
                        }
                    }
                    out.insert(name.clone(), spec);
                }
                out
            }
            Some(other) => {
                bad(describe(other));
                default_codebases()
            }
        }
    }
}

fn default_codebases() -> BTreeMap<String, CodebaseSpec> {
    BTreeMap::from([(String::new(), CodebaseSpec::default())])
}
