//! What a subscriber costs. Alone in its process, because it weighs all of it.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;
use support::Server;

/// Of each kind.
const SUBSCRIBERS: usize = 150;
const MAX_KIB_EACH: usize = 10;

/// The process's own memory. The clients are in it, too, but a socket is in the kernel.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("known");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn read_until(socket: &mut TcpStream, end: &str) {
    let (mut text, mut part) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&text).contains(end) {
        let len = socket.read(&mut part).expect("in time");
        assert!(len > 0, "it ended");
        text.extend_from_slice(&part[..len]);
    }
}

fn listen(address: SocketAddr, is_websocket: bool) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    if is_websocket {
        let head = format!(
            "GET /ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("sends");
        read_until(&mut socket, "\r\n\r\n");
        let command = json!({"_id": 1, "cmd": "startConsuming", "path": "builds/*/*"}).to_string();
        let len = u8::try_from(command.len()).expect("short");
        // A text frame with a mask that changes nothing.
        let frame = [&[0x81, 0x80 | len, 0, 0, 0, 0], command.as_bytes()].concat();
        socket.write_all(&frame).expect("sends");
        read_until(&mut socket, "\"code\":200");
    } else {
        let head = format!("GET /sse/listen/builds/*/* HTTP/1.1\r\nhost: {address}\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("sends");
        read_until(&mut socket, "event: handshake");
    }
    socket
}

async fn listen_all(server: &Server, count: usize) -> Vec<TcpStream> {
    let address = server.address;
    let connecting = tokio::task::spawn_blocking(move || {
        (0..count).flat_map(|_| [false, true]).map(|is_websocket| listen(address, is_websocket)).collect()
    });
    connecting.await.expect("no panic")
}

#[tokio::test]
async fn a_subscriber_costs_little() {
    let server = Server::start().await;
    // What the first ones need is not theirs alone.
    drop(listen_all(&server, 20).await);
    let before = resident_kib();
    let clients = listen_all(&server, SUBSCRIBERS).await;
    let idle = resident_kib().saturating_sub(before);
    let body = json!({ "text": "x".repeat(500) });
    for id in 0..100 {
        server.publish(&[&format!("builds/{id}/update")], &body).await;
    }
    server.publish(&["builds/100/last"], &body).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut clients = clients;
        for client in &mut clients {
            read_until(client, "last");
        }
        clients
    });
    let clients = reading.await.expect("no panic");
    let busy = resident_kib().saturating_sub(before);
    let (idle, busy) = (idle / clients.len(), busy / clients.len());
    println!("a subscriber costs {idle} KiB, and {busy} KiB after events");
    assert!(idle <= MAX_KIB_EACH && busy <= MAX_KIB_EACH, "{idle} KiB, {busy} KiB after events");
    server.stop().await;
}
