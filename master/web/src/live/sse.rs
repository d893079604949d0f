//! `/sse/listen`: server-sent events. Every record carries the cursor as its `id:`; a quiet stream gets it in id-only
//! heartbeats, so that `Last-Event-ID` (or `?after=`) resumes without a gap. Where that is impossible the client gets a
//! `reset` event, which says: fetch again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::header, web};
use broker_adapters::{Cursor, FilterHandle, Gone, HubSubscription, SubscribeFrom, TopicFilter};
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::LocalBoxFuture;
use tokio::{
    net::TcpStream,
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use uuid::Uuid;

use super::{
    CHUNK_BYTES,
    frame::{event_record, put_record, put_record_end},
    guard::StreamGuard,
    sessions::{Named, SseSessions},
};
use crate::{
    auth::{access, user_of},
    handover::{Handover, LiveStream, poll_read},
    limits::{Hold, hold_stream},
    query::{decode_path_part, parameters},
    state::AppState,
};

/// What a client says it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LastSeen {
    /// It is new.
    Nothing,
    /// Everything up to a cursor, on a stream whose filters were changed if it is named.
    UpTo(Cursor, Option<Uuid>),
    /// Something that makes no sense.
    Unknown,
}

/// The filter that a path of a request names, parts decoded; none if it is too long or internal. As in Buildbot, a slash at
/// the end says nothing.
pub(super) fn filter_of(path: &str) -> Option<TopicFilter> {
    let parts: Vec<_> = path.strip_suffix('/').unwrap_or(path).split('/').map(decode_path_part).collect();
    let filter: TopicFilter = parts.join("/").parse().ok()?;
    (!filter.is_internal()).then_some(filter)
}

fn last_seen(request: &HttpRequest) -> LastSeen {
    let text = match request.headers().get("last-event-id") {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => match parameters(request.query_string()).find(|(name, _)| name == "after") {
            Some((_, value)) => value.into_owned(),
            None => return LastSeen::Nothing,
        },
    };
    parse_last_seen(&text)
}

fn parse_last_seen(text: &str) -> LastSeen {
    let (cursor, session) = match text.split_once('~') {
        Some((cursor, session)) => match Uuid::try_parse(session) {
            Ok(session) => (cursor, Some(session)),
            Err(_) => return LastSeen::Unknown,
        },
        None => (text, None),
    };
    cursor.parse().map_or(LastSeen::Unknown, |cursor| LastSeen::UpTo(cursor, session))
}

/// The path that a request listens to, if any: what follows `/sse/listen/`, or `/sse/` alone, as in Buildbot.
fn listened_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/sse/")?;
    let rest = match rest.strip_prefix("listen") {
        Some("") => "",
        Some(after) => after.strip_prefix('/').unwrap_or(rest),
        None => rest,
    };
    (!rest.is_empty()).then_some(rest)
}

/// `GET /sse/listen` and `GET /sse/listen/<path>`, also without `listen`.
pub(crate) async fn listen(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    if let Err(denied) = access::check(&state, &request, &user_of(&request, &state), access::Request::Read).await {
        return HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(denied.to_string());
    }
    let hold = match hold_stream(&state, &request) {
        Ok(hold) => hold,
        Err(refusal) => return refusal.respond(),
    };
    let mut filters = Vec::new();
    if let Some(path) = listened_path(request.uri().path()) {
        let Some(filter) = filter_of(path) else {
            return HttpResponse::BadRequest().content_type("text/plain; charset=utf-8").body("invalid path");
        };
        filters.push(filter);
    }
    let mut id = Uuid::new_v4();
    let mut resumed = None;
    let mut reset = None;
    let from = match last_seen(&request) {
        LastSeen::Nothing => SubscribeFrom::Now,
        LastSeen::Unknown => {
            reset = Some("the id of the last event is not one of this server");
            SubscribeFrom::Now
        }
        LastSeen::UpTo(cursor, None) => SubscribeFrom::After(cursor),
        LastSeen::UpTo(cursor, Some(session)) => match SseSessions::take(&state, session).await {
            Ok(Some((known, version))) => {
                id = session;
                filters = known;
                resumed = Some(version);
                SubscribeFrom::After(cursor)
            }
            Ok(None) => {
                reset = Some("the filters that were added are no longer known");
                SubscribeFrom::Now
            }
            Err(()) => return later(),
        },
    };
    let subscription = match state.hub.subscribe(filters.clone(), from).await {
        Err(Gone::NotRetained) => {
            reset = Some("the events since then are no longer retained");
            state.hub.listen(filters.clone())
        }
        other => other,
    };
    let Ok(subscription) = subscription else { return later() };
    let named = SseSessions::begin(&state, id, subscription.filters().clone(), &filters, resumed);
    let mut stream = SseStream::new(state.clone(), (id, named), subscription, reset, hold);
    if resumed.is_none() {
        stream.recording = Some(Box::pin(SseSessions::record(state, id)));
    }
    let Some(body) = Handover::new(&request, Payload::None, stream) else {
        return HttpResponse::InternalServerError().finish();
    };
    let mut response = HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // Proxies (nginx) must hand on each event at once.
        .insert_header(("x-accel-buffering", "no"))
        // The stream lasts as long as its connection.
        .force_close()
        .body(body);
    response.head_mut().no_chunking(true);
    response
}

fn later() -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "5")).finish()
}

/// A stream, from its handshake on.
struct SseStream {
    state: web::Data<AppState>,
    id: Uuid,
    named: Arc<Named>,
    subscription: HubSubscription,
    handle: FilterHandle,
    heartbeat: Interval,
    /// While it is written down: its client may use the uuid anywhere as soon as it has it.
    recording: Option<LocalBoxFuture<'static, ()>>,
    out: BytesMut,
    is_ended: bool,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    _guard: StreamGuard,
    _hold: Hold,
}

