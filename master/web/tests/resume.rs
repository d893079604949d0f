//! Clients as they should be written: they subscribe, note the cursor, fetch, apply, and when their connection breaks
//! they resume on any replica. In the end they have what REST shows.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker_adapters::{EventLog, HubOptions, memory::MemoryLog};
use buildguild_types::event::{Event, EventKey};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{Cluster, Server, Setup, json_of, sse::Stream};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// What the replicas remember themselves, what the log retains, and how much happens in all.
const RING: usize = 64;
const RETAINED: usize = 2_000;
const EVENTS: usize = 9_000;
/// How many events a client misses: few, more than a replica remembers, more than the log retains.
const GAPS: [usize; 3] = [20, 500, RETAINED + 500];
/// How many it sees between two interruptions.
const SEEN: usize = 150;
/// The build whose end is the last event.
const LAST: &str = "last";

/// The cluster under load.
struct Load {
    cluster: Cluster,
    replicas: [Server; 2],
    published: Arc<AtomicUsize>,
}

impl Load {
    async fn start() -> Self {
        let cluster = Cluster::new(MemoryLog::new(RETAINED)).await;
        let replica = || async {
            let mut hub = HubOptions::default();
            hub.ring_events = RING;
            Server::with(Setup { cluster: Some(cluster.clone()), hub, ..Setup::default() }).await
        };
        Self { replicas: [replica().await, replica().await], cluster: cluster.clone(), published: Arc::default() }
    }

    /// Builds come and go: what happened is visible in REST before it is published.
    async fn write(&self) {
        let mut number: u64 = 17;
        for n in 0..EVENTS {
            // A linear congruential generator: the same builds in every run.
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = if n + 1 == EVENTS { LAST.to_owned() } else { (number >> 33).rem_euclid(40).to_string() };
            let build = json!({ "id": id, "state_string": format!("state {n}") });
            self.cluster.builds.lock().expect("no panic").insert(id.clone(), build.clone());
            let key = EventKey::from(format!("builds/{id}/update"));
            let event = Event::new(vec![key], &build).expect("JSON");
            self.cluster.log.publish(vec![event]).await.expect("publishes");
            self.published.fetch_add(1, Ordering::Relaxed);
            // The replicas and the clients run on the same thread as this.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many more events have been published, or all.
    async fn miss(&self, events: usize) {
        let until = (self.published.load(Ordering::Relaxed) + events).min(EVENTS);
        while self.published.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        let [one, other] = self.replicas;
        one.stop().await;
        other.stop().await;
    }
}

/// What a client knows.
#[derive(Default)]
struct Model {
    builds: BTreeMap<String, Value>,
    cursor: Option<String>,
    resumed: usize,
    resets: usize,
}

impl Model {
    fn is_complete(&self) -> bool {
        self.builds.contains_key(LAST)
    }

    async fn fetch(&mut self, server: &Server) {
        let builds = json_of(server.get("/api/v2/builds").await).await;
        let builds = builds["builds"].as_array().expect("a list").clone();
        self.builds = builds.into_iter().map(|build| (id_of(&build), build)).collect();
    }

    fn apply(&mut self, build: &Value) {
        self.builds.insert(id_of(build), build.clone());
    }

    fn check(&self, load: &Load, who: &str) {
        assert_eq!(self.builds, *load.cluster.builds.lock().expect("no panic"), "{who}");
        assert!(self.resumed >= 2, "{who} resumed {} times", self.resumed);
        assert!(self.resets >= 1, "{who} was reset {} times", self.resets);
    }
}

fn id_of(build: &Value) -> String {
    build["id"].as_str().expect("an id").to_owned()
}

/// A client of server-sent events, whose filters were perhaps added later and on another replica.
async fn sse_client(load: &Load, path: &str, is_added: bool) -> Model {
    let mut model = Model::default();
    let mut session = String::new();
    for turn in 0.. {
        let (here, elsewhere) = (&load.replicas[turn % 2], &load.replicas[(turn + 1) % 2]);
        let cursor = model.cursor.clone();
        let mut stream = Stream::open(here, path, cursor.as_deref()).await;
        let handshake = stream.handshake().await;
        if is_added && handshake.data != session {
            session.clone_from(&handshake.data);
            let added = elsewhere.get(&format!("/sse/add/{session}/builds/*/*")).await;
            assert_eq!(added.status(), 200);
        }
        model.cursor = Some(handshake.id.clone());
        let mut is_fresh = cursor.is_none();
        let mut left = SEEN;
        while left > 0 && !model.is_complete() {
            if std::mem::take(&mut is_fresh) {
                model.fetch(here).await;
                continue;
            }
            let record = stream.next().await.expect("goes on");
            model.cursor = Some(record.id.clone());
            match record.event.as_str() {
                "event" => {
                    let data: Value = serde_json::from_str(&record.data).expect("JSON");
                    model.apply(&data["message"]);
                    left -= 1;
                }
                "reset" => {
                    model.resets += 1;
                    is_fresh = true;
                }
                other => assert_eq!(other, ""),
            }
        }
        if model.is_complete() {
            return model;
        }
        if cursor.is_some() {
            model.resumed += 1;
        }
        drop(stream);
        load.miss(GAPS[turn % GAPS.len()]).await;
    }
    model
}

/// A client of the WebSocket with `resume`.
async fn websocket_client(load: &Load) -> Model {
    let mut model = Model::default();
    for turn in 0.. {
        let server = &load.replicas[turn % 2];
        let (mut socket, _) = connect_async(format!("ws://{}/ws", server.address)).await.expect("connects");
        let command = json!({ "_id": 1, "cmd": "resume", "paths": ["builds/*/*"], "after": model.cursor });
        socket.send(Message::text(command.to_string())).await.expect("sends");
        let mut left = SEEN;
        while left > 0 && !model.is_complete() {
            let message = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("in time");
            let Some(Ok(Message::Text(text))) = message else { panic!("{message:?}") };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if let Some(code) = message["code"].as_u64() {
                let is_new = model.cursor.is_none();
                model.cursor = Some(message["cursor"].as_str().expect("a cursor").to_owned());
                match code {
                    200 if is_new => model.fetch(server).await,
                    200 => model.resumed += 1,
                    410 => {
                        model.resets += 1;
                        model.fetch(server).await;
                    }
                    other => panic!("code {other}"),
                }
                continue;
            }
            model.cursor = Some(message["c"].as_str().expect("a cursor").to_owned());
            model.apply(&message["m"]);
            left -= 1;
        }
        if model.is_complete() {
            return model;
        }
        drop(socket);
        load.miss(GAPS[turn % GAPS.len()]).await;
    }
    model
}

#[tokio::test]
async fn clients_that_lose_their_connections_end_with_what_rest_shows() {
    let load = Load::start().await;
    let clients = async {
        tokio::join!(
            sse_client(&load, "/sse/listen/builds/*/*", false),
            sse_client(&load, "/sse/listen", true),
            websocket_client(&load),
            load.write(),
        )
    };
    let (by_path, by_added, by_socket, ()) =
        tokio::time::timeout(Duration::from_secs(120), clients).await.expect("in time");
    by_path.check(&load, "the SSE client");
    by_added.check(&load, "the SSE client that adds its filters");
    by_socket.check(&load, "the WebSocket client");
    load.stop().await;
}
