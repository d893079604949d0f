//! The keys of `BuildmasterConfig`.

use std::collections::BTreeMap;

use buildguild_types::database_url::DatabaseUrl;
use buildguild_types::farm::{FarmConfig, OrCallable};
use buildguild_types::listen;
use serde_json::Value;

use super::builders::collapse;
use super::{Lower, describe};
use crate::diagnostic::suggest;
use crate::lang::Node;
use crate::schema::{self, GLOBAL_KEYS, KeyState, Kind, Shape};

impl Lower<'_> {
    pub(super) fn globals(&self, entries: &[(String, Node)], farm: &mut FarmConfig) {
        // Buildbot's defaults, where they are not ours.
        farm.title = "Buildbot".to_owned();
        farm.title_url = "http://buildbot.net/".to_owned();
        farm.buildbot_url = "http://localhost:8080/".to_owned();
        for (key, node) in entries {
            let Some(known) = GLOBAL_KEYS.iter().find(|k| k.name == key) else {
                let help = suggest(key, GLOBAL_KEYS.iter().map(|k| k.name));
                self.report.key(key, format!("unknown key c['{key}']"), help);
                continue;
            };
            match known.state {
                KeyState::Used => {}
                KeyState::Ignored(why) => {
                    // An empty c['status'] still says that somebody expects its pages.
                    if !is_empty(node) || key == "status" {
                        self.report.key_warning(key, format!("c['{key}'] has no effect"), Some(why.to_owned()));
                    }
                    continue;
                }
                KeyState::Deferred => {
                    if !is_empty(node) {
                        let message = format!("c['{key}'] is known to Buildbot but not available in this version");
                        self.report.key(key, message, None);
                    }
                    continue;
                }
                KeyState::Obsolete(instead) => {
                    let message = format!("c['{key}'] is from an old Buildbot");
                    self.report.key(key, message, Some(instead.to_owned()));
                    continue;
                }
            }
            if matches!(node, Node::Placeholder) {
                continue;
            }
            if !known.shape.has(shape_of(node)) && !matches!(node, Node::Null) {
                let message = format!("c['{key}'] must be {}, not {}", known.shape.describe(), describe(node));
                self.report.key(key, message, None);
                continue;
            }
            self.global(key, node, farm);
        }
        if !entries.iter().any(|(k, _)| k == "buildbotURL") {
            farm.buildbot_url = "http://localhost:8080/".to_owned();
        }
    }

    fn global(&self, key: &str, node: &Node, farm: &mut FarmConfig) {
        match (key, node) {
            ("title", Node::Str(s)) => {
                s.clone_into(&mut farm.title);
                if s.chars().count() > 18 {
                    self.report.key_warning(key, "the title is longer than 18 characters and may be cut off", None);
                }
            }
            ("titleURL", Node::Str(s)) => farm.title_url = with_slash(s),
            ("buildbotURL", Node::Str(s)) => farm.buildbot_url = with_slash(s),
            ("db", Node::Dict(entries)) => self.db(entries, farm),
            ("db_url", Node::Str(s)) => {
                self.database_url(&["db_url"], s);
                if farm.db_url.is_some() {
                    self.report.key_warning(key, "c['db_url'] overrides c['db']", None);
                }
                farm.db_url = Some(s.clone());
                self.report.key_warning(
                    key,
                    "c['db_url'] is deprecated",
                    Some("use c['db'] = {'db_url': ...}".to_owned()),
                );
            }
            ("mq", Node::Dict(entries)) => self.mq(entries),
            ("multiMaster", node) => farm.multi_master = matches!(node, Node::Bool(true) | Node::Int(1)),
            ("protocols", Node::Dict(entries)) => self.protocols(entries, farm),
            ("workers", node) => {
                farm.workers =
                    self.objects(key, node, Kind::Worker).into_iter().filter_map(|o| self.worker(o)).collect();
            }
            ("builders", node) => {
                farm.builders =
                    self.objects(key, node, Kind::Builder).into_iter().filter_map(|o| self.builder(o)).collect();
            }
            ("schedulers", node) => {
                farm.schedulers =
                    self.objects(key, node, Kind::Scheduler).into_iter().filter_map(|o| self.scheduler(o)).collect();
            }
            ("change_source", node) => {
                farm.change_sources = self
                    .objects(key, node, Kind::ChangeSource)
                    .into_iter()
                    .filter_map(|o| self.change_source(o))
                    .collect();
            }
            ("projects", node) => {
                farm.projects =
                    self.objects(key, node, Kind::Project).into_iter().filter_map(|o| self.project(o)).collect();
            }
            ("services", node) => {
                self.objects(key, node, Kind::Service);
            }
            ("www", Node::Dict(entries)) => self.www(entries, farm),
            ("properties", node) => farm.properties = self.plain_map(key, node),
            ("collapseRequests", node) => farm.collapse_requests = collapse(node),
            ("prioritizeBuilders", Node::Call(c)) => farm.prioritize_builders = Some(c.clone()),
            ("select_next_worker", Node::Call(c)) => farm.select_next_worker = Some(c.clone()),
            ("codebaseGenerator", Node::Call(c)) => farm.codebase_generator = Some(c.clone()),
            ("revlink", Node::Call(c)) => farm.revlink = Some(c.clone()),
            ("validation", Node::Dict(entries)) => self.validation(entries, farm),
            ("logCompressionLimit", Node::Int(n)) => farm.log.compression_limit_bytes = self.size(key, *n),
            ("logCompressionLimit", _) => farm.log.compression_limit_bytes = None,
            ("logCompressionMethod", Node::Str(s)) => {
                const METHODS: [&str; 6] = ["raw", "gz", "bz2", "lz4", "br", "zstd"];
                if METHODS.contains(&s.as_str()) {
                    s.clone_into(&mut farm.log.compression_method);
                } else {
                    let help = suggest(s, METHODS).or_else(|| Some(format!("use one of {}", METHODS.join(", "))));
                    self.report.key(key, format!("`{s}` is no compression method"), help);
                }
            }
            ("logMaxSize", Node::Int(n)) => farm.log.max_size_bytes = self.size(key, *n),
            ("logMaxTailSize", Node::Int(n)) => farm.log.max_tail_size_bytes = self.size(key, *n),
            ("logEncoding", Node::Str(s)) => farm.log.encoding = OrCallable::Value(s.clone()),
            ("logEncoding", Node::Call(c)) => farm.log.encoding = OrCallable::Callable(c.clone()),
            ("caches", node) => self.caches(node, farm),
            _ => {}
        }
    }

    fn size(&self, key: &str, value: i64) -> Option<u64> {
        let size = u64::try_from(value).ok();
        if size.is_none() {
            self.report.key(key, format!("c['{key}'] must not be negative"), None);
        }
        size
    }

    fn db(&self, entries: &[(Node, Node)], farm: &mut FarmConfig) {
        for (name, value) in self.known(entries, "db", &["db_url", "engine_kwargs"]) {
            match (name, value) {
                ("db_url", Node::Str(s)) => {
                    self.database_url(&["db", "db_url"], s);
                    farm.db_url = Some(s.clone());
                }
                ("db_url", other) => {
                    let message = format!("c['db']['db_url'] must be a string, not {}", describe(other));
                    self.report.nested_key(
                        &["db", "db_url"],
                        message,
                        Some("put secrets into the settings: database.url_file".to_owned()),
                    );
                }
                ("engine_kwargs", other) if !is_empty(other) => self.report.key_warning(
                    "engine_kwargs",
                    "c['db']['engine_kwargs'] has no effect",
                    Some("use the setting database.pool_size".to_owned()),
                ),
                _ => {}
            }
        }
    }

    /// Reports an address of a database that cannot be used.
    fn database_url(&self, keys: &[&str], url: &str) {
        if let Err(error) = DatabaseUrl::parse(url) {
            let name: String = keys.iter().map(|k| format!("['{k}']")).collect();
            self.report.nested_key(keys, format!("c{name}: {error}"), None);
        }
    }

    fn mq(&self, entries: &[(Node, Node)]) {
        let keys = ["type", "debug", "router_url", "realm", "wamp_debug_level"];
        for (name, value) in self.known(entries, "mq", &keys) {
            match (name, value) {
                ("type", Node::Str(kind)) if kind == "simple" => {}
                ("type", Node::Str(kind)) if kind == "wamp" => self.report.key_warning(
                    "mq",
                    "c['mq'] has no effect: no WAMP router is used",
                    Some(
                        "several masters hear of each other through the broker of the setting broker.url; without one \
                         each hears only itself, and the others' work with a delay"
                            .to_owned(),
                    ),
                ),
                ("type", other) => {
                    let what = match other {
                        Node::Str(kind) => format!("`{kind}`"),
                        other => describe(other).to_owned(),
                    };
                    self.report.nested_key(
                        &["mq", "type"],
                        format!("{what} is no type of c['mq']"),
                        Some("leave c['mq'] out; the broker is named by the setting broker.url".to_owned()),
                    );
                }
                _ => {}
            }
        }
    }

    fn protocols(&self, entries: &[(Node, Node)], farm: &mut FarmConfig) {
        for (name, value) in self.known(entries, "protocols", &["pb", "msgpack_experimental_v7", "null"]) {
            let options: &[(Node, Node)] = match value {
                Node::Dict(options) => options,
                _ => &[],
            };
            let mut port = None;
            for (k, v) in options {
                match k {
                    Node::Str(k) if k == "port" => port = Some(v),
                    other => {
                        let option = match other {
                            Node::Str(s) => s,
                            other => describe(other),
                        };
                        let message = format!("c['protocols']['{name}']['{option}'] has no effect");
                        self.report.key_warning("protocols", message, None);
                    }
                }
            }
            match port.map(Self::json) {
                Some(Ok(port @ (Value::Number(_) | Value::String(_)))) => {
                    self.port(&["protocols", name, "port"], &port);
                    let same = |other: &Value| match (listen::from_farm(other), listen::from_farm(&port)) {
                        (Ok(a), Ok(b)) => a.port() == b.port() && a.port() != 0,
                        _ => *other == port,
                    };
                    if let Some((other, _)) = farm.protocols.iter().find(|(_, p)| same(p)) {
                        let message = format!("the protocols `{other}` and `{name}` have the same port");
                        self.report.nested_key(&["protocols", name], message, None);
                    }
                    farm.protocols.insert(name.to_owned(), port);
                }
                _ if name == "null" => {}
                _ => {
                    let message = format!("c['protocols']['{name}'] needs a dict with a `port`");
                    self.report.nested_key(
                        &["protocols", name],
                        message,
                        Some("for example {'port': 9989}".to_owned()),
                    );
                }
            }
        }
    }

    /// Reports a port that cannot be listened on.
    pub(super) fn port(&self, keys: &[&str], port: &Value) {
        if let Err(error) = listen::from_farm(port) {
            let name: String = keys.iter().map(|k| format!("['{k}']")).collect();
            let help = matches!(error, listen::ListenError::Port(_) | listen::ListenError::Address(_))
                .then(|| "for example 8010, or 'tcp:8010:interface=127.0.0.1'".to_owned());
            self.report.nested_key(keys, format!("c{name}: {error}"), help);
        }
    }

    fn validation(&self, entries: &[(Node, Node)], farm: &mut FarmConfig) {
        let keys = ["branch", "revision", "property_name", "property_value"];
        for (name, value) in self.known(entries, "validation", &keys) {
            let Node::Str(pattern) = value else {
                let message = format!("c['validation']['{name}'] must be a regular expression as a string");
                self.report.nested_key(&["validation", name], message, None);
                continue;
            };
            if let Err(e) = regex::Regex::new(pattern) {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or("");
                self.report.nested_key(&["validation", name], format!("c['validation']['{name}']: {why}"), None);
                continue;
            }
            let v = &mut farm.validation;
            match name {
                "branch" => v.branch.clone_from(pattern),
                "revision" => v.revision.clone_from(pattern),
                "property_name" => v.property_name.clone_from(pattern),
                _ => v.property_value.clone_from(pattern),
            }
        }
    }

    fn caches(&self, node: &Node, farm: &mut FarmConfig) {
        let keys = ["Changes", "Builds", "chdicts", "BuildRequests", "SourceStamps", "ssdicts", "objectids", "usdicts"];
        let Node::Dict(entries) = node else {
            return;
        };
        for (name, value) in self.known(entries, "caches", &keys) {
            match value {
                Node::Int(n) if *n > 0 => {
                    farm.caches.insert(name.to_owned(), *n);
                }
                _ => {
                    let message = format!("c['caches']['{name}'] must be a positive integer");
                    self.report.nested_key(&["caches", name], message, None);
                }
            }
        }
    }

    fn plain_map(&self, key: &str, node: &Node) -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        let Node::Dict(entries) = node else {
            return out;
        };
        for (k, v) in entries {
            match (k, Self::json(v)) {
                (Node::Str(k), Ok(value)) => {
                    out.insert(k.clone(), value);
                }
                (Node::Str(k), Err(what)) => {
                    self.report.nested_key(&[key, k], format!("c['{key}']['{k}'] cannot hold {what}"), None);
                }
                _ => self.report.key(key, format!("the keys of c['{key}'] must be strings"), None),
            }
        }
        out
    }

    /// The entries of a dict whose keys are a closed list; others are reported.
    pub(super) fn known<'n>(&self, entries: &'n [(Node, Node)], of: &str, keys: &[&str]) -> Vec<(&'n str, &'n Node)> {
        let mut out = Vec::new();
        for (k, v) in entries {
            match k {
                Node::Str(name) if keys.contains(&name.as_str()) => out.push((name.as_str(), v)),
                Node::Str(name) => {
                    let help = suggest(name, keys.iter().copied());
                    self.report.nested_key(&[of, name], format!("unknown key c['{of}']['{name}']"), help);
                }
                _ => self.report.key(of, format!("the keys of c['{of}'] must be strings"), None),
            }
        }
        out
    }
}

