//! An outsider who follows the events over WebSocket, resumes where it was, and remembers what it saw.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// All that a build's life makes known.
const PATHS: [&str; 5] = ["changes/*/*", "buildsets/*/*", "buildrequests/*/*", "builds/*/*", "steps/*/*"];

/// After so long without an answer to a ping a connection counts as dead, as for a browser behind a balancer; longer than a
/// busy machine keeps either end waiting.
const SILENCE: Duration = Duration::from_secs(30);

/// What a subscriber was told: events may be missing, fetch the state again.
#[derive(Clone, Debug)]
pub struct Reset {
    /// When.
    pub told: SystemTime,
    /// When the last event before it arrived: up to there it had heard everything.
    pub last_event: Option<SystemTime>,
    /// Why.
    pub text: String,
}

#[derive(Debug, Default)]
struct Seen {
    events: HashMap<String, u64>,
    last_event: Option<SystemTime>,
    resets: Vec<Reset>,
    connections: u64,
    cursor: Option<String>,
}

/// A subscriber of everything, at whichever of the given masters answers. Ends with its owner.
#[derive(Debug)]
pub struct Subscriber {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes at one of these web ports; goes to the next one when a connection ends.
    pub fn start(ports: &[u16]) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(follow(ports.to_vec(), Arc::clone(&seen)));
        Self { seen, task }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often an event with this key, such as `builds/7/finished`, arrived.
    pub fn count(&self, key: &str) -> u64 {
        self.seen().events.get(key).copied().unwrap_or_default()
    }

    /// The keys of all events that arrived.
    pub fn keys(&self) -> Vec<String> {
        self.seen().events.keys().cloned().collect()
    }

    /// How many events arrived.
    pub fn total(&self) -> u64 {
        self.seen().events.values().sum()
    }

    /// The resets it was told.
    pub fn resets(&self) -> Vec<Reset> {
        self.seen().resets.clone()
    }

    /// How many connections it had.
    pub fn connections(&self) -> u64 {
        self.seen().connections
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(ports: Vec<u16>, seen: Arc<Mutex<Seen>>) {
    for port in ports.iter().copied().cycle() {
        // Why a connection ended does not matter: the next one resumes.
        let _ = connection(port, &seen).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn connection(port: u16, seen: &Mutex<Seen>) -> Result<()> {
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let url = format!("ws://127.0.0.1:{port}/ws");
    let (mut socket, _) = tokio::time::timeout(SILENCE, tokio_tungstenite::connect_async(&url)).await??;
    let after = lock().cursor.clone();
    let resume = json!({"_id": 1, "cmd": "resume", "paths": PATHS, "after": after});
    socket.send(Message::text(resume.to_string())).await?;
    let mut pings = tokio::time::interval(SILENCE / 2);
    let mut heard = tokio::time::Instant::now();
    loop {
        let message = tokio::select! {
            message = socket.next() => message.context("closed")??,
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE {
                    bail!("silent");
                }
                socket.send(Message::text(json!({"_id": 2, "cmd": "ping"}).to_string())).await?;
                continue;
            }
        };
        heard = tokio::time::Instant::now();
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text)?;
        let mut seen = lock();
        if let Some(key) = message["k"].as_str() {
            *seen.events.entry(key.to_owned()).or_default() += 1;
            seen.last_event = Some(SystemTime::now());
            if let Some(cursor) = message["c"].as_str() {
                seen.cursor = Some(cursor.to_owned());
            }
        } else if message["_id"] == 2 {
            // Up to here nothing is left to deliver.
            if let Some(cursor) = message["cursor"].as_str() {
                seen.cursor = Some(cursor.to_owned());
            }
        } else if message["_id"] == 1 {
            match message["code"].as_i64() {
                Some(200) => {}
                Some(410) => {
                    let text = message["error"].as_str().unwrap_or("reset").to_owned();
                    let last_event = seen.last_event;
                    seen.resets.push(Reset { told: SystemTime::now(), last_event, text });
                }
                _ => bail!("refused: {message}"),
            }
            seen.connections += 1;
            if let Some(cursor) = message["cursor"].as_str() {
                seen.cursor = Some(cursor.to_owned());
            }
        }
    }
}
