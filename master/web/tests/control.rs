//! Control calls over a real socket, and who may make them.

mod support;

use buildguild_types::{
    control::{ControlAction, WorkerRef},
    farm::FarmConfig,
};
use serde_json::{Value, json};
use support::{Server, Setup, call, json_of};

#[tokio::test]
async fn calls_reach_the_farm() {
    let server = Server::start().await;
    let (status, body) = server.post("/api/v2/workers/w2", &call("pause", json!({"reason": "maintenance"}))).await;
    assert_eq!((status, body), (200, json!({"jsonrpc": "2.0", "id": 1, "result": null})));
    let forced = call("force", json!({"builderid": "3", "label": "ok"}));
    let (status, body) = server.post("/api/v2/forceschedulers/force-slow", &forced).await;
    assert_eq!((status, &body["result"]), (200, &json!([13, {"3": 13}])));
    let expected =
        ControlAction::PauseWorker { worker: WorkerRef::Name("w2".to_owned()), reason: "maintenance".to_owned() };
    assert_eq!(server.farm.calls.lock().expect("no panic")[0].action, expected);
    server.stop().await;
}

#[tokio::test]
async fn errors_have_the_form_of_the_reference() {
    let server = Server::start().await;
    let error =
        |code: i32, message: Value| json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}});
    for (path, method, status, code, message) in [
        ("builds/1", "nosuch", 501, -32601, json!("action: nosuch is not supported")),
        ("builds", "stop", 501, -32601, json!("action: stop is not supported")),
        ("nosuch", "stop", 404, -32600, json!("Invalid path: nosuch")),
        ("builds/999", "stop", 404, -32600, json!("no such object: build 999")),
        ("forceschedulers/force-slow", "force", 400, -32602, json!({"label": "'Label' needs to be specified"})),
    ] {
        let got = server.post(&format!("/api/v2/{path}"), &call(method, json!({}))).await;
        assert_eq!(got, (status, error(code, message)), "{path} {method}");
    }
    let form =
        server.client.post(server.url("/api/v2/workers/3")).header("Content-Type", "application/x-www-form-urlencoded");
    let response = form.body("a=1").send().await.expect("answers");
    assert_eq!(response.status(), 400);
    assert_eq!(
        json_of(response).await,
        json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid content-type (use application/json)"}})
    );
    let large = "x".repeat(9 * 1024 * 1024);
    let request = server.client.post(server.url("/api/v2/workers/3")).header("Content-Type", "application/json");
    // The server may answer and close before all of it was sent.
    if let Ok(response) = request.body(large).send().await {
        assert_eq!(response.status(), 413);
    }
    assert!(server.farm.calls.lock().expect("no panic").len() == 2);
    server.stop().await;
}

