//! From a scheduler and some changes to a new buildset.

use std::collections::BTreeMap;

use buildguild_db::{
    buildsets::{NewBuildset, StampRef},
    sourcestamps::NewSourceStamp,
};
use buildguild_types::{
    farm::{OrCallable, SchedulerConfig, SchedulerKind, filter::change_view},
    ids::BuilderId,
    properties::Properties,
    pyrepr,
    render::Renderable,
    resources::Change,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::SchedulerError;
use crate::{
    functions::Functions,
    render::{Call, Scope},
};

/// The newest change that a scheduler has seen of a code base, for `createAbsoluteSourceStamps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastSeen {
    /// The repository.
    pub(crate) repository: String,
    /// The branch.
    pub(crate) branch: Option<String>,
    /// The revision.
    pub(crate) revision: Option<String>,
    /// The change.
    #[serde(rename = "lastChange")]
    pub(crate) change: i64,
}

/// What a buildset is made from.
pub(crate) struct Recipe<'a> {
    /// The scheduler.
    pub(crate) config: &'a SchedulerConfig,
    /// The functions of its configuration version.
    pub(crate) functions: &'a Functions,
    /// The changes, oldest first.
    pub(crate) changes: &'a [Change],
    /// What was seen of the code bases that no change is about.
    pub(crate) last_seen: &'a BTreeMap<String, LastSeen>,
    /// The ids of the builders of the farm, by name.
    pub(crate) builders: &'a BTreeMap<String, BuilderId>,
}

