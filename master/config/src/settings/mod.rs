//! Settings: how this replica runs. Defaults, then `buildguild.toml`, then environment variables
//! `BUILDGUILD__SECTION__KEY`; a later source wins. A key that nobody knows is an error, so that a
//! slip of the pen does not silently leave a default in force.

mod keys;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Source as _;

use self::keys::{KEYS, Key, Show};
pub use self::secret::Secret;
use crate::diagnostic::suggest;

/// The prefix of environment variables that are settings.
pub const ENV_PREFIX: &str = "BUILDGUILD__";

/// A master that does something for its cluster more often does nothing else.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// What is wrong with the settings. All problems are reported together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read or parsed.
    #[error("read {path}: {source}")]
    File {
        /// The settings file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: config::ConfigError,
    },
    /// The sources cannot be combined.
    #[error("combine the settings")]
    Combine(#[source] config::ConfigError),
    /// Unknown keys, bad values: one line each.
    #[error("use the settings:\n{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "from", content = "detail")]
pub enum Origin {
    /// Built in.
    Default,
    /// A settings file, or the file that a `..._file` setting names.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Env(name) => write!(f, "env {name}"),
        }
    }
}

/// One line of [`Settings::effective`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EffectiveSetting {
    /// `section.key`.
    pub key: String,
    /// The value in force; secrets are `***`, "not set" is empty.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is for.
    pub description: String,
}

/// How this master replica runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// `master.*`
    pub master: MasterSettings,
    /// `farm.*`
    pub farm: FarmSettings,
    /// `database.*`
    pub database: DatabaseSettings,
    /// `broker.*`
    pub broker: BrokerSettings,
    /// `web.listen`: overrides the farm config's `c['www']['port']`.
    pub web_listen: Option<String>,
    /// `web.static_dir`: a user interface to serve instead of the built-in page, relative to the base directory.
    pub web_static_dir: Option<PathBuf>,
    /// `web.*`, but for the address.
    pub web: WebSettings,
    /// `worker.listen`: overrides the farm config's `c['protocols']`.
    pub worker_listen: Option<String>,
    /// `cluster.*`
    pub cluster: ClusterSettings,
    /// `shutdown.drain_timeout`
    pub drain_timeout: Duration,
    /// `telemetry.*`
    pub telemetry: TelemetrySettings,
    /// `evaluator.*`
    pub evaluator: EvaluatorSettings,
    effective: Vec<EffectiveSetting>,
}

/// `master.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MasterSettings {
    /// Name of this replica in the cluster.
    pub name: String,
}

/// `farm.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FarmSettings {
    /// The farm config, relative to the base directory.
    pub config_file: PathBuf,
    /// Key that encrypts stored config versions.
    pub storage_key: Option<Secret>,
}

/// `database.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatabaseSettings {
    /// The URL, if set here; otherwise the farm config's `c['db']` says it.
    pub url: Option<Secret>,
    /// Connections of this replica.
    pub pool_size: u32,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
}

/// `broker.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrokerSettings {
    /// `memory:`, `redis://...`, `amqp://...` and their kin.
    pub url: Secret,
    /// A file with the authorities that the broker's certificate may come from, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Events that the log keeps, where it counts events.
    pub retained_events: usize,
    /// Bytes that the log keeps, where it counts bytes.
    pub retained_bytes: u64,
}

/// `web.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebSettings {
    /// The largest body of a request, in bytes.
    pub max_request_bytes: usize,
    /// Connections, and besides event streams, per client address; 0: any number.
    pub max_connections_per_address: usize,
    /// Requests per second and client address; 0: any number.
    pub requests_per_second: u32,
    /// Addresses and ranges of proxies.
    pub trusted_proxies: Vec<String>,
}

/// `cluster.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterSettings {
    /// How often a master shows that it lives.
    pub check_in_interval: Duration,
    /// How long a silent master is believed alive.
    pub expire_after: Duration,
    /// How often the database is searched for what a lost hint would have told.
    pub rescan_interval: Duration,
}

/// `telemetry.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TelemetrySettings {
    /// The form of log lines.
    pub log_format: LogFormat,
    /// A level or directives for the filter.
    pub log_level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `evaluator.*`
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EvaluatorSettings {
    /// How many processes.
    pub processes: usize,
    /// How long one function may take.
    pub call_timeout: Duration,
    /// How long loading the farm config may take.
    pub load_timeout: Duration,
    /// Address space of one process, in bytes.
    pub memory_limit_bytes: u64,
}

