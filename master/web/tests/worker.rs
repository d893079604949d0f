//! Workers that connect over the web port.

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use support::{Server, Setup};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};
use worker_protocol::{Admission, FrameSocket, Refusal, WorkerAcceptor};

/// Sends every frame back, and ends at an empty one.
struct Echo;

#[async_trait]
impl WorkerAcceptor for Echo {
    async fn authenticate(&self, name: &str, password: &str) -> Result<Admission, Refusal> {
        if (name, password) == ("w1", "pw") { Ok(Admission::new(name)) } else { Err(Refusal::BadCredentials) }
    }

    async fn serve(&self, admission: Admission, mut socket: FrameSocket) {
        assert_eq!(admission.worker_name, "w1");
        while let Some(frame) = socket.incoming.recv().await {
            if frame.is_empty() || socket.outgoing.send(frame).await.is_err() {
                return;
            }
        }
    }
}

async fn handshake(
    server: &Server,
    authorization: Option<&'static str>,
) -> Result<tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>, u16> {
    handshake_at(server, "/worker", authorization).await
}

async fn handshake_at(
    server: &Server,
    path: &str,
    authorization: Option<&'static str>,
) -> Result<tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>, u16> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().expect("a request");
    if let Some(value) = authorization {
        request.headers_mut().insert("Authorization", HeaderValue::from_static(value));
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// `w1:pw`
const RIGHT: &str = "Basic dzE6cHc=";
/// `w1:no`
const WRONG: &str = "Basic dzE6bm8=";

#[tokio::test]
async fn frames_go_both_ways() {
    let server = Server::with(Setup { workers: Some(Arc::new(Echo)), ..Setup::default() }).await;
    let mut socket = handshake(&server, Some(RIGHT)).await.expect("is admitted");
    for size in [1, 100, 70_000, 3_000_000] {
        let frame = Message::binary(vec![7; size]);
        socket.send(frame.clone()).await.expect("sends");
        let back = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("in time");
        assert!(back.expect("open").expect("no error") == frame, "{size} bytes come back");
    }
    socket.send(Message::binary(Vec::new())).await.expect("sends");
    let end = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("in time");
    assert!(matches!(end, None | Some(Ok(Message::Close(_)))), "{end:?}");
    server.stop().await;
}

/// The stock worker cannot be given a path.
#[tokio::test]
async fn a_websocket_at_the_root_is_a_worker() {
    let server = Server::with(Setup { workers: Some(Arc::new(Echo)), ..Setup::default() }).await;
    assert!(handshake_at(&server, "/", Some(RIGHT)).await.is_ok());
    assert_eq!(handshake_at(&server, "/", None).await.err(), Some(401));
    assert_eq!(server.get("/").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_admitted_is_refused_in_the_handshake() {
    let server = Server::with(Setup { workers: Some(Arc::new(Echo)), ..Setup::default() }).await;
    assert_eq!(handshake(&server, None).await.err(), Some(401));
    assert_eq!(handshake(&server, Some(WRONG)).await.err(), Some(401));
    assert_eq!(handshake(&server, Some("Basic !")).await.err(), Some(400));
    server.stop().await;
    let without = Server::start().await;
    assert_eq!(handshake(&without, Some(RIGHT)).await.err(), Some(503));
    without.stop().await;
}

#[tokio::test]
async fn connections_end_when_the_server_stops() {
    let server = Server::with(Setup { workers: Some(Arc::new(Echo)), ..Setup::default() }).await;
    let mut socket = handshake(&server, Some(RIGHT)).await.expect("is admitted");
    server.stop().await;
    while let Some(Ok(message)) = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("in time") {
        assert!(matches!(message, Message::Close(_)), "{message:?}");
    }
}
