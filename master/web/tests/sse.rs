//! Server-sent events over a real socket.

mod support;

use std::time::Duration;

use broker_adapters::HubOptions;
use futures::StreamExt;
use serde_json::{Value, json};
use support::{Server, Setup};

/// A record: its event name, data and id.
#[derive(Debug, Clone, PartialEq, Default)]
struct Record {
    event: String,
    data: String,
    id: String,
}

struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(server: &Server, path: &str, last: Option<&str>) -> Self {
        let mut request = server.client.get(server.url(path));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next record; none at the end.
    async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some((record, rest)) = self.text.split_once("\n\n") {
                let mut parsed = Record::default();
                for line in record.lines() {
                    match line.split_once(": ").expect("a field") {
                        ("event", value) => value.clone_into(&mut parsed.event),
                        ("data", value) => value.clone_into(&mut parsed.data),
                        ("id", value) => value.clone_into(&mut parsed.id),
                        (other, _) => panic!("field {other}"),
                    }
                }
                self.text = rest.to_owned();
                return Some(parsed);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.response.chunk()).await.expect("in time");
            match chunk {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8")),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    async fn handshake(&mut self) -> Record {
        let record = self.next().await.expect("a record");
        assert_eq!(record.event, "handshake");
        record
    }

    async fn event(&mut self) -> (Value, Record) {
        let record = self.next().await.expect("a record");
        assert_eq!(record.event, "event", "{record:?}");
        (serde_json::from_str(&record.data).expect("JSON"), record)
    }

    async fn key(&mut self) -> String {
        let (data, _) = self.event().await;
        data["key"].as_array().expect("a list").iter().map(|p| p.as_str().expect("text")).collect::<Vec<_>>().join("/")
    }
}

async fn publish_build(server: &Server, id: u32) {
    server.publish(&[&format!("builds/{id}/new")], &json!({"buildid": id})).await;
}

async fn command(server: &Server, path: &str) -> (u16, String) {
    let response = server.get(path).await;
    (response.status().as_u16(), response.text().await.expect("a body"))
}

#[tokio::test]
async fn handshake_events_and_filters() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    let uuid = stream.handshake().await.data;
    publish_build(&server, 3).await;
    let (data, record) = stream.event().await;
    assert_eq!(data, json!({"key": ["builds", "3", "new"], "message": {"buildid": 3}}));
    assert!(!record.id.is_empty() && !record.id.contains('~'));
    assert_eq!(command(&server, &format!("/sse/add/{uuid}/steps/*/*")).await, (200, "ok".to_owned()));
    server.publish(&["builds/3/steps/7/new", "steps/7/new"], &json!({"stepid": 7})).await;
    assert_eq!(stream.key().await, "steps/7/new");
    assert_eq!(command(&server, &format!("/sse/remove/{uuid}/builds/*/*")).await, (200, "ok".to_owned()));
    publish_build(&server, 4).await;
    server.publish(&["steps/8/new"], &Value::Null).await;
    assert_eq!(stream.key().await, "steps/8/new");
    let not_listening = (404, "consumer is not listening to this event".to_owned());
    assert_eq!(command(&server, &format!("/sse/remove/{uuid}/nosuch/*/*")).await, not_listening);
    assert_eq!(command(&server, "/sse/add/not-a-uuid/steps/*/*").await, (400, "unknown uuid".to_owned()));
    assert_eq!(command(&server, "/sse/add").await, (400, "need uuid".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_resumes_after_its_last_id() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    let start = stream.handshake().await.id;
    for id in 0..5 {
        publish_build(&server, id).await;
    }
    stream.event().await;
    let (_, second) = stream.event().await;
    drop(stream);
    let mut resumed = Stream::open(&server, "/sse/listen/builds/*/*", Some(&second.id)).await;
    resumed.handshake().await;
    for id in 2..5 {
        assert_eq!(resumed.key().await, format!("builds/{id}/new"));
    }
    let mut by_query = Stream::open(&server, &format!("/sse/listen/builds/*/*?after={start}"), None).await;
    by_query.handshake().await;
    for id in 0..5 {
        assert_eq!(by_query.key().await, format!("builds/{id}/new"));
    }
    server.stop().await;
}

#[tokio::test]
async fn added_filters_are_resumed_with_it() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/sse/listen", None).await;
    let uuid = stream.handshake().await.data;
    command(&server, &format!("/sse/add/{uuid}/builds/*/*")).await;
    publish_build(&server, 1).await;
    let last = stream.event().await.1.id;
    assert!(last.ends_with(&uuid), "{last}");
    drop(stream);
    publish_build(&server, 2).await;
    let mut resumed = Stream::open(&server, "/sse/listen", Some(&last)).await;
    assert_eq!(resumed.handshake().await.data, uuid);
    assert_eq!(resumed.key().await, "builds/2/new");
    assert_eq!(command(&server, &format!("/sse/add/{uuid}/steps/*/*")).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_resumed_is_reset() {
    let server = Server::start().await;
    let other_session = format!("{}~{}", server.hub.newest(), uuid::Uuid::new_v4());
    for last in ["another.1.0", "nonsense", other_session.as_str()] {
        let mut stream = Stream::open(&server, "/sse/listen/builds/*/*", Some(last)).await;
        stream.handshake().await;
        let reset = stream.next().await.expect("a record");
        assert_eq!(reset.event, "reset");
        assert_eq!(reset.id, server.hub.newest().to_string());
        publish_build(&server, 1).await;
        assert_eq!(stream.key().await, "builds/1/new");
    }
    server.stop().await;
}

#[tokio::test]
async fn quiet_streams_get_the_cursor() {
    let mut setup = Setup::default();
    setup.options.sse_heartbeat = Duration::from_millis(50);
    let server = Server::with(setup).await;
    let mut stream = Stream::open(&server, "/sse/listen/nosuch/*", None).await;
    let start = stream.handshake().await.id;
    publish_build(&server, 1).await;
    let expected = loop {
        let newest = server.hub.newest().to_string();
        if newest != start {
            break newest;
        }
        tokio::task::yield_now().await;
    };
    loop {
        let beat = stream.next().await.expect("a record");
        assert_eq!((beat.event.as_str(), beat.data.as_str()), ("", ""));
        if beat.id == expected {
            break;
        }
        assert_eq!(beat.id, start);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_to_look_again() {
    let mut hub = HubOptions::default();
    hub.queue_len = 64;
    let server = Server::with(Setup { hub, ..Setup::default() }).await;
    let mut slow = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    slow.handshake().await;
    let body = json!({ "text": "x".repeat(100_000) });
    for id in 0..400 {
        server.publish(&[&format!("builds/{id}/update")], &body).await;
        tokio::task::yield_now().await;
    }
    let mut last = Record::default();
    while let Some(record) = slow.next().await {
        last = record;
    }
    assert_eq!(last.event, "reset");
    assert_eq!(server.hub.subscriber_count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    stream.handshake().await;
    server.stop().await;
    assert_eq!(stream.next().await, None);
    let _ = stream.response.bytes_stream().next().await;
}