impl SseStream {
    fn new(
        state: web::Data<AppState>,
        (id, named): (Uuid, Arc<Named>),
        subscription: HubSubscription,
        reset: Option<&str>,
        hold: Hold,
    ) -> Self {
        let mut heartbeat = tokio::time::interval(state.options.sse_heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let guard = StreamGuard::new(&state.metrics, "sse");
        let handle = subscription.filters().clone();
        let mut stream = Self {
            id,
            named,
            subscription,
            handle,
            heartbeat,
            recording: None,
            out: BytesMut::new(),
            is_ended: false,
            shutdown: Box::pin(state.shutdown.clone().cancelled_owned()),
            _guard: guard,
            _hold: hold,
            state,
        };
        let session = stream.named_session();
        let start = stream.subscription.start().clone();
        put_record(&mut stream.out, "handshake", &id.hyphenated().to_string(), &start, session.as_ref());
        if let Some(reason) = reset {
            stream.put_reset(reason, &start);
        }
        stream
    }

    /// The session as part of the id: only for streams whose filters were changed.
    fn named_session(&self) -> Option<Uuid> {
        self.named.get().then_some(self.id)
    }

    fn put_reset(&mut self, reason: &str, cursor: &Cursor) {
        self.state.metrics.resets.with_label_values(&["sse"]).inc();
        let session = self.named_session();
        let data = serde_json::json!({ "reason": reason }).to_string();
        put_record(&mut self.out, "reset", &data, cursor, session.as_ref());
    }

    fn gather(&mut self, cx: &mut Context<'_>) {
        let mut session = None;
        while self.out.len() < CHUNK_BYTES {
            match self.subscription.poll_recv(cx) {
                Poll::Ready(Ok(delivery)) => {
                    let session = session.get_or_insert_with(|| self.named_session());
                    self.out.put_slice(&event_record(&delivery));
                    put_record_end(&mut self.out, session.as_ref());
                }
                Poll::Ready(Err(gone)) => {
                    let newest = self.state.hub.newest();
                    match gone {
                        Gone::TooSlow => self.put_reset("this client did not keep up", &newest),
                        Gone::NotRetained => self.put_reset("events were lost", &newest),
                        Gone::ShutDown => {}
                    }
                    self.is_ended = true;
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    fn put_heartbeat(&mut self) {
        match self.subscription.caught_up_at() {
            Some(cursor) => {
                let session = self.named_session();
                self.out.put_slice(format!("id: {cursor}").as_bytes());
                put_record_end(&mut self.out, session.as_ref());
            }
            None => self.out.put_slice(b":\n\n"),
        }
    }
}

/// Whether the client has hung up. It has nothing to say.
fn has_hung_up(socket: &TcpStream, cx: &mut Context<'_>) -> bool {
    let mut ignored = [0; 512];
    loop {
        match poll_read(socket, &mut ignored, cx) {
            Poll::Ready(Ok(0) | Err(_)) => return true,
            // Tokio has others get their turn.
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => return false,
        }
    }
}

impl LiveStream for SseStream {
    fn poll_next(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if has_hung_up(socket, cx) {
            return Poll::Ready(None);
        }
        // The client comes back to another replica, or later to this one, and resumes.
        self.is_ended |= self.shutdown.as_mut().poll(cx).is_ready();
        if let Some(recording) = &mut self.recording
            && !self.is_ended
        {
            ready!(recording.as_mut().poll(cx));
            self.recording = None;
        }
        if !self.is_ended {
            self.gather(cx);
            // After the events: one that was queued before the change carries the name as well.
            if self.named.take_due(cx.waker()) && !self.is_ended && self.out.is_empty() {
                self.put_heartbeat();
            }
            while !self.is_ended && self.heartbeat.poll_tick(cx).is_ready() {
                if self.out.is_empty() {
                    self.put_heartbeat();
                }
            }
        }
        if !self.out.is_empty() {
            // All of it: a part that stays would keep the whole buffer for as long as the stream lives.
            return Poll::Ready(Some(std::mem::take(&mut self.out).freeze()));
        }
        if self.is_ended { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Drop for SseStream {
    fn drop(&mut self) {
        SseSessions::end(&self.state, self.id, &self.handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_seen_ids_are_told_apart() {
        let cursor: Cursor = "g.7.0".parse().expect("a cursor");
        let session = Uuid::new_v4();
        assert_eq!(parse_last_seen("g.7.0"), LastSeen::UpTo(cursor.clone(), None));
        assert_eq!(parse_last_seen(&format!("g.7.0~{session}")), LastSeen::UpTo(cursor, Some(session)));
        for text in ["", "x", "g.7.0~", "g.7.0~x", "17"] {
            assert_eq!(parse_last_seen(text), LastSeen::Unknown, "{text}");
        }
    }

    #[test]
    fn a_path_is_listened_to_with_and_without_listen() {
        for path in ["/sse", "/sse/", "/sse/listen", "/sse/listen/"] {
            assert_eq!(listened_path(path), None, "{path}");
        }
        for path in ["/sse/listen/builds/*", "/sse/builds/*"] {
            assert_eq!(listened_path(path), Some("builds/*"), "{path}");
        }
        assert_eq!(listened_path("/sse/listening/1"), Some("listening/1"));
    }

    #[test]
    fn paths_become_filters() {
        assert_eq!(filter_of("builds/%2A/*/").expect("a filter").as_str(), "builds/*/*");
        assert_eq!(filter_of("_hints/*"), None);
    }
}
