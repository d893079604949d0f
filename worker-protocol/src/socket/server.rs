//! A master's side of a connection: handshake with credentials, then frames.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::handshake::{self, HeadError};
use super::pump::{PingOptions, PumpError, pump, websocket_config};
use super::{FRAME_QUEUE, FrameSocket};
use crate::{Admission, Refusal, WorkerAcceptor};

/// The stock worker waits five seconds for a whole answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection did not become a worker's, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The handshake took too long.
    #[error("no handshake within {HANDSHAKE_TIMEOUT:?}")]
    HandshakeTimeout,
    /// The handshake could not be read or answered.
    #[error("handshake: {0}")]
    Handshake(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The worker may not connect.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The connection was lost.
    #[error(transparent)]
    Lost(#[from] PumpError),
}

/// The credentials in an `Authorization` header, for other HTTP servers that accept workers.
///
/// # Errors
/// [`Refusal::NoCredentials`] without a header, [`Refusal::MalformedCredentials`] if it cannot be read.
pub fn credentials(authorization: Option<&[u8]>) -> Result<(String, String), Refusal> {
    handshake::credentials(authorization)
}

/// Serves one connection on a worker port from its first byte to its end: any path, HTTP basic authentication, then
/// [`WorkerAcceptor::serve`].
///
/// # Errors
/// If it did not become a worker's connection, or was lost rather than closed.
pub async fn serve<S>(
    mut stream: S,
    peer: String,
    acceptor: Arc<dyn WorkerAcceptor>,
    pings: PingOptions,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (admission, rest) = tokio::time::timeout(HANDSHAKE_TIMEOUT, accept(&mut stream, acceptor.as_ref()))
        .await
        .map_err(|_| ServeError::HandshakeTimeout)??;
    let socket = if rest.is_empty() {
        WebSocketStream::from_raw_socket(stream, Role::Server, Some(websocket_config())).await
    } else {
        WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(websocket_config())).await
    };
    let (inner, outer) = FrameSocket::pair(&peer, FRAME_QUEUE);
    // The session and the carrying of its frames end together: whichever ends first closes the channels of the other.
    let (result, ()) = tokio::join!(pump(socket, inner, pings), acceptor.serve(admission, outer));
    result.map_err(ServeError::from)
}

async fn accept<S>(stream: &mut S, acceptor: &dyn WorkerAcceptor) -> Result<(Admission, Vec<u8>), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (request, rest) = match handshake::read_head(stream).await {
        Ok(head) => head,
        Err(error) => {
            if matches!(error, HeadError::Malformed | HeadError::TooLong) {
                refuse(stream, 400).await;
            }
            return Err(ServeError::Handshake(error.into()));
        }
    };
    let authorization = request.headers().get("authorization").map(|value| value.as_bytes());
    let admission = match handshake::credentials(authorization) {
        Ok((name, password)) => acceptor.authenticate(&name, &password).await,
        Err(refusal) => Err(refusal),
    };
    let admission = match admission {
        Ok(admission) => admission,
        Err(refusal) => {
            refuse(stream, refusal.status()).await;
            return Err(refusal.into());
        }
    };
    let response = match create_response(&request) {
        Ok(response) => response,
        Err(error) => {
            refuse(stream, 400).await;
            return Err(ServeError::Handshake(error.into()));
        }
    };
    let mut head = Vec::with_capacity(256);
    write_response(&mut head, &response).map_err(|error| ServeError::Handshake(error.into()))?;
    stream.write_all(&head).await.map_err(|error| ServeError::Handshake(error.into()))?;
    stream.flush().await.map_err(|error| ServeError::Handshake(error.into()))?;
    Ok((admission, rest))
}

/// Answers without accepting. Errors do not matter: the connection is given up anyway.
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, status: u16) {
    let reason = match status {
        401 => "Unauthorized",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let challenge = if status == 401 { "WWW-Authenticate: Basic realm=\"workers\"\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status} {reason}\r\n{challenge}Connection: close\r\nContent-Length: 0\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.shutdown().await;
}
