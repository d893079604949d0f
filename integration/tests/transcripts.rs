//! The events of one build, on WebSocket and as server-sent events, as Buildbot 4.3 sends them.
//!
//! `transcripts/` holds what Buildbot sent of a build that failed and of one that was stopped: an event a line, with all
//! its routing keys. Ids and times stand there by kind and order of appearance (`step#2`, `time`), and so they are put
//! into what is compared. Events may have more fields than Buildbot's, but not fewer, and there may be no other events.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use integration::{DEADLINE, TestCluster};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const FAILED: &str = include_str!("transcripts/failed_build.jsonl");
const STOPPED: &str = include_str!("transcripts/stopped_build.jsonl");

/// What a stock worker says of a command before it runs.
const HEADER_LINES: i64 = 5;

/// The farm that the transcripts were taken of, as far as it shows in them.
const FARM: &str = r#"
from buildbot.plugins import *
c = BuildmasterConfig = {}
c['protocols'] = {'msgpack_experimental_v7': {'port': 9989}}
c['www'] = dict(port=8010, auth=util.UserPasswordAuth([('dev', 'secret')]))
c['workers'] = [worker.Worker('w1', 'secret', properties={'os': 'linux'}), worker.Worker('w2', 'secret')]
c['projects'] = [util.Project(name='alpha', slug='alpha')]

def shell(name, script, **kwargs):
    return steps.ShellCommand(name=name, command=['/bin/sh', '-c', script], logEnviron=False, **kwargs)

c['builders'] = [
    util.BuilderConfig(name='tests', workernames=['w1'], project='alpha', factory=util.BuildFactory([
        shell('unit', 'echo 1 test failed; exit 1', haltOnFailure=True),
        shell('clean up', 'echo clean', alwaysRun=True),
    ])),
    util.BuilderConfig(name='slow', workernames=['w2'], factory=util.BuildFactory([shell('wait', 'echo waiting; sleep 120')])),
]
c['schedulers'] = [
    schedulers.ForceScheduler(name='force-compile', builderNames=['tests'], properties=[
        util.StringParameter(name='tag', default='none'),
        util.TextParameter(name='notes', default=''),
        util.IntParameter(name='jobs', default=2),
        util.BooleanParameter(name='verbose', default=False),
        util.ChoiceStringParameter(name='mode', choices=['debug', 'release'], default='release'),
        util.ChoiceStringParameter(name='targets', choices=['x86', 'arm'], multiple=True, default=['x86']),
        util.FixedParameter(name='fixed', default='constant'),
        util.NestedParameter(name='opts', fields=[
            util.StringParameter(name='one', default='1'), util.BooleanParameter(name='two', default=True)]),
    ]),
    schedulers.ForceScheduler(name='force-slow', builderNames=['slow']),
]
"#;

/// All keys under which a build's events are sent.
const PATHS: [&str; 12] = [
    "buildsets/*/*",
    "buildsets/*/builders/*/buildrequests/*/*",
    "buildrequests/*/*",
    "builders/*/buildrequests/*/*",
    "builders/*/builds/*/*",
    "builds/*/*",
    "workers/*/builds/*/*",
    "builds/*/properties/*",
    "builds/*/steps/*/*",
    "steps/*/*",
    "logs/*/*",
    "steps/*/logs/*/*",
];

/// A routing key and its body.
type Event = (String, Value);

