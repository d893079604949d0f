//! The files and inputs of one version of a farm config.
//!
//! A config is hermetic: the same files and the same values of the `env()` and `read_file()` inputs
//! that it declares give the same farm. A bundle holds exactly those, and its hash is the identity of
//! the version. What a config declares is only known by evaluating it, so the evaluator says what it
//! misses and the master fetches it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use buildguild_types::farm::ConfigHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The largest file that a config may consist of or read.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Where a farm config is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarmSource {
    /// The directory that `load()` and `read_file()` are relative to and cannot leave.
    pub basedir: PathBuf,
    /// The main file, relative to it.
    pub main: String,
}

impl FarmSource {
    /// A config in a directory.
    pub fn new(basedir: impl Into<PathBuf>, main: impl Into<String>) -> Self {
        Self { basedir: basedir.into(), main: main.into() }
    }

    /// Fetches what an evaluator misses.
    pub(crate) fn fetch(&self, bundle: &mut FarmBundle, missing: &Missing) {
        for name in &missing.files {
            bundle.files.insert(name.clone(), self.read(name));
        }
        for name in &missing.reads {
            bundle.reads.insert(name.clone(), self.read(name));
        }
        for name in &missing.env {
            bundle.env.insert(name.clone(), std::env::var(name).ok());
        }
    }

    /// A file's text, or why it cannot be had.
    fn read(&self, name: &str) -> Input {
        let relative = Path::new(name);
        if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Input::Failed("the path must stay inside the config's directory".to_owned());
        }
        let path = self.basedir.join(relative);
        // Symbolic links may not lead out either.
        let inside = path.canonicalize().and_then(|p| Ok(p.starts_with(self.basedir.canonicalize()?)));
        match inside {
            Err(e) => return Input::Failed(describe_io(&e)),
            Ok(false) => return Input::Failed("the path leads out of the config's directory".to_owned()),
            Ok(true) => {}
        }
        match std::fs::metadata(&path) {
            Ok(m) if m.len() > MAX_FILE_BYTES => {
                return Input::Failed(format!("the file is larger than {MAX_FILE_BYTES} bytes"));
            }
            Err(e) => return Input::Failed(describe_io(&e)),
            Ok(_) => {}
        }
        match std::fs::read(&path) {
            Err(e) => Input::Failed(describe_io(&e)),
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Input::Text(text),
                Err(_) => Input::Failed("the file is not UTF-8".to_owned()),
            },
        }
    }
}

/// The same failure must give the same text on every replica, so no path and no OS number.
fn describe_io(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        kind => kind.to_string(),
    }
}

/// A file that a config consists of or reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Its text.
    Text(String),
    /// Why it cannot be had.
    Failed(String),
}

/// Everything that one version of a farm config consists of: enough to load it on any replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarmBundle {
    /// The main file's name.
    pub main: String,
    /// The main file and those that `load()` names.
    pub files: BTreeMap<String, Input>,
    /// Environment variables that `env()` names.
    pub env: BTreeMap<String, Option<String>>,
    /// Files that `read_file()` names.
    pub reads: BTreeMap<String, Input>,
}

impl FarmBundle {
    /// A bundle with nothing but a main file, for tests and for configs of one file.
    pub fn single(main: impl Into<String>, text: impl Into<String>) -> Self {
        let main = main.into();
        let files = BTreeMap::from([(main.clone(), Input::Text(text.into()))]);
        Self { main, files, ..Self::default() }
    }

    /// The identity of this version: a hash of all of it.
    pub fn hash(&self) -> ConfigHash {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(b"buildguild farm 1");
        part(self.main.as_bytes());
        for (kind, map) in [(b"file", &self.files), (b"read", &self.reads)] {
            for (name, input) in map {
                part(kind);
                part(name.as_bytes());
                match input {
                    Input::Text(text) => part(text.as_bytes()),
                    Input::Failed(why) => {
                        part(b"failed");
                        part(why.as_bytes());
                    }
                }
            }
        }
        for (name, value) in &self.env {
            part(b"env");
            part(name.as_bytes());
            part(if value.is_some() { b"set" } else { b"unset" });
            part(value.as_deref().unwrap_or("").as_bytes());
        }
        let hex: String = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
        ConfigHash(hex)
    }
}

/// What an evaluation needs and was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) files: BTreeSet<String>,
    pub(crate) reads: BTreeSet<String>,
    pub(crate) env: BTreeSet<String>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.reads.is_empty() && self.env.is_empty()
    }
}
