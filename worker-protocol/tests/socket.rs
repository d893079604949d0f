//! The handshake and the carrying of frames, over real TCP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use worker_protocol::socket::{FRAME_QUEUE, PingOptions, client, pump, server};
use worker_protocol::{Admission, FrameSocket, Refusal, WorkerAcceptor};

/// Admits `w` with `p:w`, and sends every frame back.
#[derive(Default)]
struct Echo {
    served: Mutex<Vec<String>>,
}

#[async_trait]
impl WorkerAcceptor for Echo {
    async fn authenticate(&self, name: &str, password: &str) -> Result<Admission, Refusal> {
        match (name, password) {
            ("w", "p:w") => Ok(Admission::new(name)),
            ("busy", _) => Err(Refusal::Unavailable),
            _ => Err(Refusal::BadCredentials),
        }
    }

    async fn serve(&self, admission: Admission, mut socket: FrameSocket) {
        self.served.lock().unwrap().push(admission.worker_name);
        while let Some(frame) = socket.incoming.recv().await {
            if &frame[..] == b"bye" {
                let _ = socket.outgoing.send(Bytes::from_static(b"last words")).await;
                return;
            }
            if socket.outgoing.send(frame).await.is_err() {
                return;
            }
        }
    }
}

async fn listen(pings: PingOptions) -> (Arc<Echo>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = Arc::new(Echo::default());
    let acceptor = echo.clone();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            tokio::spawn(server::serve(stream, peer.to_string(), acceptor.clone() as Arc<dyn WorkerAcceptor>, pings));
        }
    });
    (echo, address)
}

/// Sends a request head and returns the answer's first line.
async fn answer(address: std::net::SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let mut buf = [0; 1024];
    while !text.windows(4).any(|w| w == b"\r\n\r\n") {
        let len = stream.read(&mut buf).await.unwrap();
        if len == 0 {
            break;
        }
        text.extend_from_slice(&buf[..len]);
    }
    String::from_utf8(text).unwrap().lines().next().unwrap_or_default().to_owned()
}

fn head(authorization: &str) -> String {
    format!(
        "GET /any/path HTTP/1.1\r\nUser-Agent: AutobahnPython/26.10.2\r\nHost: 127.0.0.1\r\nUpgrade: WebSocket\r\n\
         Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n{authorization}\
         Sec-WebSocket-Key: YPKx894n0c7dU++kIjJiSg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

#[tokio::test]
async fn the_handshake_is_answered_as_a_stock_master_does() {
    let (_echo, address) = listen(PingOptions::default()).await;
    for (authorization, status) in [
        // w:p:w
        ("Authorization: Basic dzpwOnc=\r\n", "101 Switching Protocols"),
        ("authorization: basic dzpwOnc=\r\n", "101 Switching Protocols"),
        ("", "401 Unauthorized"),
        // w:wrong
        ("Authorization: Basic dzp3cm9uZw==\r\n", "401 Unauthorized"),
        ("Authorization: Bearer abc\r\n", "400 Bad Request"),
        ("Authorization: Basic !!!\r\n", "400 Bad Request"),
        // No colon.
        ("Authorization: Basic bm9jb2xvbg==\r\n", "400 Bad Request"),
        // busy:x
        ("Authorization: Basic YnVzeTp4\r\n", "503 Service Unavailable"),
    ] {
        assert_eq!(answer(address, &head(authorization)).await, format!("HTTP/1.1 {status}"), "{authorization}");
    }
    assert_eq!(answer(address, "no http at all\r\n\r\n").await, "HTTP/1.1 400 Bad Request");
    let plain = "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dzpwOnc=\r\n\r\n";
    assert_eq!(answer(address, plain).await, "HTTP/1.1 400 Bad Request");
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(40_000));
    assert_eq!(answer(address, &long).await, "HTTP/1.1 400 Bad Request");
}

async fn connect(
    address: std::net::SocketAddr,
    password: &str,
    pings: PingOptions,
) -> Result<FrameSocket, client::ConnectError> {
    let stream = TcpStream::connect(address).await.unwrap();
    let socket = client::connect(stream, &format!("ws://{address}/"), "w", password).await?;
    let (inner, outer) = FrameSocket::pair("test", FRAME_QUEUE);
    tokio::spawn(pump(socket, inner, pings));
    Ok(outer)
}

#[tokio::test]
async fn frames_go_both_ways_and_the_last_one_arrives() {
    let (echo, address) = listen(PingOptions::default()).await;
    let mut socket = connect(address, "p:w", PingOptions::default()).await.unwrap();
    for size in [0, 1, 70_000, 5_000_000] {
        let frame = Bytes::from(vec![7; size]);
        socket.outgoing.send(frame.clone()).await.unwrap();
        assert_eq!(socket.incoming.recv().await.unwrap(), frame);
    }
    socket.outgoing.send(Bytes::from_static(b"bye")).await.unwrap();
    assert_eq!(socket.incoming.recv().await.unwrap(), "last words");
    assert!(socket.incoming.recv().await.is_none());
    assert_eq!(*echo.served.lock().unwrap(), ["w"]);
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_from_other_trouble() {
    let (_echo, address) = listen(PingOptions::default()).await;
    let refused = connect(address, "wrong", PingOptions::default()).await;
    assert!(matches!(refused, Err(client::ConnectError::Refused(status)) if status == 401));
}

#[tokio::test]
async fn a_message_larger_than_accepted_ends_the_connection() {
    let (_echo, address) = listen(PingOptions::default()).await;
    let mut socket = connect(address, "p:w", PingOptions::default()).await.unwrap();
    let frame = Bytes::from(vec![7; worker_protocol::MAX_MESSAGE_BYTES + 1]);
    let _ = socket.outgoing.send(frame).await;
    assert!(socket.incoming.recv().await.is_none());
}

#[tokio::test]
async fn a_silent_peer_is_noticed_and_a_living_one_is_not_bothered() {
    let pings = PingOptions { interval: Duration::from_millis(500), timeout: Duration::from_secs(10) };
    let (_echo, address) = listen(pings).await;
    // Answers pings while it has nothing to say.
    let mut living = connect(address, "p:w", PingOptions::default()).await.unwrap();
    // Completes the handshake and then does nothing.
    let mut dead = TcpStream::connect(address).await.unwrap();
    dead.write_all(head("Authorization: Basic dzpwOnc=\r\n").as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // The master gives up and closes.
    tokio::time::timeout(Duration::from_secs(60), dead.read_to_end(&mut all)).await.unwrap().unwrap();
    living.outgoing.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(living.incoming.recv().await.unwrap(), "still here");
}