/// Replaces what differs from run to run: ids by their kind and order of appearance, times and directories by a word.
#[derive(Default)]
struct Names(HashMap<&'static str, Vec<i64>>);

impl Names {
    fn id(&mut self, kind: &'static str, id: i64) -> String {
        let known = self.0.entry(kind).or_default();
        let at = known.iter().position(|one| *one == id).unwrap_or_else(|| {
            known.push(id);
            known.len() - 1
        });
        format!("{kind}#{}", at + 1)
    }

    fn key(&mut self, key: &str) -> String {
        let parts: Vec<&str> = key.split('/').collect();
        let name = |(at, part): (usize, &&str)| match (part.parse(), at.checked_sub(1).map(|before| parts[before])) {
            (Ok(_), Some("builds")) if parts[0] == "builders" => "number".to_owned(),
            (Ok(id), Some("buildsets")) => self.id("buildset", id),
            (Ok(id), Some("builders")) => self.id("builder", id),
            (Ok(id), Some("buildrequests")) => self.id("request", id),
            (Ok(id), Some("builds")) => self.id("build", id),
            (Ok(id), Some("steps")) => self.id("step", id),
            (Ok(id), Some("logs")) => self.id("log", id),
            (Ok(id), Some("workers")) => self.id("worker", id),
            _ => (*part).to_owned(),
        };
        parts.iter().enumerate().map(name).collect::<Vec<_>>().join("/")
    }

    fn body(&mut self, body: &Value) -> Value {
        match body {
            Value::Array(items) => items.iter().map(|item| self.body(item)).collect(),
            Value::Object(fields) => {
                let is_build = fields.contains_key("builderid");
                let mut named = Map::new();
                for (name, value) in fields {
                    let value = match (id_kind(name), value.as_i64()) {
                        (Some(kind), Some(id)) => self.id(kind, id).into(),
                        (None, Some(_)) if name.ends_with("_at") => "time".into(),
                        (None, Some(_)) if name == "number" && is_build => "number".into(),
                        _ => self.body(value),
                    };
                    named.insert(name.clone(), value);
                }
                Value::Object(named)
            }
            other => other.clone(),
        }
    }

    /// Properties: name to value and source.
    fn properties(&mut self, body: &Value) -> Value {
        let mut named = Map::new();
        for (name, value) in body.as_object().into_iter().flatten() {
            let shown = match (name.as_str(), value[0].as_i64()) {
                ("builderid", Some(id)) => self.id("builder", id).into(),
                ("projectid", Some(_)) => "project".into(),
                ("buildnumber", Some(_)) => "number".into(),
                ("basedir" | "builddir", None) => "directory".into(),
                _ => value[0].clone(),
            };
            named.insert(name.clone(), json!([shown, value[1]]));
        }
        Value::Object(named)
    }

    fn event(&mut self, key: &str, body: &Value) -> Event {
        let named = self.key(key);
        let body = if named.ends_with("properties/update") { self.properties(body) } else { self.body(body) };
        (named, body)
    }
}

fn id_kind(field: &str) -> Option<&'static str> {
    Some(match field {
        "bsid" | "buildsetid" => "buildset",
        "buildrequestid" => "request",
        "builderid" => "builder",
        "buildid" => "build",
        "stepid" => "step",
        "logid" => "log",
        "workerid" => "worker",
        "masterid" | "claimed_by_masterid" => "master",
        "ssid" => "sourcestamp",
        _ => return None,
    })
}

/// Leaves out what depends on how fast the machine is: all appends to a log but the last, that a step runs for a while,
/// and updates without news.
fn without_haste(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for (key, body) in events {
        if key.ends_with("/append") {
            kept.retain(|(other, _)| *other != key);
        }
        let runs = key.ends_with("/updated") && body["state_string"] == json!("running");
        let is_news = kept.iter().rev().find(|(other, _)| *other == key).is_none_or(|(_, before)| *before != body);
        if !runs && is_news {
            kept.push((key, body));
        }
    }
    kept
}

/// Buildbot's events, each under each of its keys.
fn transcript(text: &str) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        for key in line["keys"].as_array().context("keys")? {
            events.push((key.as_str().context("a key")?.to_owned(), line["body"].clone()));
        }
    }
    Ok(without_haste(events))
}

/// Where `actual` lacks something of `expected`.
fn difference(expected: &Value, actual: &Value, at: &str) -> Option<String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            actual.get(name).map_or_else(|| Some(format!("{at} is missing")), |other| difference(value, other, &at))
        }),
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            expected.iter().zip(actual).find_map(|(expected, actual)| difference(expected, actual, at))
        }
        _ => (expected != actual).then(|| format!("{at} is {actual}, not {expected}")),
    }
}

fn compare(expected: &[Event], actual: &[Event]) -> Result<()> {
    let keys = |events: &[Event]| events.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let (expected_keys, actual_keys) = (keys(expected), keys(actual));
    let same = expected_keys.iter().zip(&actual_keys).take_while(|(expected, actual)| expected == actual).count();
    ensure!(
        expected_keys == actual_keys,
        "after {same} events, last {:?}: expected {:#?}, got {:#?}",
        same.checked_sub(1).map(|last| &actual[last]),
        expected_keys.get(same..),
        actual.get(same..)
    );
    for ((key, expected), (_, actual)) in expected.iter().zip(actual) {
        if let Some(difference) = difference(expected, actual, key) {
            bail!("{difference}\nexpected {expected}\ngot {actual}");
        }
    }
    Ok(())
}

/// A master with two stock workers, and somebody who is logged in.
struct Scene {
    cluster: TestCluster,
    client: reqwest::Client,
    cookie: String,
}

