//! Builders, factories and projects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LockAccess, StepConfig};
use crate::render::{CallableRef, Renderable};

/// When waiting requests may become one build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollapsePolicy {
    /// Not said here: what the level above says; at the top, compatible requests collapse.
    #[default]
    Inherit,
    /// Compatible requests collapse.
    Always,
    /// Each request gets a build of its own.
    Never,
    /// A function decides for each pair.
    Callable(CallableRef),
}

/// A builder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuilderConfig {
    /// Its name, unique in the farm.
    pub name: String,
    /// The workers that may run its builds.
    pub worker_names: Vec<String>,
    /// What a build does.
    pub factory: FactoryConfig,
    /// The master-side name of its directory, unique.
    pub builddir: String,
    /// The directory on the worker, below the worker's base directory.
    pub worker_builddir: String,
    /// `locks`: taken before the first step, given back after the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockAccess>,
    /// Tags, without duplicates.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `nextWorker`
    #[serde(default)]
    pub next_worker: Option<CallableRef>,
    /// `nextBuild`
    #[serde(default)]
    pub next_build: Option<CallableRef>,
    /// `canStartBuild`
    #[serde(default)]
    pub can_start_build: Option<CallableRef>,
    /// `env`: for each step; values may be renderables.
    #[serde(default)]
    pub env: BTreeMap<String, Renderable>,
    /// `properties`
    #[serde(default)]
    pub properties: BTreeMap<String, Value>,
    /// `defaultProperties`
    #[serde(default)]
    pub default_properties: BTreeMap<String, Value>,
    /// `collapseRequests`
    #[serde(default)]
    pub collapse_requests: CollapsePolicy,
    /// `description`
    #[serde(default)]
    pub description: Option<String>,
    /// `description_format`: nothing or `markdown`.
    #[serde(default)]
    pub description_format: Option<String>,
    /// `project`
    #[serde(default)]
    pub project: Option<String>,
    /// `do_build_if`
    #[serde(default)]
    pub do_build_if: Option<CallableRef>,
}

/// A build factory: the steps of a build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FactoryConfig {
    /// The steps in order.
    pub steps: Vec<StepConfig>,
    /// The working directory of the steps, below the builder's directory; `build` if not said.
    pub workdir: Option<Renderable>,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectConfig {
    /// Its name.
    pub name: String,
    /// The name for URLs.
    pub slug: String,
    /// What it is.
    pub description: Option<String>,
    /// Nothing or `markdown`.
    pub description_format: Option<String>,
}
