//! Reads over a real socket: forms, errors, methods, cross-origin rules.

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use buildguild_types::farm::FarmConfig;
use futures::future::join_all;
use proptest::prelude::*;
use serde_json::json;
use support::{Server, Setup, json_of};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn collections_and_single_resources() {
    let server = Server::start().await;
    let response = server.get("/api/v2/builders?field=name").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(
        json_of(response).await,
        json!({"builders": [{"name": "tests"}, {"name": "compile"}, {"name": "slow"}, {"name": "deploy prod"}],
               "meta": {"total": 4}})
    );
    let single = json_of(server.get("/api/latest/builders/deploy%20prod").await).await;
    assert_eq!(single["builders"][0]["builderid"], 4);
    assert_eq!(single["meta"], json!({}));
    let root = json_of(server.get("/api/v2").await).await;
    assert_eq!(root["rootlinks"][0]["name"], "builders");
    let versions = json_of(server.get("/api").await).await;
    assert_eq!(versions["api_versions"]["v2"], "http://localhost:8010/api/v2");
    server.stop().await;
}

#[tokio::test]
async fn people_get_indented_text() {
    let server = Server::start().await;
    let request = server.client.get(server.url("/api/v2/builders/1")).header("Accept", "text/html");
    let response = request.send().await.expect("answers");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let text = response.text().await.expect("a body");
    assert!(text.contains("\n  \"builders\": ["), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn errors_have_the_form_of_the_reference() {
    let server = Server::start().await;
    for (path, status, text) in [
        ("/api/v2/nosuch", 404, "Invalid path: nosuch"),
        ("/api/v2/builders/2/nosuch", 404, "Invalid path: builders/2/nosuch"),
        ("/api/v2/builders/", 404, "builder '' not found"),
        ("/api/v2/builders/99", 404, "builder '99' not found"),
        ("/api/v2/builders?nosuch=1", 400, "unrecognized query parameter 'nosuch'"),
        ("/api/v2/builders?limit=x", 400, "invalid limit"),
        ("/api/v2/builders?offset=1.5", 400, "invalid offset"),
        ("/api/v3/builders", 404, "Invalid API version"),
    ] {
        let response = server.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(json_of(response).await, json!({ "error": text }), "{path}");
    }
    let response = server.get("/api/v2/broken").await;
    assert_eq!(response.status(), 500);
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    let text = response.text().await.expect("a body");
    assert!(text.contains(&id) && !text.contains("secret"), "{text}");
    let response = server.get("/api/v2/away").await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (503, &b"5"[..]));
    server.stop().await;
}

#[tokio::test]
async fn other_methods() {
    let server = Server::start().await;
    let head = server.client.head(server.url("/api/v2/builders")).send().await.expect("answers");
    assert_eq!(head.status(), 200);
    assert_eq!(head.text().await.expect("no body"), "");
    for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::OPTIONS] {
        let response = server.client.request(method, server.url("/api/v2/builders")).send().await.expect("answers");
        assert_eq!(response.status(), 400);
        assert_eq!(json_of(response).await, json!({"error": "invalid HTTP method"}));
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins() {
    let mut config = FarmConfig::default();
    config.www.allowed_origins = vec!["http://*.example.org".to_owned()];
    let server = Server::with(Setup { config, ..Setup::default() }).await;
    let url = server.url("/api/v2/builders");
    let ask = |method: reqwest::Method, origin: &'static str, wanted: &'static str| {
        let request = server.client.request(method, &url).header("Origin", origin);
        request.header("Access-Control-Request-Method", wanted).send()
    };
    let allowed = ask(reqwest::Method::GET, "http://UI.example.org", "").await.expect("answers");
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "http://UI.example.org");
    assert_eq!(allowed.headers()["access-control-max-age"], "3600");
    let foreign = ask(reqwest::Method::GET, "http://evil.test", "").await.expect("answers");
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    assert_eq!((foreign.status().as_u16(), json_of(foreign).await), (400, json!({"error": "invalid origin"})));
    let preflight = ask(reqwest::Method::OPTIONS, "http://ui.example.org", "POST").await.expect("answers");
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-headers"], "Content-Type");
    let method = ask(reqwest::Method::OPTIONS, "http://ui.example.org", "PUT").await.expect("answers");
    assert!(!method.headers().contains_key("access-control-allow-origin"));
    assert_eq!((method.status().as_u16(), json_of(method).await), (400, json!({"error": "invalid method"})));
    let posted = ask(reqwest::Method::POST, "http://evil.test", "").await.expect("answers");
    assert_eq!(json_of(posted).await, json!({"error": {"message": "invalid origin"}}));
    server.stop().await;
}

#[tokio::test]
async fn downloads_are_streamed_and_compressed() {
    let server = Server::start().await;
    let response = server.get("/api/v2/logs/1/raw").await;
    assert_eq!(
        response.headers()["content-disposition"],
        "attachment; filename=compile_build_1_step_configure_log_stdio"
    );
    assert_eq!(response.text().await.expect("a body").lines().count(), 1000);
    let inline = server.get("/api/v2/logs/1/raw_inline").await;
    assert!(!inline.headers().contains_key("content-disposition"));
    assert_eq!(inline.headers()["content-security-policy"], "sandbox");
    for encoding in ["gzip", "br", "zstd"] {
        let request = server.client.get(server.url("/api/v2/logs/1/raw")).header("Accept-Encoding", encoding);
        let response = request.send().await.expect("answers");
        assert_eq!(response.headers()["content-encoding"], encoding);
        assert!(response.bytes().await.expect("a body").len() < 5000);
    }
    server.stop().await;
}

#[test]
fn no_query_or_path_is_a_server_error() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let fuzz = ProptestConfig { cases: 200, ..ProptestConfig::default() };
    proptest!(fuzz, |(path in "[ -~]{0,40}", query in "[ -~]{0,60}")| {
        let escape = |text: &str| text.replace([' ', '#', '?', '"', '<', '>', '\\', '^', '`', '{', '|', '}'], "%25");
        let path = escape(&path).replace("broken", "").replace("away", "");
        let url = format!("http://{}/api/v2/{path}?{}", server.address, escape(&query));
        let status = runtime.block_on(async { server.client.get(url).send().await.expect("answers").status() });
        prop_assert!(!status.is_server_error(), "{}", status);
    });
    runtime.block_on(server.stop());
}

