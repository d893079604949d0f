//! The WebSocket protocol over a real socket.

mod support;

use std::time::Duration;

use broker_adapters::HubOptions;
use futures::{SinkExt, StreamExt};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Server, Setup};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server) -> Socket {
    connect_async(format!("ws://{}/ws", server.address)).await.expect("connects").0
}

async fn send(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("sends");
}

/// The next message; none if the connection was closed.
async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        match tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("in time")? {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("JSON")),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn ask(socket: &mut Socket, command: Value) -> Value {
    send(socket, &command.to_string()).await;
    next(socket).await.expect("an answer")
}

#[tokio::test]
async fn commands_and_answers() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    for (command, answer) in [
        (json!({"_id": 1, "cmd": "ping"}), json!({"msg": "pong", "code": 200, "_id": 1})),
        (json!({"_id": "x", "cmd": "ping"}), json!({"msg": "pong", "code": 200, "_id": "x"})),
        (json!({"cmd": "ping"}), json!({"error": "no '_id' or 'type' in websocket frame", "code": 400, "_id": null})),
        (json!({"_id": 3, "cmd": "poing"}), json!({"error": "no such command type 'poing'", "code": 404, "_id": 3})),
        (json!({"_id": 6, "cmd": "startConsuming", "path": "builds/*/*"}), json!({"msg": "OK", "code": 200, "_id": 6})),
        (json!({"_id": 7, "cmd": "startConsuming", "path": "builds/*/*"}), json!({"msg": "OK", "code": 200, "_id": 7})),
        (json!({"_id": 8, "cmd": "stopConsuming", "path": "builds/*/*"}), json!({"msg": "OK", "code": 200, "_id": 8})),
        (
            json!({"_id": 9, "cmd": "stopConsuming", "path": "builds/*/*"}),
            json!({"error": "path was not consumed 'builds/*/*'", "code": 400, "_id": 9}),
        ),
    ] {
        assert_eq!(ask(&mut socket, command).await, answer);
    }
    send(&mut socket, "{broken").await;
    assert_eq!(next(&mut socket).await, None);
    let plain = server.get("/ws").await;
    assert!(plain.status().is_client_error(), "{}", plain.status());
    server.stop().await;
}

#[tokio::test]
async fn events_come_once_per_matching_path() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    // Pipelined.
    for (id, path) in [(1, "builds/*/*"), (2, "builds/*/*"), (3, "builds/3/*"), (4, "builders/1/*/*/new")] {
        send(&mut socket, &json!({"_id": id, "cmd": "startConsuming", "path": path}).to_string()).await;
    }
    for id in 1..=4 {
        assert_eq!(next(&mut socket).await.expect("an answer"), json!({"msg": "OK", "code": 200, "_id": id}));
    }
    let keys = ["builders/1/builds/2/new", "builds/3/new", "workers/2/builds/3/new"];
    server.publish(&keys, &json!({"buildid": 3})).await;
    for key in ["builders/1/builds/2/new", "builds/3/new", "builds/3/new"] {
        assert_eq!(next(&mut socket).await.expect("an event"), json!({"k": key, "m": {"buildid": 3}}));
    }
    server.publish(&["builds/4/new"], &Value::Null).await;
    assert_eq!(next(&mut socket).await.expect("an event"), json!({"k": "builds/4/new", "m": null}));
    server.stop().await;
}

#[tokio::test]
async fn a_connection_resumes_where_another_was_lost() {
    let server = Server::start().await;
    let mut first = connect(&server).await;
    let answer = ask(&mut first, json!({"_id": 1, "cmd": "resume", "paths": ["builds/*/*"]})).await;
    assert_eq!(answer["code"], 200);
    let start = answer["cursor"].clone();
    for id in 0..5 {
        server.publish(&[&format!("builds/{id}/new")], &json!({"buildid": id})).await;
    }
    let mut cursor = start.clone();
    for id in 0..2 {
        let event = next(&mut first).await.expect("an event");
        assert_eq!(event["k"], format!("builds/{id}/new"));
        cursor = event["c"].clone();
    }
    drop(first);
    let mut second = connect(&server).await;
    let answer = ask(&mut second, json!({"_id": 1, "cmd": "resume", "paths": ["builds/*/*"], "after": cursor})).await;
    // Whoever loses this connection before the first event has to come back with the same cursor.
    assert_eq!(answer, json!({"msg": "OK", "code": 200, "_id": 1, "cursor": cursor}));
    for id in 2..5 {
        assert_eq!(next(&mut second).await.expect("an event")["k"], format!("builds/{id}/new"));
    }
    let pong = ask(&mut second, json!({"_id": 2, "cmd": "ping"})).await;
    assert!(pong["cursor"].is_string(), "{pong}");
    let other =
        ask(&mut second, json!({"_id": 3, "cmd": "resume", "paths": ["builds/*/*"], "after": "another.1.0"})).await;
    assert_eq!(other["code"], 410);
    server.publish(&["builds/9/new"], &Value::Null).await;
    assert_eq!(next(&mut second).await.expect("an event")["k"], "builds/9/new");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_put_out() {
    let mut hub = HubOptions::default();
    hub.queue_len = 64;
    let server = Server::with(Setup { hub, ..Setup::default() }).await;
    let mut slow = connect(&server).await;
    ask(&mut slow, json!({"_id": 1, "cmd": "startConsuming", "path": "builds/*/*"})).await;
    let body = json!({ "text": "x".repeat(100_000) });
    for id in 0..400 {
        server.publish(&[&format!("builds/{id}/update")], &body).await;
        tokio::task::yield_now().await;
    }
    let mut events = 0;
    while next(&mut slow).await.is_some() {
        events += 1;
    }
    assert!(events < 400, "it was put out before the end");
    // The one that is left waits for other replicas' changes.
    assert_eq!(server.hub.subscriber_count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn fragments_pings_and_large_messages() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    socket.send(Message::Ping("x".into())).await.expect("sends");
    let pong = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("in time");
    assert_eq!(pong.expect("open").expect("no error"), Message::Pong("x".into()));
    let long = format!("{{\"_id\": \"{}\", \"cmd\": \"ping\"}}", "i".repeat(60_000));
    send(&mut socket, &long).await;
    assert_eq!(next(&mut socket).await.expect("an answer")["code"], 200);
    send(&mut socket, &"x".repeat(1_000_000)).await;
    assert_eq!(next(&mut socket).await, None);
    server.stop().await;
}

#[test]
fn no_frame_breaks_the_server() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let fuzz = ProptestConfig { cases: 100, ..ProptestConfig::default() };
    proptest!(fuzz, |(frames in prop::collection::vec(any::<Vec<u8>>(), 1..4), is_text in any::<bool>())| {
        runtime.block_on(async {
            let mut socket = connect(&server).await;
            for frame in frames {
                let message = match String::from_utf8(frame) {
                    Ok(text) if is_text => Message::text(text),
                    Ok(text) => Message::binary(text.into_bytes()),
                    Err(error) => Message::binary(error.into_bytes()),
                };
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        });
    });
    runtime.block_on(async {
        let mut socket = connect(&server).await;
        assert_eq!(ask(&mut socket, json!({"_id": 1, "cmd": "ping"})).await["code"], 200);
        server.stop().await;
    });
}
