//! A worker's directory: `worker.toml` and what it says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::address::{AddressError, MasterAddress};

/// The configuration's file name in the worker's directory.
pub(crate) const FILE_NAME: &str = "worker.toml";

/// What is wrong with a worker's directory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no worker's directory.
    #[error("{path}: {source}; is this a worker's directory, made by \"buildguild-worker create-worker\"?")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not what is expected.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<toml::de::Error>,
    },
    /// The master's address cannot be understood.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A value that makes no sense.
    #[error("{0}")]
    Value(String),
}

/// What makes the worker leave when its work is done, beside SIGHUP, which always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownBy {
    /// SIGHUP.
    Signal,
    /// A change of the file `shutdown.stamp` in the worker's directory.
    File,
}

/// The content of `worker.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// The master's address, see [`MasterAddress`].
    pub master: String,
    /// The worker's name.
    pub name: String,
    /// The password. Either this or `password_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A file that holds the password, relative to the worker's directory; a newline at its end does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Use TLS to the master, also without `wss://`.
    #[serde(default)]
    pub use_tls: bool,
    /// A PEM file with the authority that signed the master's certificate, beside those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// Seconds of silence after which the master is asked for a sign of life; 0 to not ask.
    #[serde(default = "default_keepalive")]
    pub keepalive: u64,
    /// The most seconds between attempts to connect.
    #[serde(default = "default_maxdelay")]
    pub maxdelay: u64,
    /// End after that many failed attempts in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxretries: Option<u32>,
    /// The permission bits that new files do not get, in octal, such as "022".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// The number of processors to tell the master; found out if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numcpus: Option<u32>,
    /// What makes the worker leave when its work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_shutdown: Option<ShutdownBy>,
    /// Let the master delete directories that belong to none of its builders.
    #[serde(default)]
    pub delete_leftover_dirs: bool,
    /// The size in bytes at which the log file is rotated; 0 for never.
    #[serde(default = "default_log_size")]
    pub log_size: u64,
    /// How many old log files are kept.
    #[serde(default = "default_log_count")]
    pub log_count: u32,
}

fn default_keepalive() -> u64 {
    30
}

fn default_maxdelay() -> u64 {
    300
}

fn default_log_size() -> u64 {
    10_000_000
}

fn default_log_count() -> u32 {
    10
}

impl WorkerConfig {
    /// A configuration with default values.
    #[must_use]
    pub fn new(master: impl Into<String>, name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            master: master.into(),
            name: name.into(),
            password: Some(password.into()),
            password_file: None,
            use_tls: false,
            tls_ca_file: None,
            keepalive: default_keepalive(),
            maxdelay: default_maxdelay(),
            maxretries: None,
            umask: None,
            numcpus: None,
            allow_shutdown: None,
            delete_leftover_dirs: false,
            log_size: default_log_size(),
            log_count: default_log_count(),
        }
    }

    /// Reads a worker's directory.
    ///
    /// # Errors
    /// If the file is missing or wrong.
    pub fn load(basedir: &Path) -> Result<Self, ConfigError> {
        let path = basedir.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let mut config: Self =
            toml::from_str(&text).map_err(|source| ConfigError::Parse { path, source: Box::new(source) })?;
        if config.password.is_none() {
            let Some(file) = &config.password_file else {
                return Err(ConfigError::Value("neither password nor password_file is given".to_owned()));
            };
            let path = basedir.join(file);
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?;
            config.password = Some(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// If a value makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.address()?;
        self.umask_bits()?;
        if self.name.is_empty() || self.name.contains(':') {
            return Err(ConfigError::Value(format!("worker name \"{}\" is empty or has a colon", self.name)));
        }
        Ok(())
    }

    /// The master's address.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn address(&self) -> Result<MasterAddress, ConfigError> {
        let mut address: MasterAddress = self.master.parse()?;
        address.tls |= self.use_tls;
        Ok(address)
    }

    /// The umask.
    ///
    /// # Errors
    /// If it is no octal number of at most 0o777.
    pub fn umask_bits(&self) -> Result<Option<u32>, ConfigError> {
        let Some(text) = &self.umask else { return Ok(None) };
        let digits = text.trim_start_matches("0o");
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Some(bits)),
            _ => Err(ConfigError::Value(format!("umask \"{text}\" is no octal number up to 777"))),
        }
    }

    pub(crate) fn keepalive(&self) -> Option<Duration> {
        (self.keepalive > 0).then(|| Duration::from_secs(self.keepalive))
    }
}
