//! Limits per client. The clients are those that a trusted proxy, this test, speaks for.

mod support;

use serde_json::{Value, json};
use support::{Server, Setup, call};

fn limited(requests_per_second: u32, connections: usize) -> Setup {
    let mut setup = Setup::default();
    setup.options.trusted_proxies = vec!["127.0.0.1".parse().expect("a range")];
    setup.options.requests_per_second = requests_per_second;
    setup.options.max_connections_per_address = connections;
    setup
}

async fn get_as(server: &Server, client: &str, path: &str) -> reqwest::Response {
    server.client.get(server.url(path)).header("X-Forwarded-For", client).send().await.expect("answers")
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let server = Server::with(limited(2, 0)).await;
    let mut refused = None;
    for n in 0..100 {
        let response = get_as(&server, "192.0.2.1", "/api/v2/builders").await;
        if response.status() == 429 {
            refused = Some((n, response));
            break;
        }
        assert_eq!(response.status(), 200);
    }
    let (allowed, response) = refused.expect("a limit");
    assert!(allowed >= 20, "{allowed}");
    let wait: u64 = response.headers()["retry-after"].to_str().expect("a text").parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(response.text().await.expect("a body"), r#"{"error":"too many requests from this address"}"#);
    // A control call is refused in its own form; one or the other may be allowed, if it took a while to get here.
    let mut refused = None;
    for _ in 0..100 {
        let body = call("stop", json!({})).to_string();
        let request = server.client.post(server.url("/api/v2/builds/1")).header("X-Forwarded-For", "192.0.2.1");
        let response = request.header("Content-Type", "application/json").body(body).send().await.expect("answers");
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    let response = refused.expect("a limit");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("retry-after"));
    let answer: Value = response.json().await.expect("JSON");
    let error = json!({ "code": -32600, "message": "too many requests from this address" });
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": null, "error": error }));
    // Others, this machine itself and health checks are not concerned.
    assert_eq!(get_as(&server, "192.0.2.2", "/api/v2/builders").await.status(), 200);
    assert_eq!(get_as(&server, "192.0.2.1", "/health/live").await.status(), 200);
    for _ in 0..100 {
        assert_eq!(server.get("/api/v2/builders").await.status(), 200);
    }
    let metrics = server.get("/metrics").await.text().await.expect("a body");
    assert!(metrics.contains("buildguild_http_refused_total{limit=\"rate\"}"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_has_so_many_event_streams() {
    let server = Server::with(limited(0, 3)).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let response = get_as(&server, "192.0.2.1", "/sse/listen/builds/*/*").await;
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    let response = get_as(&server, "192.0.2.1", "/sse/listen/builds/*/*").await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(get_as(&server, "192.0.2.2", "/sse/listen/builds/*/*").await.status(), 200);
    // The proxy's own connections are not its clients'.
    assert_eq!(get_as(&server, "192.0.2.1", "/api/v2/builders").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_body_may_be_so_large() {
    let mut setup = Setup::default();
    setup.options.max_body_bytes = 1_000;
    let server = Server::with(setup).await;
    let (status, answer) = server.post("/api/v2/builds/1", &call("stop", json!({ "reason": "x".repeat(1_000) }))).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!(-32600)));
    server.stop().await;
}

/// Without rules control calls are for this machine only, also if a proxy on it hands requests on.
#[tokio::test]
async fn a_proxy_does_not_make_its_clients_local() {
    let server = Server::start().await;
    let post = |client: &'static str| {
        let request = server.client.post(server.url("/api/v2/builds/1")).header("X-Forwarded-For", client);
        request.header("Content-Type", "application/json").body(call("stop", json!({})).to_string()).send()
    };
    assert_eq!(post("127.0.0.1").await.expect("answers").status(), 200);
    let refused = post("198.51.100.3").await.expect("answers");
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.expect("a body").contains("authz"));
    server.stop().await;
}
