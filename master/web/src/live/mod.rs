//! Live events for browsers and scripts: the WebSocket (`/ws`) and server-sent events (`/sse`).
//!
//! A stream takes its socket over from HTTP ([`handover`](crate::handover)) and pulls from its subscription when the socket
//! takes more, so that there is neither a task nor a second queue per client besides the connection's own, no buffer waits
//! empty, and a slow client fills its own bounded queue only.

mod command;
mod frame;
mod guard;
mod sessions;
mod sse;
mod sse_commands;
mod websocket;

pub(crate) use self::{sessions::SseSessions, sse::listen, sse_commands::change_filters, websocket::websocket};

/// A stream gathers about this much before it hands it to the socket.
const CHUNK_BYTES: usize = 32 * 1024;

/// Reads a WebSocket client's frame, for nothing.
#[cfg(feature = "fuzzing")]
pub(crate) fn decode_frame(frame: &[u8]) {
    let _ = command::decode(frame);
}
