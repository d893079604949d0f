//! A worker's side of a connection.

use base64::Engine as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::pump::websocket_config;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The master refused: wrong name or password, or it takes no workers now.
    #[error("master answered {0}")]
    Refused(http::StatusCode),
    /// The address or the credentials cannot be put into a request.
    #[error("unusable address or credentials: {0}")]
    BadRequest(#[source] Box<Error>),
    /// The handshake failed.
    #[error(transparent)]
    WebSocket(#[from] Box<Error>),
}

/// Makes a WebSocket of a connected stream, with HTTP basic authentication. `url` gives the `Host` header and the
/// path, such as `ws://ci.example.org:9989/`.
///
/// # Errors
/// If the master refuses or the handshake fails. There is no timeout: the caller sets one.
pub async fn connect<S>(stream: S, url: &str, name: &str, password: &str) -> Result<WebSocketStream<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = url.into_client_request().map_err(|e| ConnectError::BadRequest(Box::new(e)))?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .map_err(|e| ConnectError::BadRequest(Box::new(Error::HttpFormat(e.into()))))?;
    value.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, value);
    match client_async_with_config(request, stream, Some(websocket_config())).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(ConnectError::Refused(response.status())),
        Err(error) => Err(ConnectError::WebSocket(Box::new(error))),
    }
}