fn with_slash(url: &str) -> String {
    if url.ends_with('/') { url.to_owned() } else { format!("{url}/") }
}

fn is_empty(node: &Node) -> bool {
    match node {
        Node::Null | Node::Placeholder | Node::Bool(false) => true,
        Node::List(items) => items.iter().all(|i| matches!(i, Node::Placeholder)),
        Node::Dict(entries) => entries.is_empty(),
        Node::Bool(true)
        | Node::Int(_)
        | Node::Float(_)
        | Node::Str(_)
        | Node::Object(_)
        | Node::Call(_)
        | Node::Other(_) => false,
    }
}

/// The shape of a node.
pub(super) fn shape_of(node: &Node) -> Shape {
    match node {
        Node::Null => schema::NONE,
        // 0 and 1 are taken for False and True.
        Node::Int(0 | 1) => schema::INT | schema::BOOL,
        Node::Bool(_) => schema::BOOL,
        Node::Int(_) => schema::INT,
        Node::Float(_) => schema::FLOAT,
        Node::Str(_) => schema::STR,
        Node::List(_) => schema::LIST,
        Node::Dict(_) => schema::DICT,
        Node::Object(o) if o.class.kind == Kind::Renderable => schema::REND,
        Node::Object(_) => schema::OBJ,
        Node::Call(_) => schema::CALL,
        Node::Placeholder => schema::ANY,
        Node::Other(_) => Shape(0),
    }
}