#[tokio::test]
async fn who_has_an_answer_already_is_not_sent_it_again() {
    let server = Server::start().await;
    server.farm.builds.lock().expect("no panic").insert("1".to_owned(), json!({ "buildid": 1 }));
    let get = |path: &str, tag: &str, encoding: &'static str| {
        let request = server.client.get(server.url(path)).header("Accept", "application/json");
        request.header("If-None-Match", tag).header("Accept-Encoding", encoding).send()
    };
    let paths = ["/api/v2/builds", "/api/v2/logs/1/raw", "/api/openapi.json", "/config", "/"];
    for path in paths {
        let first = server.get(path).await;
        assert_eq!(first.status(), 200, "{path}");
        let tag = first.headers()["etag"].to_str().expect("text").to_owned();
        assert!(tag.starts_with("W/\""), "{path}: {tag}");
        for known in [tag.clone(), format!("\"other\", {tag}"), tag.replace("W/", ""), "*".to_owned()] {
            // What was sent compressed is the same.
            let again = get(path, &known, "gzip").await.expect("answers");
            assert_eq!(again.status(), 304, "{path}: {known}");
            assert_eq!(again.headers()["etag"], tag, "{path}");
            assert!(!again.headers().contains_key("content-type"), "{path}");
            assert_eq!(again.bytes().await.expect("a body").len(), 0, "{path}");
        }
        for unknown in ["\"other\"", "no tag", "W/"] {
            let again = get(path, unknown, "identity").await.expect("answers");
            assert_eq!(again.status(), 200, "{path}: {unknown}");
            assert!(!again.bytes().await.expect("a body").is_empty(), "{path}");
        }
    }
    let builds = server.get("/api/v2/builds").await;
    assert_eq!(builds.headers()["cache-control"], "private, no-cache");
    assert_eq!(builds.headers()["vary"], "accept");
    let tag = builds.headers()["etag"].to_str().expect("text").to_owned();
    server.farm.builds.lock().expect("no panic").insert("2".to_owned(), json!({ "buildid": 2 }));
    let changed = get("/api/v2/builds", &tag, "gzip").await.expect("answers");
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.headers()["content-encoding"], "gzip");
    assert!(changed.headers().get_all("vary").iter().any(|vary| vary == "accept-encoding"));
    assert_ne!(changed.headers()["etag"], tag);
    // Neither what may still change nor what failed can be kept.
    for path in ["/api/v2/logs/1/raw_inline", "/api/v2/nosuch", "/api/v2/away"] {
        let answer = get(path, "*", "identity").await.expect("answers");
        assert_ne!(answer.status(), 304, "{path}");
        assert!(!answer.headers().contains_key("etag"), "{path}");
    }
    let control = server.client.post(server.url("/api/v2/builds/1")).header("If-None-Match", "*");
    let control = control.json(&json!({ "jsonrpc": "2.0", "method": "stop", "id": 1, "params": {} })).send();
    assert_eq!(control.await.expect("answers").status(), 200);
    server.stop().await;
}