impl Settings {
    /// Reads `file` (if given, it must exist) and the environment. `basedir` is the master's directory, which names the
    /// master unless a setting does.
    ///
    /// # Errors
    /// Every unknown key and bad value, together.
    pub fn load(
        basedir: &Path,
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let mut values: BTreeMap<&'static str, (String, Origin)> = BTreeMap::new();
        let mut in_file = BTreeSet::new();
        let mut builder = config::Config::builder();
        for key in KEYS.iter().filter(|k| !k.default.is_empty()) {
            builder = builder.set_default(key.name, key.default).map_err(SettingsError::Combine)?;
        }
        if let Some(path) = file {
            let source = config::File::new(&path.to_string_lossy(), config::FileFormat::Toml);
            let map = source.collect().map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
            for (name, _) in flatten("", map) {
                check_known(&name, &format!("{}: ", path.display()), &name, &mut problems);
                in_file.insert(name);
            }
            builder = builder.add_source(source);
        }
        let env = own_variables(env, &mut problems);
        builder = builder.add_source(
            config::Environment::with_prefix("BUILDGUILD")
                .prefix_separator("__")
                .separator("__")
                .source(Some(env.clone().into_iter().collect())),
        );
        let combined = builder.build().map_err(SettingsError::Combine)?;
        for key in KEYS {
            let Ok(value) = combined.get::<config::Value>(key.name) else {
                continue;
            };
            let variable = env_name(key.name);
            let origin = if env.contains_key(&variable) {
                Origin::Env(variable)
            } else if in_file.contains(key.name) {
                Origin::File(file.map(Path::to_owned).unwrap_or_default())
            } else {
                Origin::Default
            };
            match text_of(key, value) {
                Ok(text) => {
                    values.insert(key.name, (text, origin));
                }
                Err(what) => problems.push(format!("{}: must be {what}", key.name)),
            }
        }
        let reader = Reader { values, problems, base: file.and_then(Path::parent).map(Path::to_owned) };
        reader.finish(basedir)
    }

    /// Every setting with the value in force and where it comes from; secrets are hidden.
    pub fn effective(&self) -> &[EffectiveSetting] {
        &self.effective
    }
}

/// The environment variable of a key.
fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The variables that are settings, with unknown ones reported.
fn own_variables(
    env: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let key = rest.replace("__", ".").to_lowercase();
        if check_known(&key, "environment: ", &name, problems) {
            own.insert(name, value);
        }
    }
    own
}

fn check_known(key: &str, prefix: &str, shown: &str, problems: &mut Vec<String>) -> bool {
    if KEYS.iter().any(|k| k.name == key) {
        return true;
    }
    let mut line = format!("{prefix}unknown setting `{shown}`");
    if let Some(hint) = suggest(key, KEYS.iter().map(|k| k.name)) {
        line.push_str("; ");
        line.push_str(&hint);
    }
    problems.push(line);
    false
}

