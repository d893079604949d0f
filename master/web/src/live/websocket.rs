//! `/ws`: the WebSocket of the web page and of scripts.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::ws::{CloseCode, CloseReason, Codec, Frame, Item, Message, handshake};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use broker_adapters::{FilterChange, Gone, HubSubscription, SubscribeFrom, TopicFilter};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::{net::TcpStream, time::Interval};
use tokio_util::{
    codec::{Decoder, Encoder},
    sync::WaitForCancellationFutureOwned,
};

use super::{
    CHUNK_BYTES,
    command::{self, Command, FrameError},
    frame::{event_frame, put_text_frame},
    guard::StreamGuard,
};
use crate::{
    auth::{access, user_of},
    handover::{Handover, LiveStream, poll_read},
    limits::{Hold, hold_stream},
    state::AppState,
};

/// The most paths of one connection.
pub(super) const MAX_PATHS: usize = 256;
/// The most frames read before the other streams of this thread get their turn.
const FRAMES_PER_TURN: usize = 64;
/// How much is read at a time.
const READ_BYTES: usize = 4096;

/// `GET /ws`.
pub(crate) async fn websocket(request: HttpRequest, payload: web::Payload, state: web::Data<AppState>) -> HttpResponse {
    if let Err(denied) = access::check(&state, &request, &user_of(&request, &state), access::Request::Read).await {
        return HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(denied.to_string());
    }
    let hold = match hold_stream(&state, &request) {
        Ok(hold) => hold,
        Err(refusal) => return refusal.respond(),
    };
    let mut response = match handshake(request.head()) {
        Ok(response) => response,
        // A plain GET.
        Err(error) => return error.error_response(),
    };
    let Ok(subscription) = state.hub.listen(Vec::new()) else { return HttpResponse::ServiceUnavailable().finish() };
    let conversation = Conversation::new(subscription, state, hold);
    let Some(body) = Handover::new(&request, payload.into_inner(), conversation) else {
        return HttpResponse::InternalServerError().finish();
    };
    match response.message_body(body) {
        Ok(response) => HttpResponse::from(response.map_into_boxed_body()),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

type Resuming = (Value, Vec<TopicFilter>, BoxFuture<'static, Result<HubSubscription, Gone>>);

/// A connection after its handshake: the client's frames in, answers and events out.
struct Conversation {
    codec: Codec,
    input: BytesMut,
    /// The parts so far of a text sent in fragments.
    fragments: Option<BytesMut>,
    out: BytesMut,
    subscription: HubSubscription,
    /// A `resume` that is being prepared: nothing else is read or delivered meanwhile.
    resuming: Option<Resuming>,
    with_cursor: bool,
    is_ended: bool,
    ping: Option<Interval>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    state: web::Data<AppState>,
    _guard: StreamGuard,
    _hold: Hold,
}

impl Conversation {
    fn new(subscription: HubSubscription, state: web::Data<AppState>, hold: Hold) -> Self {
        let seconds = state.farm().www.ws_ping_interval_secs;
        let ping = (seconds > 0).then(|| {
            let mut interval = tokio::time::interval(std::time::Duration::from_secs(seconds));
            interval.reset();
            interval
        });
        Self {
            codec: Codec::new().max_size(state.options.max_frame_bytes),
            input: BytesMut::new(),
            fragments: None,
            out: BytesMut::new(),
            subscription,
            resuming: None,
            with_cursor: false,
            is_ended: false,
            ping,
            shutdown: Box::pin(state.shutdown.clone().cancelled_owned()),
            _guard: StreamGuard::new(&state.metrics, "ws"),
            _hold: hold,
            state,
        }
    }

    fn put(&mut self, message: Message) {
        // Only a fragment out of order cannot be encoded, and none is sent.
        let _ = self.codec.encode(message, &mut self.out);
    }

    fn close(&mut self, code: CloseCode, description: &str) {
        self.put(Message::Close(Some(CloseReason { code, description: Some(description.to_owned()) })));
        self.is_ended = true;
    }

    /// Reads frames until there are none, or enough.
    fn poll_input(&mut self, socket: &TcpStream, cx: &mut Context<'_>) {
        let mut part = [0; READ_BYTES];
        for _ in 0..FRAMES_PER_TURN {
            if self.is_ended || self.resuming.is_some() || self.out.len() >= CHUNK_BYTES {
                return;
            }
            match self.codec.decode(&mut self.input) {
                Ok(Some(frame)) => self.take_frame(frame),
                Ok(None) => {
                    if self.input.is_empty() {
                        // Most clients say little after their first frames: nothing is kept for more.
                        self.input = BytesMut::new();
                    }
                    match poll_read(socket, &mut part, cx) {
                        Poll::Ready(Ok(0) | Err(_)) => self.is_ended = true,
                        Poll::Ready(Ok(len)) => self.input.extend_from_slice(&part[..len]),
                        Poll::Pending => return,
                    }
                }
                Err(error) => self.close(CloseCode::Protocol, &error.to_string()),
            }
        }
        cx.waker().wake_by_ref();
    }

    fn take_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Text(text) | Frame::Binary(text) => self.take_text(&text),
            Frame::Continuation(Item::FirstText(part) | Item::FirstBinary(part)) => {
                self.fragments = Some(BytesMut::from(&part[..]));
            }
            Frame::Continuation(Item::Continue(part)) => self.take_fragment(&part),
            Frame::Continuation(Item::Last(part)) => {
                self.take_fragment(&part);
                if let Some(text) = self.fragments.take() {
                    self.take_text(&text);
                }
            }
            Frame::Ping(payload) => self.put(Message::Pong(payload)),
            Frame::Pong(_) => {}
            Frame::Close(reason) => {
                self.put(Message::Close(reason));
                self.is_ended = true;
            }
        }
    }

    fn take_fragment(&mut self, part: &[u8]) {
        let max = self.state.options.max_frame_bytes;
        match &mut self.fragments {
            Some(parts) if parts.len() + part.len() <= max => parts.extend_from_slice(part),
            Some(_) => self.close(CloseCode::Size, "the message is too large"),
            None => self.close(CloseCode::Protocol, "a fragment without a beginning"),
        }
    }

    fn take_text(&mut self, text: &[u8]) {
        let answer = match command::decode(text) {
            Ok((id, command)) => self.carry_out(id, command),
            Err(FrameError::Answer(answer)) => Some(answer),
            Err(FrameError::NotAnObject) => {
                self.close(CloseCode::Invalid, "a frame must be a JSON object");
                None
            }
        };
        if let Some(answer) = answer {
            put_text_frame(&mut self.out, answer.as_bytes());
        }
    }

    fn carry_out(&mut self, id: Value, command: Command) -> Option<String> {
        match command {
            Command::Ping => {
                let cursor = if self.with_cursor { self.subscription.caught_up_at() } else { None };
                Some(command::success(&id, "pong", cursor.as_ref()))
            }
            Command::StartConsuming(path) => Some(match self.subscription.filters().add(path) {
                // A subscription that has ended is found out in a moment, and closes the connection.
                FilterChange::Done | FilterChange::Unchanged | FilterChange::Ended => command::success(&id, "OK", None),
                FilterChange::TooMany => command::error(&id, 400, &command::too_many_paths()),
            }),
            Command::StopConsuming(path) => Some(match self.subscription.filters().remove(&path) {
                FilterChange::Done | FilterChange::Ended => command::success(&id, "OK", None),
                FilterChange::Unchanged | FilterChange::TooMany => {
                    command::error(&id, 400, &format!("path was not consumed '{path}'"))
                }
            }),
            Command::Resume { paths, after } => {
                self.with_cursor = true;
                let hub = self.state.hub.clone();
                let from = after.map_or(SubscribeFrom::Now, SubscribeFrom::After);
                let filters = paths.clone();
                let subscribing = Box::pin(async move { hub.subscribe(filters, from).await });
                self.resuming = Some((id, paths, subscribing));
                None
            }
        }
    }

    fn poll_resume(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((id, paths, subscribing)) = &mut self.resuming else { return Poll::Ready(()) };
        let outcome = ready!(subscribing.as_mut().poll(cx));
        let is_reset = matches!(outcome, Err(Gone::NotRetained));
        let subscription = match outcome {
            Err(Gone::NotRetained) => self.state.hub.listen(std::mem::take(paths)),
            other => other,
        };
        let id = std::mem::take(id);
        self.resuming = None;
        match subscription {
            Ok(subscription) => {
                let cursor = subscription.start().clone();
                self.subscription = subscription;
                let answer = if is_reset {
                    self.state.metrics.resets.with_label_values(&["ws"]).inc();
                    serde_json::json!({ "error": "no longer retained", "code": 410, "_id": id, "cursor": cursor.to_string() })
                        .to_string()
                } else {
                    command::success(&id, "OK", Some(&cursor))
                };
                put_text_frame(&mut self.out, answer.as_bytes());
            }
            Err(_) => self.close(CloseCode::Restart, "shutting down"),
        }
        Poll::Ready(())
    }

    fn poll_events(&mut self, cx: &mut Context<'_>) {
        while !self.is_ended && self.out.len() < CHUNK_BYTES {
            match self.subscription.poll_recv(cx) {
                Poll::Ready(Ok(delivery)) => {
                    self.out.extend_from_slice(&event_frame(&delivery, self.with_cursor));
                }
                Poll::Ready(Err(Gone::ShutDown)) => self.close(CloseCode::Restart, "shutting down"),
                Poll::Ready(Err(Gone::TooSlow | Gone::NotRetained)) => {
                    self.state.metrics.resets.with_label_values(&["ws"]).inc();
                    self.close(CloseCode::Again, "reset: events were lost, fetch again");
                }
                Poll::Pending => return,
            }
        }
    }
}

impl LiveStream for Conversation {
    fn take_input(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    fn poll_next(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.is_ended && self.shutdown.as_mut().poll(cx).is_ready() {
            self.close(CloseCode::Restart, "shutting down");
        }
        if !self.is_ended && self.poll_resume(cx).is_ready() {
            self.poll_input(socket, cx);
            // A `resume` just read has to be polled once to be woken.
            if self.poll_resume(cx).is_ready() {
                self.poll_events(cx);
            }
        }
        if let Some(ping) = &mut self.ping
            && !self.is_ended
            && ping.poll_tick(cx).is_ready()
        {
            // The tick after this one has to be waited for.
            while ping.poll_tick(cx).is_ready() {}
            self.put(Message::Ping(Bytes::new()));
        }
        if !self.out.is_empty() {
            // All of it: a part that stays would keep the whole buffer for as long as the connection lives.
            return Poll::Ready(Some(std::mem::take(&mut self.out).freeze()));
        }
        if self.is_ended { Poll::Ready(None) } else { Poll::Pending }
    }
}
