//! A web server on a free port with a small fixed farm behind it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod sse;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use broker_adapters::{EventHub, EventLog, HubOptions, memory::MemoryLog};
use buildguild_data::event_streams::EventStreams;
use buildguild_db::test_support::TestDb;
use buildguild_types::{
    control::{BuildRef, ControlAction, ControlCall, ControlError},
    event::{Event, EventKey},
    farm::FarmConfig,
    spec::ResultSpec,
};
use buildguild_web::{Answer, Backend, ReadError, WebOptions, WebParts, WebServer};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use worker_protocol::WorkerAcceptor;

/// A few builders, a log, the builds that a test makes, and a record of the control calls.
#[derive(Default)]
pub(crate) struct Farm {
    pub(crate) builds: Arc<Mutex<BTreeMap<String, Value>>>,
    /// The log with the id 7.
    pub(crate) log: Mutex<FarmLog>,
    pub(crate) calls: Mutex<Vec<ControlCall>>,
    /// How many changes there are.
    pub(crate) changes: AtomicU64,
    /// How many reads there were.
    pub(crate) reads: watch::Sender<usize>,
    /// How many reads are under way.
    pub(crate) reading: watch::Sender<usize>,
    /// Reads go on, with what was there when they began, when it is not closed.
    pub(crate) is_closed: watch::Sender<bool>,
}

/// A read, until it has its answer or is dropped.
struct Reading<'a>(&'a Farm);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.send_modify(|reading| *reading -= 1);
    }
}

/// A log that grows.
#[derive(Default)]
pub(crate) struct FarmLog {
    pub(crate) lines: Vec<String>,
    pub(crate) is_complete: bool,
}

impl FarmLog {
    fn get(&self) -> Value {
        json!({ "logid": 7, "num_lines": self.lines.len(), "complete": self.is_complete })
    }

    fn contents(&self, spec: &ResultSpec) -> Value {
        let first = spec.offset.unwrap_or(0) as usize;
        let limit = spec.limit.unwrap_or(u64::MAX) as usize;
        let content: String = self.lines.iter().skip(first).take(limit).map(|line| format!("{line}\n")).collect();
        json!({ "logid": 7, "firstline": first, "content": content })
    }
}

fn builders() -> Vec<Value> {
    ["tests", "compile", "slow", "deploy prod"]
        .iter()
        .zip(1..)
        .map(|(name, id)| json!({ "builderid": id, "name": name, "tags": [] }))
        .collect()
}

#[async_trait]
impl Backend for Farm {
    async fn get(&self, path: &[&str], spec: &ResultSpec) -> Result<Answer, ReadError> {
        let changes = self.changes.load(Ordering::SeqCst);
        self.reads.send_modify(|reads| *reads += 1);
        self.reading.send_modify(|reading| *reading += 1);
        let _reading = Reading(self);
        self.is_closed.subscribe().wait_for(|is_closed| !is_closed).await.expect("the farm is there");
        let items = |items: Vec<Value>, total| Ok(Answer::Items { plural: "builders", items, total });
        match path {
            [] => Ok(Answer::Items { plural: "rootlinks", items: vec![json!({ "name": "builders" })], total: Some(1) }),
            ["application.spec"] => Ok(Answer::Items { plural: "specs", items: vec![], total: Some(0) }),
            ["builders"] => {
                let known = ["builderid", "name", "tags"];
                if let Some(filter) = spec.filters.iter().find(|filter| !known.contains(&filter.field.as_str())) {
                    return Err(ReadError::BadQuery(format!("unrecognized query parameter '{}'", filter.field)));
                }
                let mut found = builders();
                for item in &mut found {
                    let item = item.as_object_mut().expect("an object");
                    item.retain(|name, _| spec.fields.is_empty() || spec.fields.contains(name));
                }
                items(found, Some(4))
            }
            ["builders", name] => {
                match builders()
                    .into_iter()
                    .find(|b| b["name"] == *name || b["builderid"].as_i64() == name.parse().ok())
                {
                    Some(builder) => items(vec![builder], None),
                    None => Err(ReadError::NotFound(format!("builder '{name}'"))),
                }
            }
            ["logs", "1", kind @ ("raw" | "raw_inline")] => Ok(Answer::Raw {
                mime_type: "text/plain; charset=utf-8".to_owned(),
                filename: (*kind == "raw").then(|| "compile_build_1_step_configure_log_stdio".to_owned()),
                tag: (*kind == "raw").then(|| "log1-1000".to_owned()),
                body: stream::iter((0..1000).map(|n| Ok(Bytes::from(format!("line {n}\n"))))).boxed(),
            }),
            ["changes"] => Ok(Answer::Items { plural: "changes", items: vec![], total: Some(changes) }),
            ["logs", "7"] => {
                let item = self.log.lock().expect("no panic").get();
                Ok(Answer::Items { plural: "logs", items: vec![item], total: None })
            }
            ["logs", "7", "contents"] => {
                let item = self.log.lock().expect("no panic").contents(spec);
                Ok(Answer::Items { plural: "logchunks", items: vec![item], total: None })
            }
            ["builds"] => {
                let builds: Vec<Value> = self.builds.lock().expect("no panic").values().cloned().collect();
                Ok(Answer::Items { plural: "builds", total: Some(builds.len() as u64), items: builds })
            }
            ["builds", id] => Ok(Answer::Items {
                plural: "builds",
                items: vec![json!({ "buildid": id, "builderid": 4, "buildrequestid": 7 })],
                total: None,
            }),
            ["buildrequests", "7"] => {
                Ok(Answer::Items { plural: "buildrequests", items: vec![json!({ "buildsetid": 8 })], total: None })
            }
            ["buildsets", "8", "properties"] => Ok(Answer::Items {
                plural: "_properties",
                items: vec![json!({ "owner": ["dev", "Force Build Form"] })],
                total: None,
            }),
            ["broken"] => Err(ReadError::Internal("secret detail".into())),
            ["away"] => Err(ReadError::Unavailable("secret detail".into())),
            _ => Err(ReadError::NoSuchPath(path.join("/"))),
        }
    }