/// A table's leaves as dotted keys.
fn flatten(prefix: &str, map: config::Map<String, config::Value>) -> Vec<(String, config::Value)> {
    let mut out = Vec::new();
    for (name, value) in map {
        let full = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.clone().into_table() {
            Ok(table) => out.extend(flatten(&full, table)),
            Err(_) => out.push((full, value)),
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// Turns texts into typed settings, collecting problems.
struct Reader {
    values: BTreeMap<&'static str, (String, Origin)>,
    problems: Vec<String>,
    base: Option<PathBuf>,
}

impl Reader {
    fn text(&self, key: &str) -> Option<String> {
        self.values.get(key).map(|(v, _)| v.clone()).filter(|v| !v.is_empty())
    }

    /// A setting whose value a file may hold: `key_file` names it.
    fn read_secret(&mut self, key: &'static str, file_key: &'static str) {
        let Some(path) = self.text(file_key) else {
            return;
        };
        let path = self.beside_the_file(&path);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                self.values.insert(key, (text.trim().to_owned(), Origin::File(path)));
            }
            Err(e) => self.problems.push(format!("{file_key}: read {}: {e}", path.display())),
        }
    }

    /// Relative to the settings file, as the settings file is what names it.
    fn beside_the_file(&self, path: &str) -> PathBuf {
        self.base.as_deref().unwrap_or(Path::new("")).join(path)
    }

    fn parse<T>(&mut self, key: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.problems.push(format!("{key}: `{text}` is not {what}"));
        }
        parsed
    }

    fn duration(&mut self, key: &str) -> Duration {
        self.parse(key, "a duration such as 5s, 250ms or 2m", parse_duration).unwrap_or_default()
    }

    fn number<T: std::str::FromStr>(&mut self, key: &str) -> Option<T> {
        self.parse(key, "a number in range", |t| t.parse().ok())
    }

    fn finish(mut self, basedir: &Path) -> Result<Settings, SettingsError> {
        self.read_secret("database.url", "database.url_file");
        self.read_secret("broker.url", "broker.url_file");
        self.read_secret("farm.storage_key", "farm.storage_key_file");
        let log_format = self.parse("telemetry.log_format", "`text` or `json`", |t| match t {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        });
        let name = self.text("master.name").unwrap_or_else(|| default_name(basedir));
        self.values.entry("master.name").or_insert((name.clone(), Origin::Default));
        let settings = Settings {
            master: MasterSettings { name },
            farm: FarmSettings {
                config_file: self.text("farm.config_file").unwrap_or_default().into(),
                storage_key: self.text("farm.storage_key").map(Secret::from),
            },
            database: DatabaseSettings {
                url: self.text("database.url").map(Secret::from),
                pool_size: self.number("database.pool_size").unwrap_or(10),
                connect_timeout: self.duration("database.connect_timeout"),
            },
            broker: BrokerSettings {
                url: Secret::new(self.text("broker.url").unwrap_or_default()),
                ca_file: self.text("broker.ca_file").map(|path| self.beside_the_file(&path)),
                retained_events: self.number("broker.retained_events").unwrap_or(65_536usize).max(1),
                retained_bytes: self
                    .number::<u64>("broker.retained_mb")
                    .unwrap_or(256)
                    .max(1)
                    .saturating_mul(1024 * 1024),
            },
            web_listen: self.text("web.listen"),
            web_static_dir: self.text("web.static_dir").map(PathBuf::from),
            web: WebSettings {
                max_request_bytes: self.number::<usize>("web.max_request_mb").unwrap_or(8).saturating_mul(1024 * 1024),
                max_connections_per_address: self.number("web.max_connections_per_address").unwrap_or_default(),
                requests_per_second: self.number("web.requests_per_second").unwrap_or_default(),
                trusted_proxies: list(&self.text("web.trusted_proxies").unwrap_or_default()),
            },
            worker_listen: self.text("worker.listen"),
            cluster: ClusterSettings {
                check_in_interval: self.duration("cluster.check_in_interval"),
                expire_after: self.duration("cluster.expire_after"),
                rescan_interval: self.duration("cluster.rescan_interval"),
            },
            drain_timeout: self.duration("shutdown.drain_timeout"),
            telemetry: TelemetrySettings {
                log_format: log_format.unwrap_or(LogFormat::Text),
                log_level: self.text("telemetry.log_level").unwrap_or_default(),
            },
            evaluator: EvaluatorSettings {
                processes: self.number("evaluator.processes").unwrap_or(2usize).max(1),
                call_timeout: self.duration("evaluator.call_timeout"),
                load_timeout: self.duration("evaluator.load_timeout"),
                memory_limit_bytes: self
                    .number::<u64>("evaluator.memory_limit_mb")
                    .unwrap_or(512)
                    .saturating_mul(1024 * 1024),
            },
            effective: KEYS.iter().map(|k| effective(k, &self.values)).collect(),
        };
        let cluster = &settings.cluster;
        let intervals =
            [("check_in_interval", cluster.check_in_interval), ("rescan_interval", cluster.rescan_interval)];
        // What cannot be read has no length.
        let is_readable = self.problems.is_empty();
        for (name, _) in intervals.iter().filter(|(_, interval)| is_readable && *interval < SHORTEST_INTERVAL) {
            self.problems.push(format!("cluster.{name}: must be at least {SHORTEST_INTERVAL:?}"));
        }
        if is_readable && cluster.expire_after < cluster.check_in_interval * 3 {
            // A master stops by itself one interval before it, and has to check in before that.
            self.problems.push(
                "cluster.expire_after: must be at least three times cluster.check_in_interval, or living masters stop"
                    .to_owned(),
            );
        }
        if self.problems.is_empty() { Ok(settings) } else { Err(SettingsError::Invalid(self.problems)) }
    }
}

/// A setting as text; else what it must be. A file may write those with several values as a list.
fn text_of(key: &Key, value: config::Value) -> Result<String, &'static str> {
    if !key.is_list {
        return value.into_string().map_err(|_| "a single value");
    }
    let what = "a list of texts, or one text with commas between them";
    match value.kind {
        config::ValueKind::String(text) => Ok(text),
        config::ValueKind::Array(parts) => {
            let parts = parts.into_iter().map(|part| match part.kind {
                config::ValueKind::String(text) if !text.contains(',') => Ok(text),
                _ => Err(what),
            });
            Ok(parts.collect::<Result<Vec<String>, _>>()?.join(","))
        }
        _ => Err(what),
    }
}

/// The parts of a comma-separated list.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn effective(key: &Key, values: &BTreeMap<&'static str, (String, Origin)>) -> EffectiveSetting {
    let (value, origin) = values.get(key.name).cloned().unwrap_or((String::new(), Origin::Default));
    let value = match key.show {
        Show::Plain => value,
        Show::Url => secret::redact_url(&value),
        Show::Hidden if value.is_empty() => value,
        Show::Hidden => "***".to_owned(),
    };
    EffectiveSetting { key: key.name.to_owned(), value, origin, description: key.doc.to_owned() }
}

/// `host:basedir`, as Buildbot names its masters.
fn default_name(basedir: &Path) -> String {
    let host =
        nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_else(|| "localhost".to_owned());
    format!("{host}:{}", basedir.display())
}

/// `250ms`, `5s`, `2m`, `1h`, or a number of seconds.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;
