//! Every setting: its key, its default, what it is for. `effective()` and the manual list them from
//! here.

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// As it is.
    Plain,
    /// Without the password of a URL.
    Url,
    /// Not at all.
    Hidden,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The default as text; empty for "not set".
    pub(super) default: &'static str,
    pub(super) show: Show,
    /// Whether a file may write its values as a list; a text has commas between them.
    pub(super) is_list: bool,
    pub(super) doc: &'static str,
}

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, show: Show::Plain, is_list: false, doc }
}

const fn url(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, show: Show::Url, is_list: false, doc }
}

const fn hidden(name: &'static str, doc: &'static str) -> Key {
    Key { name, default: "", show: Show::Hidden, is_list: false, doc }
}

const fn list(name: &'static str, doc: &'static str) -> Key {
    Key { name, default: "", show: Show::Plain, is_list: true, doc }
}

/// All settings, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    key("master.name", "", "name of this replica in the cluster; the host name and the master's directory if not set"),
    key("farm.config_file", "master.cfg", "the farm config, relative to the master's directory"),
    hidden("farm.storage_key", "key that encrypts the stored versions of the farm config"),
    key("farm.storage_key_file", "", "file that holds farm.storage_key"),
    url("database.url", "", "sqlite:///file or postgres://user@host/name; c['db'] of the farm config if not set"),
    key("database.url_file", "", "file that holds database.url"),
    key("database.pool_size", "10", "connections of each kind: reads and writes, of this replica and of its clients"),
    key("database.connect_timeout", "30s", "how long to wait for a connection"),
    url("broker.url", "memory:", "memory:, redis://, rediss://, redis+sentinel://, amqp:// or amqps://"),
    key("broker.url_file", "", "file that holds broker.url"),
    key("broker.ca_file", "", "certificates that the broker's may come from, in PEM; the system's if not set"),
    key("broker.retained_events", "65536", "events kept for readers that were away (memory, Redis)"),
    key("broker.retained_mb", "256", "MiB of events kept for readers that were away, at most (Redis: about)"),
    key("web.listen", "", "address of the web server; c['www']['port'] of the farm config if not set"),
    key("web.static_dir", "", "directory of a user interface to serve instead of the built-in page"),
    key("web.max_request_mb", "8", "the largest body of a request, in MiB"),
    key(
        "web.max_connections_per_address",
        "1024",
        "connections, and besides event streams, of one client; 0: any number",
    ),
    key("web.requests_per_second", "200", "of one client, in the mean over ten seconds; 0: any number"),
    list(
        "web.trusted_proxies",
        "addresses and ranges of proxies that may say who their clients are; a list, or a text with commas",
    ),
    key("worker.listen", "", "address for workers; c['protocols'] of the farm config if not set"),
    key("cluster.check_in_interval", "5s", "how often a master shows that it lives"),
    key("cluster.expire_after", "20s", "how long a silent master is believed alive"),
    key("cluster.rescan_interval", "10s", "how often the database is searched for what a lost hint would have told"),
    key("shutdown.drain_timeout", "60s", "how long running builds may go on after SIGTERM"),
    key("telemetry.log_format", "text", "text or json"),
    key("telemetry.log_level", "info", "a level, or directives such as info,buildguild_engine=debug"),
    key("evaluator.processes", "2", "processes that evaluate the farm config's functions"),
    key("evaluator.call_timeout", "10s", "how long one function may take"),
    key("evaluator.load_timeout", "60s", "how long loading the farm config may take"),
    key("evaluator.memory_limit_mb", "512", "address space of one evaluator process, in MiB"),
];
