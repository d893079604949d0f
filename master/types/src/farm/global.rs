//! The global keys of `master.cfg`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    BuilderConfig, ChangeSourceConfig, CollapsePolicy, OrCallable, ProjectConfig, SchedulerConfig, WorkerConfig,
};
use crate::render::CallableRef;

/// The identity of a farm configuration: the hash of its files and of the inputs it declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigHash(pub String);

impl std::fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that a `master.cfg` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FarmConfig {
    /// `title`
    pub title: String,
    /// `titleURL`, with its trailing slash.
    pub title_url: String,
    /// `buildbotURL`, with its trailing slash: the base of every link.
    pub buildbot_url: String,
    /// `multiMaster`: switches off the checks that every builder has a scheduler and the like.
    pub multi_master: bool,
    /// `db['db_url']`; the settings' database wins over it.
    pub db_url: Option<String>,
    /// `protocols`: protocol name to port or endpoint, as written.
    pub protocols: BTreeMap<String, Value>,
    /// `www`
    pub www: WwwConfig,
    /// `properties`: for every build.
    pub properties: BTreeMap<String, Value>,
    /// `projects`
    pub projects: Vec<ProjectConfig>,
    /// `workers`
    pub workers: Vec<WorkerConfig>,
    /// `builders`
    pub builders: Vec<BuilderConfig>,
    /// `schedulers`
    pub schedulers: Vec<SchedulerConfig>,
    /// `change_source`
    pub change_sources: Vec<ChangeSourceConfig>,
    /// `collapseRequests`
    pub collapse_requests: CollapsePolicy,
    /// `prioritizeBuilders`
    pub prioritize_builders: Option<CallableRef>,
    /// `select_next_worker`
    pub select_next_worker: Option<CallableRef>,
    /// `codebaseGenerator`
    pub codebase_generator: Option<CallableRef>,
    /// `revlink`
    pub revlink: Option<CallableRef>,
    /// `validation`
    pub validation: Validation,
    /// `log*`
    pub log: LogSettings,
    /// `caches`: name to size. Kept for compatibility.
    pub caches: BTreeMap<String, i64>,
}

impl Default for FarmConfig {
    fn default() -> Self {
        Self {
            title: "Buildguild".to_owned(),
            title_url: "http://localhost:8010/".to_owned(),
            buildbot_url: "http://localhost:8010/".to_owned(),
            multi_master: false,
            db_url: None,
            protocols: BTreeMap::new(),
            www: WwwConfig::default(),
            properties: BTreeMap::new(),
            projects: Vec::new(),
            workers: Vec::new(),
            builders: Vec::new(),
            schedulers: Vec::new(),
            change_sources: Vec::new(),
            collapse_requests: CollapsePolicy::default(),
            prioritize_builders: None,
            select_next_worker: None,
            codebase_generator: None,
            revlink: None,
            validation: Validation::default(),
            log: LogSettings::default(),
            caches: BTreeMap::new(),
        }
    }
}

/// `www`: the web server's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WwwConfig {
    /// `port`: a number or an endpoint string; nothing means no web server, unless the settings say otherwise.
    pub port: Option<Value>,
    /// `plugins`: name to settings.
    pub plugins: BTreeMap<String, Value>,
    /// `allowed_origins`
    pub allowed_origins: Vec<String>,
    /// `ui_default_config`
    pub ui_default_config: BTreeMap<String, Value>,
    /// `ws_ping_interval`, in seconds; 0 for none.
    pub ws_ping_interval_secs: u64,
    /// `auth`: user name to password for `UserPasswordAuth`; nothing for `NoAuth`.
    pub user_passwords: Option<BTreeMap<String, String>>,
    /// `authz`, as declared; nothing if it is not set.
    pub authz: Option<Value>,
}

/// `validation`: regular expressions for what users send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validation {
    /// For branches.
    pub branch: String,
    /// For revisions.
    pub revision: String,
    /// For names of properties.
    pub property_name: String,
    /// For values of properties.
    pub property_value: String,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            branch: r"^[\w.+/~-]*$".to_owned(),
            revision: r"^[ \w\.\-/]*$".to_owned(),
            property_name: r"^[\w\.\-/~:]*$".to_owned(),
            property_value: r"^[\w\.\-/~:]*$".to_owned(),
        }
    }
}

/// `logCompressionLimit`, `logCompressionMethod`, `logMaxSize`, `logMaxTailSize`, `logEncoding`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSettings {
    /// Chunks below this size are stored as they are; nothing switches compression off.
    pub compression_limit_bytes: Option<u64>,
    /// `raw`, `gz`, `bz2`, `lz4`, `br` or `zstd`.
    pub compression_method: String,
    /// What a log holds at most; the rest is cut off visibly.
    pub max_size_bytes: Option<u64>,
    /// How much of the end is kept of a log that was cut off.
    pub max_tail_size_bytes: Option<u64>,
    /// The encoding of output, for example `utf-8`.
    pub encoding: OrCallable<String>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            compression_limit_bytes: Some(4096),
            compression_method: "zstd".to_owned(),
            max_size_bytes: None,
            max_tail_size_bytes: None,
            encoding: OrCallable::Value("utf-8".to_owned()),
        }
    }
}