impl Recipe<'_> {
    /// The buildset.
    ///
    /// # Errors
    /// If an argument of the scheduler cannot be rendered, or renders to what it cannot be.
    pub(crate) async fn make(&self) -> Result<NewBuildset, SchedulerError> {
        let names = self.builder_names().await?;
        let builders = names
            .iter()
            .filter_map(|name| {
                let id = self.builders.get(name);
                if id.is_none() {
                    tracing::warn!(scheduler.name = self.config.name, builder.name = name, "unknown builder {name}");
                }
                id.copied()
            })
            .collect();
        Ok(NewBuildset {
            sourcestamps: self.stamps(),
            reason: self.reason().await?,
            properties: self.properties().await?,
            builders,
            priority: self.priority(&names).await?,
            ..NewBuildset::default()
        })
    }

    /// One source stamp for each code base: that of its newest change, or else what the scheduler says or has seen.
    fn stamps(&self) -> Vec<StampRef> {
        self.config
            .codebases
            .iter()
            .map(|(codebase, default)| {
                if let Some(change) = self.changes.iter().rev().find(|c| c.codebase == *codebase) {
                    return StampRef::Id(change.sourcestamp.ssid);
                }
                let seen = self.last_seen.get(codebase);
                StampRef::New(NewSourceStamp {
                    branch: seen.map_or_else(|| default.branch.clone(), |seen| seen.branch.clone()),
                    revision: seen.map_or_else(|| default.revision.clone(), |seen| seen.revision.clone()),
                    repository: seen.map_or_else(|| default.repository.clone(), |seen| seen.repository.clone()),
                    project: self.changes.last().map(|c| c.project.clone()).unwrap_or_default(),
                    codebase: codebase.clone(),
                    patch: None,
                })
            })
            .collect()
    }

    async fn builder_names(&self) -> Result<Vec<String>, SchedulerError> {
        let rendered = match &self.config.builder_names {
            // A function gets what the manual promises it, beyond the properties.
            Renderable::Callable { callable, args, kwargs } if args.is_empty() && kwargs.is_empty() => {
                let mut files: Vec<&String> = self.changes.iter().flat_map(|c| &c.files).collect();
                files.sort();
                files.dedup();
                let stamps: Vec<_> = self.changes.iter().map(|c| &c.sourcestamp).collect();
                let mut kwargs = Map::new();
                kwargs.insert("sourcestamps".to_owned(), json!(stamps));
                kwargs.insert("changes".to_owned(), self.changes.iter().map(change_view).collect());
                kwargs.insert("files".to_owned(), json!(files));
                let properties = Properties::new();
                let scope = self.scope(&properties);
                let call = Call { scope: Some(scope.as_json()), args: Vec::new(), kwargs };
                let called = scope.call(callable, call).await;
                called.map_err(|source| SchedulerError::Render { what: "builderNames".to_owned(), source })?
            }
            other => self.render("builderNames", other).await?,
        };
        let wrong = |value: &Value| SchedulerError::WrongValue {
            what: "builderNames",
            expected: "a list of names",
            value: pyrepr::repr(value),
        };
        let Value::Array(names) = &rendered else { return Err(wrong(&rendered)) };
        names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(|| wrong(&rendered))).collect()
    }

    async fn properties(&self) -> Result<Properties, SchedulerError> {
        let mut properties = Properties::new();
        for (name, value) in &self.config.properties {
            properties.set(name.as_str(), self.render(&format!("properties['{name}']"), value).await?, "Scheduler");
        }
        properties.set("scheduler", self.config.name.as_str(), "Scheduler");
        Ok(properties)
    }

    async fn reason(&self) -> Result<String, SchedulerError> {
        let class = class_name(&self.config.kind);
        let default = || format!("The {class} scheduler named '{}' triggered this build", self.config.name);
        Ok(match &self.config.reason {
            None => default(),
            Some(reason) => match self.render("reason", reason).await? {
                Value::Null => default(),
                // The manual's own default is a format string with these two names.
                Value::String(text) => text.replace("%(classname)s", class).replace("%(name)s", &self.config.name),
                other => pyrepr::str(&other),
            },
        })
    }

    async fn priority(&self, names: &[String]) -> Result<i64, SchedulerError> {
        match &self.config.priority {
            None => Ok(0),
            Some(OrCallable::Value(priority)) => Ok(*priority),
            Some(OrCallable::Callable(function)) => {
                let mut by_codebase: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
                for change in self.changes {
                    by_codebase.entry(&change.codebase).or_default().push(change_view(change));
                }
                let value = self.functions.call(function, vec![json!(names), json!(by_codebase)]).await?;
                value.as_i64().ok_or_else(|| SchedulerError::WrongValue {
                    what: "priority",
                    expected: "an integer",
                    value: pyrepr::repr(&value),
                })
            }
        }
    }

    async fn render(&self, what: &str, value: &Renderable) -> Result<Value, SchedulerError> {
        let properties = Properties::new();
        let rendered = self.scope(&properties).render(value).await;
        rendered.map_err(|source| SchedulerError::Render { what: what.to_owned(), source })
    }

    /// Schedulers have no build yet: renderables see no properties and no worker.
    fn scope<'s>(&'s self, properties: &'s Properties) -> Scope<'s> {
        static NOTHING: std::sync::LazyLock<BTreeMap<String, Value>> = std::sync::LazyLock::new(BTreeMap::new);
        static NO_SECRETS: std::sync::LazyLock<BTreeMap<String, String>> = std::sync::LazyLock::new(BTreeMap::new);
        Scope {
            properties,
            sources: &[],
            worker: &NOTHING,
            secrets: &NO_SECRETS,
            build_url: "",
            build: &Value::Null,
            calls: self.functions,
        }
    }
}

/// The class that `master.cfg` names.
fn class_name(kind: &SchedulerKind) -> &'static str {
    match kind {
        SchedulerKind::SingleBranch(_) => "SingleBranchScheduler",
        SchedulerKind::AnyBranch(_) => "AnyBranchScheduler",
        SchedulerKind::Force(_) => "ForceScheduler",
        SchedulerKind::Triggerable => "Triggerable",
        SchedulerKind::Dependent { .. } => "Dependent",
        SchedulerKind::Periodic { .. } => "Periodic",
        SchedulerKind::Nightly { .. } => "Nightly",
    }
}
