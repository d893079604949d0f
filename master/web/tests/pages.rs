//! The page, its configuration, health and metrics.

mod support;

use buildguild_types::farm::FarmConfig;
use serde_json::json;
use support::{Server, Setup, json_of};

#[tokio::test]
async fn the_page_carries_its_configuration() {
    let mut config = FarmConfig { title: "A </script> title".to_owned(), ..FarmConfig::default() };
    config.www.user_passwords = Some([("dev".to_owned(), "hunter2".to_owned())].into());
    let server = Server::with(Setup { config, ..Setup::default() }).await;
    let response = server.get("/").await;
    assert_eq!(response.headers()["cache-control"], "public,max-age=0");
    assert!(response.headers()["content-type"].to_str().expect("text").starts_with("text/html"));
    let page = response.text().await.expect("a body");
    let script =
        page.split_once("<script id=\"bb-config\">").expect("the script").1.split_once("</script>").expect("its end").0;
    let in_page =
        script.trim().strip_prefix("window.buildbotFrontendConfig = ").expect("the object").trim_end_matches(';');
    let in_page: serde_json::Value = serde_json::from_str(in_page).expect("JSON");
    let config = server.get("/config").await;
    assert_eq!(config.headers()["content-type"], "application/json");
    let config = json_of(config).await;
    assert_eq!(in_page, config);
    assert_eq!(config["title"], "A </script> title");
    assert_eq!(config["auth"], json!({"name": "UserPasswordAuth"}));
    assert_eq!(config["user"], json!({"anonymous": true}));
    assert!(config["versions"].as_array().expect("a list").iter().any(|row| row[0] == "Buildbot"));
    assert!(!config.to_string().contains("hunter2"));
    server.stop().await;
}

#[tokio::test]
async fn health_metrics_and_robots() {
    let server = Server::start().await;
    assert_eq!(server.get("/health/live").await.status(), 200);
    assert_eq!(
        json_of(server.get("/health/ready").await).await,
        json!({"status": "ok", "database": true, "events": true})
    );
    let metrics = server.get("/metrics").await.text().await.expect("a body");
    assert!(metrics.contains("buildguild_http_requests_total{route=\"health\",status=\"2xx\"} 2"), "{metrics}");
    assert!(server.get("/robots.txt").await.text().await.expect("a body").contains("Disallow: /"));
    let avatar = server.get("/avatar?email=dev").await;
    assert_eq!(avatar.headers()["content-type"], "image/svg+xml");
    assert_eq!(server.get("/no/such/file.js").await.status(), 404);
    assert_eq!(server.get("/index.html").await.status(), 404);
    // Monitoring likes to ask for the head only.
    for path in ["/health/live", "/health/ready", "/metrics", "/robots.txt", "/avatar", "/config", "/api/openapi.json"]
    {
        let head = server.client.head(server.url(path)).send().await.expect("answers");
        assert_eq!(head.status(), 200, "{path}");
        assert!(head.bytes().await.expect("no body").is_empty(), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn files_come_from_a_directory_and_from_nowhere_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let site = directory.path().join("site");
    std::fs::create_dir_all(site.join("assets")).expect("writes");
    std::fs::write(site.join("index.html"), "<html><head></head><script src=x></script></html>").expect("writes");
    std::fs::write(site.join("assets/app-1.js"), "let x = 1;").expect("writes");
    std::fs::write(site.join(".hidden"), "secret").expect("writes");
    std::fs::write(directory.path().join("outside"), "secret").expect("writes");
    let mut setup = Setup::default();
    setup.options.static_dir = Some(site);
    let server = Server::with(setup).await;
    let page = server.get("/").await.text().await.expect("a body");
    assert!(page.starts_with("<html><head></head><script id=\"bb-config\">"), "{page}");
    let script = server.get("/assets/app-1.js").await;
    assert_eq!(script.headers()["content-type"], "text/javascript");
    assert_eq!(script.headers()["cache-control"], "public,max-age=31536000,immutable");
    let etag = script.headers()["etag"].clone();
    assert_eq!(script.text().await.expect("a body"), "let x = 1;");
    let again = server.client.get(server.url("/assets/app-1.js")).header("If-None-Match", etag);
    assert_eq!(again.send().await.expect("answers").status(), 304);
    for path in ["/%2e%2e/outside", "/..%2foutside", "/%2Fetc/passwd", "/.hidden", "/assets/../.hidden", "/assets"] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    server.stop().await;
}
