//! The HTTP head of the WebSocket handshake, and the credentials in it.

use base64::Engine as _;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::http;

use crate::Refusal;

/// More than any handshake needs.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// What can be wrong with a request head.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    #[error("connection ended during the handshake")]
    Eof,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("request head is not HTTP")]
    Malformed,
    #[error("request head is too long")]
    TooLong,
}

/// Reads a request head. Returns what came after it, too.
pub(super) async fn read_head<S>(stream: &mut S) -> Result<(http::Request<()>, Vec<u8>), HeadError>
where
    S: AsyncRead + Unpin,
{
    let mut buf = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut buf).await? == 0 {
            return Err(HeadError::Eof);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(&buf).map_err(|_| HeadError::Malformed)? {
            httparse::Status::Partial if buf.len() >= MAX_HEAD_BYTES => {
                return Err(HeadError::TooLong);
            }
            httparse::Status::Partial => {}
            httparse::Status::Complete(len) => {
                let request = build(&head)?;
                return Ok((request, buf.split_off(len)));
            }
        }
    }
}

fn build(head: &httparse::Request<'_, '_>) -> Result<http::Request<()>, HeadError> {
    let mut request = http::Request::builder()
        .method(head.method.unwrap_or_default())
        .uri(head.path.unwrap_or_default())
        .version(if head.version == Some(1) { http::Version::HTTP_11 } else { http::Version::HTTP_10 });
    for header in head.headers.iter() {
        request = request.header(header.name, header.value);
    }
    request.body(()).map_err(|_| HeadError::Malformed)
}

/// The name and password of HTTP basic authentication. The password may contain colons, the name may not.
///
/// # Errors
/// [`Refusal::NoCredentials`] or [`Refusal::MalformedCredentials`].
pub(super) fn credentials(authorization: Option<&[u8]>) -> Result<(String, String), Refusal> {
    let header = authorization.ok_or(Refusal::NoCredentials)?;
    let header = std::str::from_utf8(header).map_err(|_| Refusal::MalformedCredentials)?;
    let (scheme, encoded) = header.split_once(' ').ok_or(Refusal::MalformedCredentials)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::MalformedCredentials);
    }
    let decoded =
        base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| Refusal::MalformedCredentials)?;
    let text = String::from_utf8(decoded).map_err(|_| Refusal::MalformedCredentials)?;
    let (name, password) = text.split_once(':').ok_or(Refusal::MalformedCredentials)?;
    Ok((name.to_owned(), password.to_owned()))
}
