//! Locks: `MasterLock` and `WorkerLock`, as builders and steps use them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a lock is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockScope {
    /// `MasterLock`: one for the whole cluster.
    Cluster,
    /// `WorkerLock`: one for each worker.
    Worker,
}

/// A use of a lock: `lock.access('counting', count)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockAccess {
    /// The lock's name, unique in the farm.
    pub name: String,
    /// What it is one of.
    pub scope: LockScope,
    /// `maxCount`: how many places it has.
    pub max_count: u32,
    /// `maxCountForWorker`: where it has another number of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max_count_for_worker: BTreeMap<String, u32>,
    /// Whether nobody else may hold it meanwhile.
    pub exclusive: bool,
    /// How many places are taken.
    pub count: u32,
}

impl LockAccess {
    /// What the lock is called in the cluster, if it is used on that worker.
    pub fn key(&self, worker: &str) -> String {
        match self.scope {
            LockScope::Cluster => format!("cluster/{}", self.name),
            LockScope::Worker => format!("worker/{worker}/{}", self.name),
        }
    }

    /// How many places it has on that worker.
    pub fn places(&self, worker: &str) -> u32 {
        self.max_count_for_worker.get(worker).copied().unwrap_or(self.max_count)
    }
}