async fn stop_build(server: &Server, host: Option<&str>, cookie: Option<&str>) -> (u16, String) {
    let mut request = server.client.post(server.url("/api/v2/builds/1")).header("Content-Type", "application/json");
    if let Some(host) = host {
        request = request.header("Host", host);
    }
    if let Some(cookie) = cookie {
        request = request.header("Cookie", cookie);
    }
    let response = request.body(call("stop", json!({})).to_string()).send().await.expect("answers");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

#[tokio::test]
async fn on_loopback_control_is_open_under_local_names_only() {
    let server = Server::start().await;
    assert_eq!(stop_build(&server, None, None).await.0, 200);
    assert_eq!(stop_build(&server, Some("localhost:8010"), None).await.0, 200);
    let (status, text) = stop_build(&server, Some("evil.test:8010"), None).await;
    assert_eq!(status, 403);
    assert!(text.contains("c['www']['authz']"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn beyond_loopback_control_needs_a_user() {
    let mut config = FarmConfig { buildbot_url: "http://ci.example/".to_owned(), ..FarmConfig::default() };
    let server = Server::with(Setup { listen: "0.0.0.0:0", config: config.clone(), ..Setup::default() }).await;
    let (status, text) = stop_build(&server, None, None).await;
    assert_eq!(status, 403);
    assert!(text.contains("c['www']['auth']"), "{text}");
    assert_eq!(server.get("/auth/login").await.status(), 404);

    config.www.user_passwords = Some([("dev".to_owned(), "dev-pw".to_owned())].into());
    server.config.send_replace(config.into());
    let login = |password: &'static str| {
        let request = server.client.get(server.url("/auth/login?redirect=/builders/1"));
        request.basic_auth("dev", Some(password)).send()
    };
    let refused = login("wrong").await.expect("answers");
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["www-authenticate"].to_str().expect("text").contains("basic realm=\"buildbot\""));
    let welcome = login("dev-pw").await.expect("answers");
    assert_eq!(welcome.status(), 302);
    assert_eq!(welcome.headers()["location"], "http://ci.example/#/builders/1");
    let cookie = welcome.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a part").to_owned();
    assert!(cookie.starts_with("TWISTED_SESSION="), "{cookie}");
    assert_eq!(stop_build(&server, None, Some(&cookie)).await.0, 200);
    assert_eq!(server.farm.calls.lock().expect("no panic")[0].caller.owner(), Some("dev"));
    let forged = format!("{}x", cookie.trim_end_matches(|c: char| c.is_ascii_alphanumeric()));
    assert_eq!(stop_build(&server, None, Some(&forged)).await.0, 403);

    let config = server.client.get(server.url("/config")).header("Cookie", &cookie).send().await.expect("answers");
    assert_eq!(json_of(config).await["user"], json!({"username": "dev", "email": "dev"}));
    let logout = server.get("/auth/logout").await;
    assert_eq!(
        (logout.status().as_u16(), &logout.headers()["location"]),
        (302, &"http://ci.example/#/".parse().expect("text"))
    );
    server.stop().await;
}

#[tokio::test]
async fn rules_decide_where_there_are_any() {
    let mut config = FarmConfig::default();
    let users = ["dev", "admin", "other"].map(|name| (name.to_owned(), "pw".to_owned()));
    config.www.user_passwords = Some(users.into());
    config.www.authz = Some(json!({
        "allowRules": [
            {"matcher": "StopBuildEndpointMatcher", "builder": "deploy*", "role": "owner", "defaultDeny": false},
            {"matcher": "AnyControlEndpointMatcher", "role": "admins"},
        ],
        "roleMatchers": [
            {"matcher": "RolesFromUsername", "roles": ["admins"], "usernames": ["admin"]},
            {"matcher": "RolesFromOwner", "role": "owner"},
        ],
    }));
    let server = Server::with(Setup { config: config.clone(), ..Setup::default() }).await;
    let cookie_of = async |name: &str| {
        let request = server.client.get(server.url("/auth/login")).basic_auth(name, Some("pw"));
        let response = request.send().await.expect("answers");
        let cookie = response.headers()["set-cookie"].to_str().expect("text");
        cookie.split(';').next().expect("a part").to_owned()
    };
    assert_eq!(stop_build(&server, None, Some(&cookie_of("dev").await)).await.0, 200);
    assert_eq!(stop_build(&server, None, Some(&cookie_of("admin").await)).await.0, 200);
    let (status, text) = stop_build(&server, None, Some(&cookie_of("other").await)).await;
    assert!(status == 403 && text.contains("you need to have role 'owner'"), "{status} {text}");
    assert_eq!(stop_build(&server, None, None).await.0, 403);

    config.www.authz = Some(json!({"allowRules": [{"matcher": "AnyEndpointMatcher", "role": "admins"}],
        "roleMatchers": [{"matcher": "RolesFromUsername", "roles": ["admins"], "usernames": ["admin"]}]}));
    server.config.send_replace(config.into());
    for path in ["/api/v2/builders", "/sse/listen/builds/*/*", "/ws"] {
        assert_eq!(server.get(path).await.status(), 403, "{path}");
    }
    let request = server.client.get(server.url("/api/v2/builders")).header("Cookie", cookie_of("admin").await);
    assert_eq!(request.send().await.expect("answers").status(), 200);
    server.stop().await;
}
