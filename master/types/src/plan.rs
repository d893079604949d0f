//! The build plan: what a build will do, stored with the build, so that any replica can go on with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::farm::{ConfigHash, FactoryConfig, LogSettings};
use crate::render::Renderable;

/// The version of the plan's JSON that this program writes.
pub const PLAN_VERSION: u32 = 1;

/// A build plan. Late values in it refer to the configuration version that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// [`PLAN_VERSION`] of the program that wrote it.
    pub version: u32,
    /// The farm configuration that callables refer to.
    pub config: ConfigHash,
    /// The builder's name.
    pub builder_name: String,
    /// The directory on the worker, below the worker's base directory.
    pub worker_builddir: String,
    /// The steps.
    pub factory: FactoryConfig,
    /// The environment of each step.
    pub env: BTreeMap<String, Renderable>,
    /// The log limits in force.
    pub log: LogSettings,
    /// The base of links.
    pub buildbot_url: String,
}
