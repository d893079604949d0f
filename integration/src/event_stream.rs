//! A client of SSE, which resumes after each end as browsers do, and remembers what it was told.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt;
use tokio::sync::watch;

use crate::waiting::DEADLINE;

/// Between the end of a stream and the next attempt. Browsers wait for some seconds; a client that is back at once may find
/// the same replica in its last moment.
const RETRY: Duration = Duration::from_secs(1);

/// What a client of an event stream has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Streams that were opened.
    pub connections: usize,
    /// Answers that were no stream, and attempts without an answer.
    pub refused: usize,
    /// The keys of the events, in order.
    pub keys: Vec<String>,
    /// How often it was told to look again.
    pub resets: usize,
}

/// Follows all that is told of builds and steps. Ends with its owner.
#[derive(Debug)]
pub struct EventStream {
    seen: watch::Receiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl EventStream {
    /// A client of the server at `base`.
    pub fn start(base: String) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(follow(base, sender));
        Self { seen, task }
    }

    /// What it has seen until now.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until it has seen something.
    ///
    /// # Errors
    /// If that takes too long; what it has seen is in the message.
    pub async fn until(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Result<()> {
        let waiting = tokio::time::timeout(DEADLINE, self.seen.wait_for(condition));
        let in_time = waiting.await.is_ok_and(|seen| seen.is_ok());
        ensure!(in_time, "{what}: {:?}", self.seen.borrow());
        Ok(())
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(base: String, sender: watch::Sender<Seen>) {
    let client = reqwest::Client::new();
    let mut last = None::<String>;
    loop {
        let mut request = client.get(format!("{base}/sse/listen/builds/*/*"));
        if let Some(last) = &last {
            request = request.header("Last-Event-ID", last);
        }
        let Ok(answer) = request.send().await.and_then(reqwest::Response::error_for_status) else {
            sender.send_modify(|seen| seen.refused += 1);
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut body = answer.bytes_stream();
        let mut text = String::new();
        while let Some(Ok(chunk)) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some((event, rest)) = text.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
                text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
                };
                last = field("id").or(last);
                let (kind, data) = (field("event").unwrap_or_default(), field("data").unwrap_or_default());
                sender.send_modify(|seen| match kind.as_str() {
                    "handshake" => seen.connections += 1,
                    "reset" => seen.resets += 1,
                    "event" => {
                        let data: serde_json::Value = serde_json::from_str(&data).unwrap_or_default();
                        let parts = data["key"].as_array().into_iter().flatten();
                        let parts: Vec<&str> = parts.filter_map(|part| part.as_str()).collect();
                        seen.keys.push(parts.join("."));
                    }
                    _ => {}
                });
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
