//! Carries frames between a WebSocket and a [`FrameSocket`](super::FrameSocket)'s other end.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::FrameSocket;

/// How a dead peer is noticed.
#[derive(Debug, Clone, Copy)]
pub struct PingOptions {
    /// How long a connection may be silent before it is pinged.
    pub interval: Duration,
    /// How long after a ping something must have come.
    pub timeout: Duration,
}

impl Default for PingOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
        }
    }
}

/// How long the closing handshake may take; the stock worker gives it one second too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The limits of a WebSocket of this protocol.
pub(super) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(crate::MAX_MESSAGE_BYTES))
        .max_frame_size(Some(crate::MAX_MESSAGE_BYTES))
        // Twice an update's usual size: one system call for each.
        .read_buffer_size(128 * 1024)
}

/// Why a WebSocket's use ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PumpError {
    /// The peer did not answer a ping.
    #[error("no answer to a ping within {0:?}")]
    PingTimeout(Duration),
    /// The WebSocket failed.
    #[error(transparent)]
    WebSocket(#[from] Box<Error>),
}

impl From<Error> for PumpError {
    fn from(error: Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// Carries frames until either side closes. `inner` is the end of a [`FrameSocket::pair`] whose other end is in use.
///
/// Reading stops while `inner` is full, so that a slow user slows the peer down. While it is stopped no pong can be
/// seen, and silence is not held against the peer.
///
/// # Errors
/// If the connection was lost rather than closed.
pub async fn pump<S>(
    socket: WebSocketStream<S>,
    inner: FrameSocket,
    pings: PingOptions,
) -> Result<(), PumpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let FrameSocket {
        mut incoming,
        outgoing,
        ..
    } = inner;
    let (mut sink, mut stream) = socket.split();
    let mut waiting: Option<Bytes> = None;
    let mut last_heard = Instant::now();
    let mut pinged: Option<Instant> = None;
    loop {
        let silence = match pinged {
            None => last_heard + pings.interval,
            Some(at) => at + pings.timeout,
        };
        tokio::select! {
            frame = incoming.recv() => {
                let Some(frame) = frame else {
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(None))).await;
                    return Ok(());
                };
                sink.feed(Message::Binary(frame)).await?;
                // What is ready goes out with one system call.
                while let Ok(frame) = incoming.try_recv() {
                    sink.feed(Message::Binary(frame)).await?;
                }
                sink.flush().await?;
            }
            slot = outgoing.reserve(), if waiting.is_some() => {
                let Ok(slot) = slot else {
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(None))).await;
                    return Ok(());
                };
                if let Some(frame) = waiting.take() {
                    slot.send(frame);
                }
                last_heard = Instant::now();
            }
            message = stream.next(), if waiting.is_none() => {
                last_heard = Instant::now();
                pinged = None;
                match message {
                    None => return Ok(()),
                    Some(Err(Error::ConnectionClosed)) => return Ok(()),
                    Some(Err(error)) => return Err(error.into()),
                    Some(Ok(Message::Binary(frame))) => waiting = Some(frame),
                    Some(Ok(Message::Text(_))) => tracing::warn!("text frame was ignored"),
                    Some(Ok(Message::Close(_))) => {
                        // The answer to the close frame is queued by the library; flushing sends it.
                        let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.flush()).await;
                        return Ok(());
                    }
                    Some(Ok(Message::Ping(_))) => sink.flush().await?,
                    Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
                }
            }
            () = tokio::time::sleep_until(silence), if waiting.is_none() => {
                if pinged.is_some() {
                    return Err(PumpError::PingTimeout(pings.timeout));
                }
                sink.send(Message::Ping(Bytes::new())).await?;
                pinged = Some(Instant::now());
            }
            () = outgoing.closed() => {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(None))).await;
                return Ok(());
            }
        }
    }
}
