//! Workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::render::Renderable;

/// A worker of the farm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// Its name, unique in the farm.
    pub name: String,
    /// How it comes to run.
    pub kind: WorkerKind,
    /// How many builds it runs at once; nothing for any number.
    #[serde(default)]
    pub max_builds: Option<u32>,
    /// Who is told when it is missing.
    #[serde(default)]
    pub notify_on_missing: Vec<String>,
    /// Seconds after which it counts as missing.
    pub missing_timeout_secs: u64,
    /// Properties of every build on it.
    #[serde(default)]
    pub properties: BTreeMap<String, Value>,
    /// Properties of every build on it that has none of that name.
    #[serde(default)]
    pub default_properties: BTreeMap<String, Value>,
    /// Seconds between keepalives; nothing for none.
    pub keepalive_interval_secs: Option<u64>,
}

/// How a worker comes to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerKind {
    /// `Worker`: connects by itself.
    Remote {
        /// What it proves itself with; may be a secret.
        password: Renderable,
    },
    /// `LocalWorker`: runs inside the master's process.
    Local {
        /// Its base directory; nothing for `workers/<name>` below the master's.
        workdir: Option<String>,
    },
}
