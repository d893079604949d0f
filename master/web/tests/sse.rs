//! Server-sent events over a real socket.

mod support;

use std::time::Duration;

use broker_adapters::{HubOptions, memory::MemoryLog};
use buildguild_db::{Tx, execute, fetch_all};
use serde_json::{Value, json};
use support::{
    Cluster, Server, Setup,
    sse::{Record, Stream},
};

async fn publish_build(server: &Server, id: u32) {
    server.publish(&[&format!("builds/{id}/new")], &json!({"buildid": id})).await;
}

/// Waits until the streams that ended are recorded as such.
async fn ended(server: &Server) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while server.hub.subscriber_count() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "a stream goes on");
        tokio::task::yield_now().await;
    }
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

/// A client may name the stream alone, and say later what it wants to hear.
#[tokio::test]
async fn a_stream_without_a_path_gets_its_filters_later() {
    let server = Server::start().await;
    for path in ["/sse", "/sse/"] {
        let mut stream = Stream::open(&server, path, None).await;
        let uuid = stream.handshake().await.data;
        assert_eq!(command(&server, &format!("/sse/add/{uuid}/builds/*/*")).await, (200, "ok".to_owned()));
        publish_build(&server, 3).await;
        assert_eq!(stream.key().await, "builds/3/new");
    }
    let mut stream = Stream::open(&server, "/sse/builds/*/*/", None).await;
    stream.handshake().await;
    publish_build(&server, 4).await;
    assert_eq!(stream.key().await, "builds/4/new");
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
    // Whoever loses this connection before the first event has to come back with the same id.
    assert_eq!(resumed.handshake().await.id, second.id);
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
    // Whether or not it has noticed that the client left.
    let mut resumed = Stream::open(&server, "/sse/listen", Some(&last)).await;
    assert_eq!(resumed.handshake().await.data, uuid);
    assert_eq!(resumed.key().await, "builds/2/new");
    assert_eq!(command(&server, &format!("/sse/add/{uuid}/steps/*/*")).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn any_replica_resumes_a_stream_and_changes_its_filters() {
    let cluster = Cluster::new(MemoryLog::default()).await;
    let replica = || async { Server::with(Setup { cluster: Some(cluster.clone()), ..Setup::default() }).await };
    let (one, other) = (replica().await, replica().await);
    let mut stream = Stream::open(&one, "/sse/listen/builds/*/*", None).await;
    let uuid = stream.handshake().await.data;
    // Another replica than the one that has the stream.
    assert_eq!(command(&other, &format!("/sse/add/{uuid}/steps/*/*")).await, (200, "ok".to_owned()));
    assert_eq!(command(&other, &format!("/sse/remove/{uuid}/nosuch/*")).await.0, 404);
    assert_eq!(command(&other, &format!("/sse/add/{}/steps/*/*", uuid::Uuid::new_v4())).await.0, 400);
    // The stream names itself at once, for a client that leaves before the next event.
    let named = stream.next().await.expect("a record");
    assert_eq!(named.event, "");
    assert!(named.id.ends_with(&uuid), "{}", named.id);
    other.publish(&["steps/1/new"], &Value::Null).await;
    assert_eq!(stream.key().await, "steps/1/new");
    publish_build(&other, 1).await;
    let last = stream.event().await.1.id;
    assert_eq!(command(&other, &format!("/sse/remove/{uuid}/builds/*/*")).await, (200, "ok".to_owned()));
    drop(stream);
    publish_build(&one, 2).await;
    one.publish(&["steps/2/new"], &Value::Null).await;
    let mut resumed = Stream::open(&other, "/sse/listen/builds/*/*", Some(&last)).await;
    assert_eq!(resumed.handshake().await.data, uuid);
    assert_eq!(resumed.key().await, "steps/2/new");
    // The first replica may not have noticed that its client left.
    assert_eq!(command(&one, &format!("/sse/add/{uuid}/builds/*/*")).await, (200, "ok".to_owned()));
    assert!(resumed.next().await.expect("a record").id.ends_with(&uuid));
    publish_build(&one, 3).await;
    assert_eq!(resumed.key().await, "builds/3/new");
    one.stop().await;
    other.stop().await;
}

/// The database was restored, or the row tidied away: a stream that is open can still be changed.
#[tokio::test]
async fn a_stream_that_is_not_recorded_can_be_changed_where_it_is() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    let uuid = stream.handshake().await.data;
    let forget = |tx: Tx| async move { execute(&tx, "DELETE FROM event_streams", vec![]).await };
    assert_eq!(server.cluster.db.db.write(forget).await.expect("writes"), 1);
    assert_eq!(command(&server, &format!("/sse/add/{uuid}/steps/*/*")).await, (200, "ok".to_owned()));
    assert!(stream.next().await.expect("a record").id.ends_with(&uuid));
    server.publish(&["steps/1/new"], &Value::Null).await;
    assert_eq!(stream.key().await, "steps/1/new");
    server.stop().await;
}

/// Nothing is left of streams that can be resumed by their path.
#[tokio::test]
async fn streams_that_ended_are_forgotten() {
    let mut setup = Setup::default();
    // That its client has left is noticed when something is sent.
    setup.options.sse_heartbeat = Duration::from_millis(50);
    let server = Server::with(setup).await;
    let mut plain = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    plain.handshake().await;
    let mut changed = Stream::open(&server, "/sse/listen", None).await;
    let uuid = changed.handshake().await.data;
    command(&server, &format!("/sse/add/{uuid}/builds/*/*")).await;
    drop((plain, changed));
    ended(&server).await;
    let db = server.cluster.db.clone();
    server.stop().await;
    let rows = fetch_all(db.db.read(), "SELECT id, owner FROM event_streams", vec![]).await.expect("reads");
    let rows: Vec<(String, String)> =
        rows.iter().map(|row| (row.try_get("", "id").expect("id"), row.try_get("", "owner").expect("owner"))).collect();
    assert_eq!(rows, [(uuid, String::new())]);
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
    // The one that is left waits for other replicas' changes.
    assert_eq!(server.hub.subscriber_count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server, "/sse/listen/builds/*/*", None).await;
    stream.handshake().await;
    server.stop().await;
    assert_eq!(stream.next().await, None);
    stream.close().await;
}
