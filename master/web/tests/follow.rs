//! Following a log: by long poll and as a stream.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, json_of, sse::Stream};

/// The log of the farm grows by these lines.
async fn write(server: &Server, lines: &[&str], is_complete: bool) {
    let num_lines = {
        let mut log = server.farm.log.lock().expect("no panic");
        log.lines.extend(lines.iter().map(|line| (*line).to_owned()));
        log.is_complete = is_complete;
        log.lines.len()
    };
    let what = if is_complete { "finished" } else { "append" };
    let body = json!({ "logid": 7, "num_lines": num_lines, "complete": is_complete });
    server.publish(&[&format!("logs/7/{what}")], &body).await;
}

async fn poll(server: &Server, query: &str) -> Value {
    json_of(server.get(&format!("/api/v2/logs/7/contents?{query}")).await).await
}

#[tokio::test]
async fn a_long_poll_waits_for_more() {
    let server = Server::start().await;
    write(&server, &["one", "two"], false).await;
    // What is there comes at once.
    let answer = poll(&server, "offset=1&wait=30").await;
    assert_eq!(answer["logchunks"], json!([{ "logid": 7, "firstline": 1, "content": "two\n" }]));
    assert_eq!(answer["meta"], json!({ "complete": false, "num_lines": 2 }));
    let (answer, ()) = tokio::join!(poll(&server, "offset=2&wait=30"), async {
        while server.hub.subscriber_count() < 2 {
            tokio::task::yield_now().await;
        }
        write(&server, &["three"], false).await;
    });
    assert_eq!(answer["logchunks"][0]["content"], "three\n");
    // Nothing comes within the time.
    let answer = poll(&server, "offset=3&wait=0").await;
    assert_eq!(answer["logchunks"][0]["content"], "");
    write(&server, &[], true).await;
    let answer = poll(&server, "offset=3&wait=30").await;
    assert_eq!(answer["meta"], json!({ "complete": true, "num_lines": 3 }));
    assert_eq!(server.get("/api/v2/logs/7/contents?wait=soon").await.status(), 400);
    assert_eq!(server.get("/api/v2/logs/8/contents?wait=1").await.status(), 404);
    server.stop().await;
}

async fn follow(server: &Server, last: Option<&str>) -> reqwest::Response {
    let mut request = server.client.get(server.url("/api/v2/logs/7/contents")).header("Accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    // A browser asks for compressed answers, and must not wait for them.
    request.header("Accept-Encoding", "gzip").send().await.expect("answers")
}

#[tokio::test]
async fn a_stream_sends_lines_as_they_come_and_resumes() {
    let server = Server::start().await;
    write(&server, &["one"], false).await;
    let mut stream = Stream::of(follow(&server, None).await);
    let first = stream.next().await.expect("a record");
    assert_eq!((first.event.as_str(), first.id.as_str()), ("lines", "1"));
    let data: Value = serde_json::from_str(&first.data).expect("JSON");
    assert_eq!(data, json!({ "logid": 7, "firstline": 0, "content": "one\n" }));
    write(&server, &["two"], false).await;
    assert_eq!(stream.next().await.expect("a record").id, "2");
    drop(stream);
    write(&server, &["three", "four"], false).await;
    let mut resumed = Stream::of(follow(&server, Some("2")).await);
    let record = resumed.next().await.expect("a record");
    assert!(record.data.contains("three\\nfour\\n") && !record.data.contains("two"), "{record:?}");
    write(&server, &["five"], true).await;
    assert_eq!(resumed.next().await.expect("a record").id, "5");
    let end = resumed.next().await.expect("a record");
    assert_eq!((end.event.as_str(), end.data.as_str()), ("complete", r#"{"num_lines":5}"#));
    let ended = tokio::time::timeout(Duration::from_secs(60), resumed.next()).await.expect("in time");
    assert_eq!(ended, None);
    // An EventSource that comes again has everything.
    assert_eq!(follow(&server, Some("5")).await.status(), 204);
    server.stop().await;
}