impl Scene {
    // One master: the events of a build are those of the replica that runs it.
    async fn new() -> Result<Self> {
        let mut cluster = TestCluster::builder().masters(1).start(|_| Ok(FARM.to_owned())).await?;
        let rest = cluster.rest()?;
        for worker in ["w1", "w2"] {
            cluster.add_stock_worker(cluster.masters[0].worker_port(), worker, "secret")?;
            cluster.worker_connected(&rest, worker).await?;
        }
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let login = client.get(format!("{}/auth/login", rest.base())).basic_auth("dev", Some("secret")).send().await?;
        let cookie = login.headers().get("set-cookie").context("no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { cluster, client, cookie })
    }

    async fn control(&self, path: &str, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let url = format!("{}api/v2/{path}", self.cluster.masters[0].url());
        let answer = self.client.post(url).header("Cookie", &self.cookie).json(&body).send().await?;
        let answer: Value = answer.json().await?;
        ensure!(answer.get("error").is_none(), "{method} {path}: {answer}");
        Ok(answer["result"].clone())
    }

    /// All events from now to the end of the buildset that `force` starts. The build is stopped when its command has
    /// said something and `stop` is given.
    async fn websocket_events(&self, force: (&str, Value), stop: Option<&str>) -> Result<Vec<Event>> {
        let url = format!("{}ws", self.cluster.masters[0].url().replacen("http", "ws", 1));
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
        for (id, path) in PATHS.iter().enumerate() {
            let command = json!({"_id": id, "cmd": "startConsuming", "path": path});
            socket.send(Message::text(command.to_string())).await?;
        }
        let mut confirmed = 0;
        let (mut names, mut events, mut build, mut is_stopped) = (Names::default(), Vec::new(), Value::Null, false);
        loop {
            let message = timeout(DEADLINE, socket.next()).await.context("no more events")?.context("closed")??;
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text)?;
            let Some(key) = message["k"].as_str() else {
                ensure!(message["code"] == json!(200), "{message}");
                confirmed += 1;
                if confirmed == PATHS.len() {
                    self.control(&format!("forceschedulers/{}", force.0), "force", force.1.clone()).await?;
                }
                continue;
            };
            let event = names.event(key, &message["m"]);
            build = if build.is_null() { message["m"]["buildid"].clone() } else { build };
            if let (Some(reason), false) = (stop, is_stopped)
                && event.0.ends_with("stdio/append")
                && event.1["num_lines"].as_i64() > Some(HEADER_LINES)
            {
                is_stopped = true;
                self.control(&format!("builds/{build}"), "stop", json!({ "reason": reason })).await?;
            }
            let is_end =
                event.0.starts_with("buildsets/") && event.0.ends_with("#1/complete") && !event.0.contains("builders");
            events.push(event);
            if is_end {
                return Ok(without_haste(events));
            }
        }
    }

    /// The events of builds and steps as a stream of server-sent events, until a build is finished.
    async fn sse_events(&self, ready: tokio::sync::oneshot::Sender<()>) -> Result<Vec<Event>> {
        let base = self.cluster.masters[0].url();
        let mut stream = self.client.get(format!("{base}sse/listen/builds/*/*")).send().await?;
        let (mut names, mut events, mut text, mut ready) = (Names::default(), Vec::new(), String::new(), Some(ready));
        loop {
            let chunk =
                timeout(DEADLINE, stream.chunk()).await.context("no more events")??.context("the stream ended")?;
            text.push_str(std::str::from_utf8(&chunk)?);
            while let Some((record, rest)) = text.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
                text = rest;
                let field = |wanted: &str| {
                    record.lines().find_map(|line| Some(line.strip_prefix(wanted)?.strip_prefix(": ")?.to_owned()))
                };
                match field("event").as_deref() {
                    Some("handshake") => {
                        let uuid = field("data").context("a stream id")?;
                        let added = self.client.get(format!("{base}sse/add/{uuid}/steps/*/*")).send().await?;
                        ensure!(added.status() == 200, "{}", added.status());
                        ready.take().context("one handshake")?.send(()).ok().context("nobody waits")?;
                    }
                    Some("event") => {
                        let data: Value = serde_json::from_str(&field("data").context("data")?)?;
                        let parts = data["key"].as_array().context("a key")?;
                        let key: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
                        let event = names.event(&key.join("/"), &data["message"]);
                        let is_end = event.0 == "builds/build#1/finished";
                        events.push(event);
                        if is_end {
                            return Ok(without_haste(events));
                        }
                    }
                    // A heartbeat: only an id, or a comment.
                    _ => {}
                }
            }
        }
    }
}

fn is_of_build_or_step((key, _): &Event) -> bool {
    let mut parts = key.split('/');
    matches!(parts.next(), Some("builds" | "steps")) && parts.count() == 2
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_is_told_as_buildbot_tells_it() -> Result<()> {
    let scene = Scene::new().await?;
    let force =
        json!({"reason": "events", "branch": "main", "project": "alpha", "repository": "file:///srv/repository.git"});
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (sse, socket) = tokio::join!(scene.sse_events(ready), async {
        is_ready.await.context("no handshake")?;
        scene.websocket_events(("force-compile", force), None).await
    });
    let expected = transcript(FAILED)?;
    compare(&expected, &socket.map_err(|error| error.context(scene.cluster.all_logs()))?).context("on WebSocket")?;
    let expected: Vec<Event> = expected.into_iter().filter(is_of_build_or_step).collect();
    compare(&expected, &sse?).context("as server-sent events")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_stopped_is_told_as_buildbot_tells_it() -> Result<()> {
    let scene = Scene::new().await?;
    let events =
        timeout(DEADLINE + Duration::from_secs(10), scene.websocket_events(("force-slow", json!({})), Some("because")))
            .await?;
    compare(&transcript(STOPPED)?, &events.map_err(|error| error.context(scene.cluster.all_logs()))?)
}
