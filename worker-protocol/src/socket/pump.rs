//! Carries frames between a WebSocket and a [`FrameSocket`](super::FrameSocket)'s other end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
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
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(20) }
    }
}

/// How long the closing handshake may take; the stock worker gives it one second too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer may take nothing. Long, because a master that writes slowly to its database may read nothing for a
/// while, on purpose.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// How much is read from a connection at once.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// The limits of a WebSocket of this protocol.
pub(super) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(crate::MAX_MESSAGE_BYTES))
        .max_frame_size(Some(crate::MAX_MESSAGE_BYTES))
        // Every connection keeps a buffer of this size, and clears it before each read, however little comes.
        .read_buffer_size(READ_BUFFER_BYTES)
}

/// Why a WebSocket's use ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PumpError {
    /// The peer did not answer a ping.
    #[error("no answer to a ping within {0:?}")]
    PingTimeout(Duration),
    /// The peer takes nothing any more.
    #[error("nothing could be written for {WRITE_TIMEOUT:?}")]
    WriteTimeout,
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
/// Reading and writing go on independently of each other, so that two ends with full buffers cannot block each other.
/// Reading stops while `inner` is full, so that a slow user slows the peer down; meanwhile silence is not held against
/// the peer. When the user drops its end, what it has sent still leaves before the connection closes.
///
/// # Errors
/// If the connection was lost rather than closed.
pub async fn pump<S>(socket: WebSocketStream<S>, inner: FrameSocket, pings: PingOptions) -> Result<(), PumpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let FrameSocket { incoming, outgoing, .. } = inner;
    let (sink, mut stream) = socket.split();
    let heard = Heard::new();
    let mut writer = std::pin::pin!(write_frames(sink, incoming, &heard, pings));
    let read = {
        let mut reader = std::pin::pin!(read_frames(&mut stream, outgoing, &heard));
        tokio::select! {
            read = &mut reader => Some(read?),
            written = &mut writer => {
                written?;
                None
            }
        }
    };
    match read {
        // Reading on sends the answer to the close frame.
        Some(ReadEnd::PeerClosed) => {}
        Some(ReadEnd::UserGone) => {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, writer).await;
        }
        None => {}
    }
    let closing = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    Ok(())
}

/// When something last came from the peer. While the reader waits for its user, that is now.
struct Heard {
    state: Mutex<(Instant, bool)>,
}

impl Heard {
    fn new() -> Self {
        Self { state: Mutex::new((Instant::now(), false)) }
    }

    fn something(&self, user_is_slow: bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), user_is_slow);
    }

    fn last(&self) -> Instant {
        let (at, user_is_slow) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if user_is_slow { Instant::now() } else { at }
    }
}

enum ReadEnd {
    PeerClosed,
    UserGone,
}

async fn read_frames<S>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    outgoing: mpsc::Sender<Bytes>,
    heard: &Heard,
) -> Result<ReadEnd, PumpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = outgoing.closed() => return Ok(ReadEnd::UserGone),
        };
        heard.something(false);
        match message {
            None | Some(Err(Error::ConnectionClosed) | Ok(Message::Close(_))) => return Ok(ReadEnd::PeerClosed),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Message::Binary(frame))) => {
                heard.something(true);
                if outgoing.send(frame).await.is_err() {
                    return Ok(ReadEnd::UserGone);
                }
                heard.something(false);
            }
            Some(Ok(Message::Text(_))) => tracing::warn!("text frame was ignored"),
            // The library answers pings while it reads.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
        }
    }
}

/// Ends well when there is nothing more to write.
async fn write_frames<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut incoming: mpsc::Receiver<Bytes>,
    heard: &Heard,
    pings: PingOptions,
) -> Result<(), PumpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pinged: Option<Instant> = None;
    loop {
        let last = heard.last();
        if pinged.is_some_and(|at| last > at) {
            pinged = None;
        }
        let deadline = match pinged {
            None => last + pings.interval,
            Some(at) => at + pings.timeout,
        };
        tokio::select! {
            frame = incoming.recv() => match frame {
                Some(frame) => timed(write_ready(&mut sink, frame, &mut incoming)).await?,
                None => {
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(None))).await;
                    return Ok(());
                }
            },
            () = tokio::time::sleep_until(deadline) => {
                if heard.last() > last {
                    continue;
                }
                if pinged.is_some() {
                    return Err(PumpError::PingTimeout(pings.timeout));
                }
                timed(async { Ok(sink.send(Message::Ping(Bytes::new())).await?) }).await?;
                pinged = Some(Instant::now());
            }
        }
    }
}

/// Writes a frame and all that wait behind it with as few system calls as possible.
async fn write_ready<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    frame: Bytes,
    incoming: &mut mpsc::Receiver<Bytes>,
) -> Result<(), PumpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    sink.feed(Message::Binary(frame)).await?;
    while let Ok(frame) = incoming.try_recv() {
        sink.feed(Message::Binary(frame)).await?;
    }
    Ok(sink.flush().await?)
}

async fn timed(write: impl Future<Output = Result<(), PumpError>>) -> Result<(), PumpError> {
    tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or(Err(PumpError::WriteTimeout))
}