/// What one client is answered whose read has begun, and a crowd that asks the same after that, when there is one change
/// more; and whether any of the crowd shared a read.
async fn ask_in_a_crowd(server: &Server, path: &str) -> (String, Vec<String>, bool) {
    const CROWD: usize = 50;
    let farm = &server.farm;
    let mut reads = farm.reads.subscribe();
    let before = *reads.borrow();
    farm.is_closed.send_replace(true);
    let ask = async || server.get(path).await.text().await.expect("a body");
    let later = async {
        reads.wait_for(|reads| *reads > before).await.expect("the farm is there");
        farm.changes.fetch_add(1, Ordering::SeqCst);
        let opened = async {
            // The server has one thread: when it has answered these, it has most of the crowd's.
            for _ in 0..20 {
                server.get("/health/live").await;
            }
            farm.is_closed.send_replace(false);
        };
        tokio::join!(join_all((0..CROWD).map(|_| ask())), opened).0
    };
    let (first, crowd) = tokio::join!(ask(), later);
    let shared = *farm.reads.borrow() - before < 1 + CROWD;
    (first, crowd, shared)
}

/// As when a build has ended and everybody who looks at its builder asks again.
#[tokio::test]
async fn a_crowd_that_asks_the_same_shares_what_is_read() {
    let server = Server::start().await;
    let download = server.get("/api/v2/logs/1/raw").await.text().await.expect("a body");
    let away = server.get("/api/v2/away").await.text().await.expect("a body");
    // A machine that stalls may let them come one by one.
    for _ in 0..10 {
        let known = server.farm.changes.load(Ordering::SeqCst);
        let changes = |total: u64| format!(r#"{{"changes":[],"meta":{{"total":{total}}}}}"#);
        let (first, crowd, shared) = ask_in_a_crowd(&server, "/api/v2/changes").await;
        assert_eq!(first, changes(known));
        assert_eq!(crowd, vec![changes(known + 1); crowd.len()], "no answer is older than its question");
        // What went wrong is told to everybody; a download goes to each.
        for (path, answer) in [("/api/v2/away", &away), ("/api/v2/logs/1/raw", &download)] {
            let (_, crowd, _) = ask_in_a_crowd(&server, path).await;
            assert!(crowd.iter().all(|got| got == answer), "{path}");
        }
        if shared {
            return server.stop().await;
        }
    }
    panic!("each had a read of its own");
}

#[tokio::test]
async fn nothing_is_read_for_clients_that_have_left() {
    let server = Server::start().await;
    server.farm.is_closed.send_replace(true);
    let mut reading = server.farm.reading.subscribe();
    let mut clients = Vec::new();
    for limit in 1..=3 {
        let mut client = tokio::net::TcpStream::connect(server.address).await.expect("connects");
        let request = format!("GET /api/v2/changes?limit={limit} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sends");
        clients.push(client);
    }
    reading.wait_for(|reading| *reading == 3).await.expect("the farm is there");
    drop(clients);
    let ended = tokio::time::timeout(Duration::from_secs(30), reading.wait_for(|reading| *reading == 0));
    ended.await.expect("in time").expect("the farm is there");
    server.farm.is_closed.send_replace(false);
    server.stop().await;
}