    async fn control(&self, call: ControlCall) -> Result<Value, ControlError> {
        let result = match &call.action {
            ControlAction::Force { scheduler, values } if scheduler == "force-slow" => match values.get("label") {
                Some(_) => Ok(json!([13, { "3": 13 }])),
                None => Err(ControlError::InvalidForce(
                    [("label".to_owned(), "'Label' needs to be specified".to_owned())].into(),
                )),
            },
            ControlAction::StopBuild { build: BuildRef::Id(id), .. } if id.0 == 999 => {
                Err(ControlError::NotFound("build 999".to_owned()))
            }
            _ => Ok(Value::Null),
        };
        self.calls.lock().expect("no panic").push(call);
        result
    }

    async fn has_database(&self) -> bool {
        true
    }
}

/// A running server.
pub(crate) struct Server {
    /// What replicas share.
    pub(crate) cluster: Cluster,
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) hub: EventHub,
    pub(crate) farm: Arc<Farm>,
    pub(crate) config: watch::Sender<Arc<FarmConfig>>,
    pub(crate) client: reqwest::Client,
    shutdown: CancellationToken,
    server: WebServer,
}

/// What the replicas of a cluster share: an event log and a database.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) db: Arc<TestDb>,
    pub(crate) builds: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Cluster {
    pub(crate) async fn new(log: MemoryLog) -> Self {
        Self { log: Arc::new(log), db: Arc::new(TestDb::sqlite().await.expect("a database")), builds: Arc::default() }
    }
}

/// How a test differs from the usual.
pub(crate) struct Setup {
    /// The cluster it belongs to; one of its own without.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) config: FarmConfig,
    pub(crate) options: WebOptions,
    pub(crate) hub: HubOptions,
    pub(crate) listen: &'static str,
    pub(crate) workers: Option<Arc<dyn WorkerAcceptor>>,
}

impl Default for Setup {
    fn default() -> Self {
        let mut options = WebOptions::default();
        options.threads = 1;
        Self {
            cluster: None,
            config: FarmConfig::default(),
            options,
            hub: HubOptions::default(),
            listen: "127.0.0.1:0",
            workers: None,
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let cluster = match setup.cluster {
            Some(cluster) => cluster,
            None => Cluster::new(MemoryLog::default()).await,
        };
        let log = Arc::clone(&cluster.log);
        let shutdown = CancellationToken::new();
        let (hub, _task) = EventHub::start(log.clone(), setup.hub, CancellationToken::new()).await;
        let farm = Arc::new(Farm { builds: Arc::clone(&cluster.builds), ..Farm::default() });
        let (config, watched) = watch::channel(Arc::new(setup.config));
        let server = WebServer::start(WebParts {
            listen: vec![setup.listen.parse().expect("an address")],
            backend: farm.clone(),
            hub: hub.clone(),
            streams: EventStreams::new(cluster.db.db.clone(), log.clone()),
            farm: watched,
            workers: setup.workers,
            metrics: prometheus::Registry::new(),
            session_key: b"a key for tests".to_vec(),
            options: setup.options,
            shutdown: shutdown.clone(),
        })
        .expect("starts");
        let port = server.addresses()[0].port();
        // The client is built without a default; another test of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        Self { cluster, address: ([127, 0, 0, 1], port).into(), log, hub, farm, config, client, shutdown, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).header("Accept", "application/json").send().await.expect("answers")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).header("Content-Type", "application/json");
        let response = request.body(body.to_string()).send().await.expect("answers");
        let status = response.status().as_u16();
        (status, json_of(response).await)
    }

    pub(crate) async fn publish(&self, keys: &[&str], body: &Value) {
        let keys = keys.iter().map(|key| EventKey::from(*key)).collect();
        self.log.publish(vec![Event::new(keys, body).expect("JSON")]).await.expect("publishes");
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        // Open streams do not keep it: it waits five seconds for connections that do not end.
        tokio::time::timeout(Duration::from_secs(4), self.server.stopped()).await.expect("in time").expect("no error");
    }
}

pub(crate) async fn json_of(response: reqwest::Response) -> Value {
    let text = response.text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A call as clients send it.
pub(crate) fn call(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 })
}
