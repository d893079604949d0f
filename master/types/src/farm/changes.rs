//! Change sources and change filters.

use serde::{Deserialize, Serialize};

use super::OrCallable;
use crate::render::{CallableRef, Renderable};

/// A change source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSourceConfig {
    /// Its name, unique in the farm.
    pub name: String,
    /// What it does.
    pub kind: ChangeSourceKind,
}

/// What a change source does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChangeSourceKind {
    /// `GitPoller`
    Git(Box<GitPollerConfig>),
}

/// `GitPoller`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GitPollerConfig {
    /// `repourl`
    pub repourl: Renderable,
    /// `branches`
    pub branches: BranchSelection,
    /// `only_tags`
    pub only_tags: bool,
    /// `workdir`
    pub workdir: Option<String>,
    /// `gitbin`
    pub gitbin: String,
    /// `usetimestamps`
    pub use_timestamps: bool,
    /// `category`
    pub category: Option<OrCallable<String>>,
    /// `project`
    pub project: String,
    /// `codebase`
    pub codebase: Option<String>,
    /// `encoding`
    pub encoding: String,
    /// `buildPushesWithNoCommits`
    pub build_pushes_with_no_commits: bool,
    /// `pollInterval`, in seconds; 0 polls only on request.
    pub poll_interval_secs: u64,
    /// `pollAtLaunch`
    pub poll_at_launch: bool,
    /// `pollRandomDelayMin`, in seconds.
    pub poll_random_delay_min_secs: u64,
    /// `pollRandomDelayMax`, in seconds.
    pub poll_random_delay_max_secs: u64,
}

/// Which branches a poller looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchSelection {
    /// The remote's default branch (`HEAD`).
    Default,
    /// These.
    List(Vec<String>),
    /// All.
    All,
    /// Those for which the function says so.
    Callable(CallableRef),
}

/// A condition on one attribute. All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StringMatch {
    /// Equal to one of these; `None` in the list is "no value".
    pub eq: Option<Vec<Option<String>>>,
    /// Equal to none of these.
    pub not_eq: Option<Vec<Option<String>>>,
    /// One of these regular expressions matches at the start.
    pub re: Option<Vec<String>>,
    /// None of these regular expressions matches at the start.
    pub not_re: Option<Vec<String>>,
    /// The function says so.
    pub function: Option<CallableRef>,
}

/// `ChangeFilter`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeFilter {
    /// On the project.
    pub project: StringMatch,
    /// On the repository.
    pub repository: StringMatch,
    /// On the branch.
    pub branch: StringMatch,
    /// On the category.
    pub category: StringMatch,
    /// On the code base.
    pub codebase: StringMatch,
    /// On properties, by name.
    pub properties: std::collections::BTreeMap<String, StringMatch>,
    /// `filter_fn`: on the whole change.
    pub filter_fn: Option<CallableRef>,
}
