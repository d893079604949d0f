//! Following a log while it grows: `LOG/contents?wait=SECONDS` answers when there is more (long poll), and
//! `LOG/contents` asked for as `text/event-stream` sends the lines as they come. Both go by line numbers, so that a
//! client resumes where it was, on any replica.
//!
//! Events say that there is more, the text is read from the database; a look every two seconds stands behind the events.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use broker_adapters::{Gone, HubSubscription, TopicFilter};
use buildguild_types::spec::ResultSpec;
use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{error::ApiError, respond};
use crate::{Backend, limits, limits::Hold, query::parameters, state::AppState};

/// The longest long poll.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often the log is looked at when no event came.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a quiet stream gets a comment, so that proxies do not end it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Lines per record of a stream, and of a long poll that names no limit.
const LINES_PER_READ: u64 = 1_000;

/// How a client wants to follow.
pub(super) enum Follow {
    /// Answer when there is something, at the latest after this time.
    LongPoll(Duration),
    /// Send what comes, from this line on.
    Stream { from: Option<u64> },
}

/// Whether a read of `path` is to follow a log.
pub(super) fn wanted(request: &HttpRequest, path: &[&str]) -> Result<Option<Follow>, ApiError> {
    let is_contents = matches!(path, ["logs", _, "contents"] | [.., "logs", _, "contents"]);
    if !is_contents {
        return Ok(None);
    }
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
        return Ok(Some(Follow::Stream { from: last.and_then(|text| text.trim().parse().ok()) }));
    }
    match parameters(request.query_string()).find(|(name, _)| name == "wait") {
        None => Ok(None),
        Some((_, seconds)) => match seconds.parse::<u32>() {
            Ok(seconds) => Ok(Some(Follow::LongPoll(Duration::from_secs(seconds.into()).min(MAX_WAIT)))),
            Err(_) => Err(ApiError::BadRequest("invalid wait".to_owned())),
        },
    }
}

/// A log at a moment.
#[derive(Clone, Copy, Debug)]
struct Log {
    id: i64,
    num_lines: u64,
    is_complete: bool,
}

/// Reads one log, again and again.
struct Follower {
    backend: Arc<dyn Backend>,
    /// The path of its contents.
    path: Vec<String>,
    news: HubSubscription,
    log: Log,
    /// The line to go on with.
    next: u64,
}

async fn one(backend: &dyn Backend, path: &[&str], spec: &ResultSpec) -> Result<Value, ApiError> {
    Ok(backend.get(path, spec).await?.into_items().pop().unwrap_or_default())
}

fn log_of(item: &Value) -> Log {
    Log {
        id: item["logid"].as_i64().unwrap_or_default(),
        num_lines: item["num_lines"].as_u64().unwrap_or_default(),
        is_complete: item["complete"] == true,
    }
}

impl Follower {
    async fn new(state: &AppState, path: &[&str], next: u64) -> Result<Self, ApiError> {
        let log_path = &path[..path.len() - 1];
        let log = log_of(&one(&*state.backend, log_path, &ResultSpec::default()).await?);
        let filters: Vec<TopicFilter> =
            ["append", "finished"].iter().filter_map(|what| format!("logs/{}/{what}", log.id).parse().ok()).collect();
        let news = state.hub.listen(filters).map_err(|_shutting_down| ApiError::Unavailable)?;
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        let mut follower = Self { backend: Arc::clone(&state.backend), path, news, log, next };
        // Once more, for what came between the first look and the subscription.
        follower.look().await?;
        Ok(follower)
    }

    fn parts(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        let parts = self.parts();
        self.log = log_of(&one(&*self.backend, &parts[..parts.len() - 1], &ResultSpec::default()).await?);
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.log.num_lines > self.next
    }

    /// Waits until there are lines to read or none will come, or until `deadline`.
    async fn wait(&mut self, deadline: Instant) -> Result<(), ApiError> {
        while !self.has_more() && !self.log.is_complete && Instant::now() < deadline {
            let look_at = deadline.min(Instant::now() + LOOK_EVERY);
            match timeout_at(look_at, self.news.recv()).await {
                Ok(Err(Gone::ShutDown)) => return Err(ApiError::Unavailable),
                // One that did not keep up has been told enough: it looks by itself from now on.
                Ok(Err(Gone::TooSlow | Gone::NotRetained)) => tokio::time::sleep_until(look_at).await,
                Ok(Ok(_)) | Err(_) => {}
            }
            // Many events may say the same.
            while let Ok(Some(_)) = self.news.try_recv() {}
            self.look().await?;
        }
        Ok(())
    }

