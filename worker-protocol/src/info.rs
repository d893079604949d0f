//! What a worker tells about itself (`get_worker_info`).

use std::collections::BTreeMap;

use rmpv::Value;

use crate::codec;

/// The version of the worker commands that this crate describes; what `worker_commands` says for each.
pub const COMMAND_VERSION: &str = "3.3";

/// The names that a worker lists in `worker_commands`: those of the wire, and the camel-case forms that steps look up.
pub const COMMAND_NAMES: [&str; 14] = [
    "shell",
    "uploadFile",
    "upload_file",
    "uploadDirectory",
    "upload_directory",
    "downloadFile",
    "download_file",
    "mkdir",
    "rmdir",
    "cpdir",
    "stat",
    "glob",
    "listdir",
    "rmfile",
];

/// What a worker tells about itself after each connect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkerInfo {
    /// The environment of the worker process.
    pub environ: BTreeMap<String, String>,
    /// Python's `os.name`: `posix` or `nt`. Decides the flavour of paths.
    pub system: String,
    /// The absolute path of the worker's directory.
    pub basedir: String,
    /// The number of processors.
    pub numcpus: i64,
    /// The worker's version.
    pub version: String,
    /// Command name → version.
    pub worker_commands: BTreeMap<String, String>,
    /// Whether directories that belong to no builder are to be deleted.
    pub delete_leftover_dirs: bool,
    /// Everything else: the files of `info/` (`admin`, `host`, `access_uri`, …), `os_*`, and what newer workers add.
    pub extra: BTreeMap<String, Value>,
}

impl WorkerInfo {
    /// Reads the answer of a worker. Missing keys get neutral values: old workers and other implementations know
    /// fewer of them, and only the master can judge which it needs.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        let mut info = Self { numcpus: 1, ..Self::default() };
        for (key, item) in value.as_map().map(Vec::as_slice).unwrap_or_default() {
            let Some(key) = codec::text(key) else {
                continue;
            };
            match key.as_str() {
                "environ" => info.environ = text_map(item),
                "system" => info.system = codec::text(item).unwrap_or_default(),
                "basedir" => info.basedir = codec::text(item).unwrap_or_default(),
                "numcpus" => info.numcpus = item.as_i64().unwrap_or(1),
                "version" => info.version = codec::text(item).unwrap_or_default(),
                "worker_commands" => info.worker_commands = text_map(item),
                "delete_leftover_dirs" => {
                    info.delete_leftover_dirs = item.as_bool().or(item.as_i64().map(|i| i != 0)).unwrap_or(false);
                }
                _ => {
                    info.extra.insert(key, item.clone());
                }
            }
        }
        info
    }

    /// The answer of a worker.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut entries: Vec<(Value, Value)> =
            self.extra.iter().map(|(k, v)| (Value::from(k.as_str()), v.clone())).collect();
        let mut put = |key: &str, value: Value| entries.push((Value::from(key), value));
        put("environ", from_text_map(&self.environ));
        put("system", Value::from(self.system.as_str()));
        put("basedir", Value::from(self.basedir.as_str()));
        put("numcpus", Value::from(self.numcpus));
        put("version", Value::from(self.version.as_str()));
        put("worker_commands", from_text_map(&self.worker_commands));
        put("delete_leftover_dirs", Value::from(self.delete_leftover_dirs));
        Value::Map(entries)
    }

    /// A text among the extra keys, such as `admin` or `os_id`.
    #[must_use]
    pub fn extra_text(&self, key: &str) -> Option<String> {
        self.extra.get(key).and_then(codec::text)
    }
}

fn text_map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_map().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|(k, v)| Some((codec::text(k)?, codec::text(v)?))).collect()
}

fn from_text_map(map: &BTreeMap<String, String>) -> Value {
    Value::Map(map.iter().map(|(k, v)| (Value::from(k.as_str()), Value::from(v.as_str()))).collect())
}