    /// The next lines.
    async fn read(&mut self, spec: &ResultSpec) -> Result<Value, ApiError> {
        let spec = ResultSpec { offset: Some(self.next), limit: spec.limit.or(Some(LINES_PER_READ)), ..spec.clone() };
        let chunk = one(&*self.backend, &self.parts(), &spec).await?;
        self.next += chunk["content"].as_str().unwrap_or_default().matches('\n').count() as u64;
        Ok(chunk)
    }
}

/// Answers a client that follows.
pub(super) async fn answer(
    request: &HttpRequest,
    state: &web::Data<AppState>,
    path: &[&str],
    spec: &ResultSpec,
    follow: Follow,
) -> Result<HttpResponse, ApiError> {
    match follow {
        Follow::LongPoll(wait) => long_poll(request, state, path, spec, wait).await,
        Follow::Stream { from } => {
            let hold = match limits::hold_stream(state, request) {
                Ok(hold) => hold,
                Err(refusal) => return Ok(refusal.respond()),
            };
            let follower = Follower::new(state, path, from.or(spec.offset).unwrap_or(0)).await?;
            if from.is_some() && follower.log.is_complete && !follower.has_more() {
                // A browser's EventSource would come again and again.
                return Ok(HttpResponse::NoContent().finish());
            }
            Ok(stream(follower, hold))
        }
    }
}

async fn long_poll(
    request: &HttpRequest,
    state: &AppState,
    path: &[&str],
    spec: &ResultSpec,
    wait: Duration,
) -> Result<HttpResponse, ApiError> {
    let mut follower = Follower::new(state, path, spec.offset.unwrap_or(0)).await?;
    tokio::select! {
        waited = follower.wait(Instant::now() + wait) => waited?,
        // The client asks another replica.
        () = state.shutdown.cancelled() => return Err(ApiError::Unavailable),
    }
    let log = follower.log;
    let chunk = follower.read(spec).await?;
    let meta = json!({ "complete": log.is_complete, "num_lines": log.num_lines });
    let body = json!({ "logchunks": [chunk], "meta": meta });
    Ok(respond::json(request, &body))
}

fn record(event: &str, data: &Value, id: u64) -> Bytes {
    Bytes::from(format!("event: {event}\ndata: {data}\nid: {id}\n\n"))
}

fn stream(follower: Follower, hold: Hold) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
        // A compressed stream would wait for more to compress.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .streaming(records(follower, hold))
}

/// `lines` records, then `complete`.
fn records(follower: Follower, hold: Hold) -> impl Stream<Item = Result<Bytes, ApiError>> {
    stream::unfold(Some((follower, hold)), |following| async {
        let (mut follower, hold) = following?;
        if let Err(error) = follower.wait(Instant::now() + KEEP_ALIVE).await {
            return Some((Err(error), None));
        }
        if follower.has_more() {
            return match follower.read(&ResultSpec::default()).await {
                // Announced, and not to be read: the next look says more.
                Ok(chunk) if chunk["content"] == "" => Some((Ok(Bytes::from_static(b":\n\n")), Some((follower, hold)))),
                Ok(chunk) => Some((Ok(record("lines", &chunk, follower.next)), Some((follower, hold)))),
                Err(error) => Some((Err(error), None)),
            };
        }
        if follower.log.is_complete {
            let end = record("complete", &json!({ "num_lines": follower.log.num_lines }), follower.next);
            return Some((Ok(end), None));
        }
        Some((Ok(Bytes::from_static(b":\n\n")), Some((follower, hold))))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn is_followed(uri: &str, path: &[&str], accept: &str) -> bool {
        let request = TestRequest::with_uri(uri).insert_header((header::ACCEPT, accept)).to_http_request();
        matches!(wanted(&request, path), Ok(Some(_)))
    }

    #[test]
    fn only_contents_of_logs_are_followed() {
        let contents = ["builds", "1", "steps", "0", "logs", "stdio", "contents"];
        assert!(is_followed("/x?wait=10", &contents, "*/*"));
        assert!(is_followed("/x", &["logs", "1", "contents"], "text/event-stream"));
        assert!(!is_followed("/x", &contents, "application/json"));
        assert!(!is_followed("/x?wait=10", &["logs", "1"], "text/event-stream"));
        let request = TestRequest::with_uri("/x?wait=-1").to_http_request();
        assert!(wanted(&request, &contents).is_err());
    }
}
