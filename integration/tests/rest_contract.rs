//! The REST interface's basics, query language and errors, item by item, on a real master with real data.

use anyhow::{Context, Result, ensure};
use integration::{Database, Farm, Rest, StockMaster, TestCluster};
use serde_json::{Value, json};

fn farm() -> Farm {
    Farm::new()
        .worker_declared("worker.LocalWorker('local')")
        .builder(
            "plain",
            "local",
            &[
                "steps.SetProperty(property='colour', value='blue')",
                "steps.ShellCommand(name='greet', command=['echo', 'hello'])",
            ],
        )
        .builder("deploy prod", "local", &["steps.ShellCommand(name='fail', command=['false'])"])
        .extra("c['www']['allowed_origins'] = ['https://*.example.org']")
        .extra("c['builders'][0].tags = ['fast', 'nightly']")
}

struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    fn new(rest: &Rest) -> Result<Self> {
        Ok(Self { base: rest.base().to_owned(), http: reqwest::Client::builder().build()? })
    }

    async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let url = format!("{}/{path}", self.base);
        let answer = self.http.get(&url).header("Accept", "application/json").send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?))
    }

    /// How many items a query finds.
    async fn count(&self, query: &str) -> Result<usize> {
        let (status, body) = self.get(&format!("api/v2/{query}")).await?;
        ensure!(status == 200, "{query}: {status}: {body}");
        let object = body.as_object().context("an object")?;
        ensure!(object.len() == 2 && object.contains_key("meta"), "{query}: {body}");
        let items = object.iter().find(|(name, _)| *name != "meta").and_then(|(_, items)| items.as_array());
        Ok(items.context("a list")?.len())
    }

    /// The status, and the ids of the items: their first field by which they can be told apart.
    async fn outcome(&self, query: &str) -> Result<(u16, Vec<Value>)> {
        let (status, body) = self.get(&format!("api/v2/{query}")).await?;
        let items = body.as_object().into_iter().flatten().filter(|(name, _)| *name != "meta" && *name != "error");
        let items = items.filter_map(|(_, items)| items.as_array()).flatten();
        let id = |item: &Value| {
            let ids = ["buildid", "buildrequestid", "bsid", "ssid", "builderid", "name"];
            ids.iter().map(|id| item[*id].clone()).find(|id| !id.is_null()).unwrap_or_default()
        };
        Ok((status, items.map(id).collect()))
    }

    async fn post(&self, path: &str, content_type: &str, body: &str) -> Result<(u16, Value)> {
        let url = format!("{}/api/v2/{path}", self.base);
        let answer = self.http.post(&url).header("Content-Type", content_type).body(body.to_owned()).send().await?;
        Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?)?))
    }
}

/// Two good builds and a failed one: builds 1 to 3, all complete, of builders 1, 1 and 2.
async fn seed(rest: &Rest) -> Result<()> {
    for builder in ["plain", "plain", "deploy prod"] {
        let request = rest.force(builder, json!({ "reason": "seed" })).await?;
        rest.builds_of_completed(request).await?;
    }
    Ok(())
}

/// One master: it is about what it answers.
#[tokio::test(flavor = "multi_thread")]
async fn rest_answers_as_the_reference_says() -> Result<()> {
    let cluster = TestCluster::builder().masters(1).database(Database::Sqlite).start(|_| Ok(farm().text())).await?;
    let rest = cluster.rest()?;
    seed(&rest).await?;
    let client = Client::new(&rest)?;
    basics(&client).await?;
    queries(&client).await?;
    pages(&client).await?;
    errors(&client).await?;
    control_errors(&client).await?;
    origins(&client).await
}

async fn basics(client: &Client) -> Result<()> {
    let (_, versions) = client.get("api").await?;
    ensure!(versions["api_versions"]["v2"].as_str().is_some_and(|url| url.ends_with("/api/v2")), "{versions}");
    let (status, latest) = client.get("api/latest/builders").await?;
    ensure!(status == 200 && latest["meta"]["total"] == 2, "{latest}");
    let (_, single) = client.get("api/v2/builders/deploy%20prod").await?;
    ensure!(single["meta"] == json!({}) && single["builders"].as_array().is_some_and(|b| b.len() == 1), "{single}");
    ensure!(client.count("").await.is_err() || client.count("").await? == 14);
    let url = format!("{}/api/v2/builders", client.base);
    let plain = client.http.get(&url).send().await?;
    ensure!(plain.headers()["content-type"] == "text/plain; charset=utf-8");
    // Beyond Buildbot, which says nothing about caching.
    ensure!(plain.headers()["cache-control"] == "private, no-cache");
    let text = plain.text().await?;
    ensure!(text.contains("\n  "), "indented for people: {text}");
    let head = client.http.head(&url).send().await?;
    ensure!(head.status() == 200 && head.text().await?.is_empty());
    for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::PATCH] {
        let answer = client.http.request(method, &url).send().await?;
        ensure!(answer.status() == 400 && answer.text().await? == r#"{"error":"invalid HTTP method"}"#);
    }
    Ok(())
}

async fn queries(client: &Client) -> Result<()> {
    for (query, expected) in [
        // Every operator, and repeated values.
        ("builds?buildid=2", 1),
        ("builds?buildid__eq=1&buildid__eq=3", 2),
        ("builds?buildid__ne=1", 2),
        ("builds?buildid__ne=1&buildid__ne=2", 1),
        ("builds?buildid__lt=2", 1),
        ("builds?buildid__le=2", 2),
        ("builds?buildid__gt=2", 1),
        ("builds?buildid__ge=2", 2),
        ("builds?buildid__gt=1&buildid__lt=3", 1),
        ("builds?buildid__in=1&buildid__in=2&buildid__in=9", 2),
        ("builds?buildid__notin=1&buildid__notin=2", 1),
        ("builds?state_string__contains=successful", 2),
        ("builders?name__contains=prod&name__contains=lain", 2),
        ("builders?tags__contains=fast", 1),
        ("builders?tags__contains=fast&tags__contains=nosuch", 1),
        ("builders?tags__contains=nosuch", 0),
        ("builders?name=deploy+prod", 1),
        ("builders?name=deploy%20prod", 1),
        // Booleans in all spellings.
        ("builds?complete=true", 3),
        ("builds?complete=ON", 3),
        ("builds?complete=Yes", 3),
        ("builds?complete=1", 3),
        ("builds?complete=FALSE", 0),
        ("builds?complete=off", 0),
        ("builds?complete=no", 0),
        ("builds?complete=0", 0),
        ("buildrequests?claimed=false", 0),
        // A null never equals anything, and is not equal to everything.
        ("builders?projectid=1", 0),
        ("builders?projectid__ne=1", 2),
        ("builds?results=0", 2),
        ("builds?results__ne=0", 1),
        // An operator that nobody knows is ignored.
        ("builders?name__bogus=x", 2),
        // What has no `=` says nothing; a negative limit is none; the first of several counts.
        ("builds?1700000000", 3),
        ("builds?_&buildid&limit", 3),
        ("builds?limit=-1&offset=-1", 3),
        ("builds?limit=+2", 2),
        ("builds?limit=1&limit=2", 1),
        // Parameters of different names are different conditions.
        ("builds?buildid=1&buildid__eq=2", 0),
        ("builds?buildid=1&buildid__in=1&buildid__in=2", 1),
        ("builds?buildid__contains=1&buildid__contains=2", 2),
        ("builds?started_at__contains=1", 3),
        ("builders?masterids=1", 0),
        // Nested paths.
        ("builders/1/builds", 2),
        ("builders/deploy%20prod/builds?results=2", 1),
        ("builds/1/steps?results=0", 3),
        ("builders/999/builds", 0),
    ] {
        let found = client.count(query).await?;
        ensure!(found == expected, "{query}: {found}, not {expected}");
    }
    let (_, page) = client.get("api/v2/builds?property=colour&property=nosuch&buildid=1").await?;
    ensure!(page["builds"][0]["properties"] == json!({ "colour": ["blue", "SetProperty"] }), "{page}");
    let (_, page) = client.get("api/v2/builds/1?field=properties&property=*").await?;
    let properties = page["builds"][0]["properties"].as_object().context("an object")?.clone();
    ensure!(properties.contains_key("buildername") && properties.contains_key("colour"), "{page}");
    let (_, page) = client.get("api/v2/builds/1").await?;
    ensure!(page["builds"][0]["properties"] == json!({}), "{page}");
    let (_, page) = client.get("api/v2/buildrequests/1").await?;
    ensure!(page["buildrequests"][0]["properties"].is_null(), "{page}");
    Ok(())
}

async fn pages(client: &Client) -> Result<()> {
    let ids = async |query: &str| -> Result<(Vec<i64>, Value)> {
        let (status, body) = client.get(&format!("api/v2/{query}")).await?;
        ensure!(status == 200, "{query}: {body}");
        let builds = body["builds"].as_array().context("a list")?;
        Ok((builds.iter().filter_map(|build| build["buildid"].as_i64()).collect(), body["meta"].clone()))
    };
    for (query, expected) in [
        ("builds?order=-buildid", vec![3, 2, 1]),
        ("builds?order=-results&order=-buildid", vec![3, 2, 1]),
        ("builds?order=-results&order=buildid", vec![3, 1, 2]),
        ("builds?order=buildid&limit=2", vec![1, 2]),
        ("builds?order=buildid&offset=1&limit=1", vec![2]),
        ("builds?limit=0", vec![]),
        ("builds?offset=99", vec![]),
        ("builds?order=-buildid&limit=1&after=", vec![3]),
    ] {
        let (found, _) = ids(query).await?;
        ensure!(found == expected, "{query}: {found:?}");
    }
    for query in ["builds?order=-results&order=-buildid&limit=1", "builds?order=-started_at&limit=2", "builds?limit=1"]
    {
        let (all, _) = ids(query.split_once("limit").context("a limit")?.0).await?;
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (page, meta) = ids(&format!("{query}&after={after}")).await?;
            if page.is_empty() {
                ensure!(meta["next"] == after, "nothing new is behind the same place: {meta}");
                break;
            }
            seen.extend(page);
            after = meta["next"].as_str().context("a cursor")?.to_owned();
        }
        ensure!(seen == all, "{query}: {seen:?}");
        let other = client.get(&format!("api/v2/builds?order=number&after={after}")).await?;
        ensure!(
            other.0 == 400 && other.1["error"].as_str().is_some_and(|text| text.contains("meta.next")),
            "{other:?}"
        );
    }
    // Tags of the first one, none of the second: an empty list comes first.
    for (query, first) in [("order=tags", 2), ("order=-tags", 1), ("order=masterids&order=builderid", 1)] {
        let (status, body) = client.get(&format!("api/v2/builders?{query}")).await?;
        ensure!(status == 200 && body["builders"][0]["builderid"] == first, "{query}: {body}");
    }
    let (_, meta) = ids("builds?results=0").await?;
    ensure!(meta == json!({ "total": 2 }), "{meta}");
    let (_, body) = client.get("api/v2/builders?field=name&field=builderid&order=-name&limit=1").await?;
    ensure!(body == json!({ "builders": [{ "builderid": 1, "name": "plain" }], "meta": { "total": 2 } }), "{body}");
    Ok(())
}

async fn errors(client: &Client) -> Result<()> {
    for (path, status, named) in [
        ("nosuch", 404, "nosuch"),
        ("builders/", 404, "builders"),
        ("builds/x", 404, "builds/x"),
        ("builds/999", 404, ""),
        ("builders/nosuch", 404, ""),
        ("builders/999/builds/1", 404, ""),
        ("builders?nosuch=1", 400, "nosuch"),
        ("builders?field=nosuch", 400, "nosuch"),
        ("builders?order=nosuch", 400, "nosuch"),
        ("builds?buildid=x", 400, "buildid"),
        ("builds?complete=maybe", 400, "complete"),
        ("builds?buildid__lt=1&buildid__lt=2", 400, "buildid"),
        ("builds?limit=x", 400, "limit"),
        ("builds?offset=1.5", 400, "offset"),
        ("builders?masterids=x", 400, "masterids"),
        ("builds?properties=x", 400, "properties"),
        ("sourcestamps?patch__ne=x", 400, "patch"),
        ("builds?order=properties&property=*", 400, "properties"),
        ("buildsets?order=sourcestamps", 400, "sourcestamps"),
        ("builds/1?order=nosuch", 400, "nosuch"),
        ("builds/999?nosuch=1", 400, "nosuch"),
        ("builds/1?field=buildid&order=number", 400, "number"),
        ("logs/1/raw?nosuch=1", 400, "nosuch"),
        ("builds/1?buildid=1", 400, "collection"),
        ("builders?field=name&builderid=1", 400, "builderid"),
        ("builders?field=name&order=builderid", 400, "builderid"),
        ("builds?after=x", 400, "after"),
        ("builds?after=999", 400, "after"),
        ("workers?after=", 400, "after"),
    ] {
        let (found, body) = client.get(&format!("api/v2/{path}")).await?;
        let text = body["error"].as_str().with_context(|| format!("{path}: {body}"))?;
        ensure!(found == status && text.contains(named), "{path}: {found}: {text}");
    }
    for path in ["builds/1?field=buildid", "builds/1?limit=0", "builds/1?order=-number"] {
        ensure!(client.get(&format!("api/v2/{path}")).await?.0 == 200, "{path}");
    }
    ensure!(client.get("api/v3/builders").await?.0 == 404);
    Ok(())
}

async fn control_errors(client: &Client) -> Result<()> {
    let call = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": "i" }).to_string()
    };
    let json = "application/json; charset=utf-8";
    for (path, content_type, body, status, code) in [
        ("builds/1", "text/plain", call("stop", json!({})), 400, -32600),
        ("builds/1", json, "[]".to_owned(), 400, -32600),
        ("builds/1", json, "{".to_owned(), 400, -32700),
        ("builds/1", json, String::new(), 400, -32700),
        ("builds/1", json, call("nosuch", json!({})), 501, -32601),
        ("workers/1", json, call("nosuch", json!({})), 501, -32601),
        ("nosuch", json, call("stop", json!({})), 404, -32600),
        ("builds/999", json, call("stop", json!({})), 404, -32600),
        ("forceschedulers/force", json, call("force", json!({ "priority": "x" })), 400, -32602),
    ] {
        let (found, answer) = client.post(path, content_type, &body).await?;
        ensure!(found == status && answer["error"]["code"] == code, "{path} {body}: {found}: {answer}");
    }
    // A finished build stays as it is, and that is no error.
    let (status, answer) = client.post("builds/1", json, &call("stop", json!({}))).await?;
    ensure!(status == 200 && answer == json!({ "jsonrpc": "2.0", "id": "i", "result": null }), "{answer}");
    Ok(())
}

async fn origins(client: &Client) -> Result<()> {
    let url = format!("{}/api/v2/builders", client.base);
    let allowed = client.http.get(&url).header("Origin", "https://ui.example.org").send().await?;
    ensure!(allowed.status() == 200);
    ensure!(allowed.headers()["access-control-allow-origin"] == "https://ui.example.org");
    ensure!(allowed.headers()["access-control-max-age"] == "3600");
    let foreign = client.http.get(&url).header("Origin", "https://evil.test").send().await?;
    ensure!(foreign.status() == 400 && !foreign.headers().contains_key("access-control-allow-origin"));
    let asked = |method: &'static str| {
        let request = client.http.request(reqwest::Method::OPTIONS, &url).header("Origin", "https://ui.example.org");
        request.header("Access-Control-Request-Method", method).send()
    };
    let preflight = asked("POST").await?;
    ensure!(preflight.status() == 200 && preflight.headers()["access-control-allow-headers"] == "Content-Type");
    ensure!(asked("DELETE").await?.status() == 400);
    Ok(())
}

/// What both must answer alike: the status, and if it is 200 the ids of the items in their order. Which of its builders is the
/// first varies in Buildbot, so an order by their tags is not among these.
const SHARED_QUERIES: [&str; 43] = [
    "builds?limit=-1",
    "builds?limit=%2B2",
    "builds?limit=",
    "builds?limit=2.0",
    "builds?limit=1&limit=2",
    "builds?offset=-1&limit=2",
    "builds?offset=1&offset=2",
    "builds?1700000000",
    "builds?_",
    "builds?_=1",
    "builds?complete",
    "builds?order",
    "builds?order=-",
    "builds?order=properties",
    "builds?buildid__contains=1",
    "builds?buildid__contains=1&buildid__contains=3",
    "builds?started_at__contains=1",
    "builds?buildid=1&buildid__eq=2",
    "builds?buildid__in=1&buildid=2",
    "builds?buildid__in=1&buildid__in=2&buildid__ge=2",
    "builds?properties=x",
    "builds?properties__ne=x",
    "builds?buildid__bogus=1",
    "buildrequests?order=properties",
    "buildrequests?properties__contains=x",
    "buildrequests?buildrequestid__contains=2",
    "buildsets?sourcestamps=1",
    "builders?order=masterids&order=-builderid",
    "builders?masterids=1",
    "builders?masterids=x",
    "builders?tags=fast",
    "builders?tags__ne=fast",
    "sourcestamps?order=patch&order=ssid",
    "sourcestamps?patch=1",
    "forceschedulers?order=builder_names",
    "schedulers?master=1",
    "builds/1?order=nosuch",
    "builds/1?order=number&field=buildid",
    "builds/1?_",
    "builds/1?limit=-1",
    "builds/99?nosuch=1",
    "builds/1/steps?urls=x",
    "logs/1/raw?nosuch=1",
];

/// The same farm with the same builds on a stock Buildbot: it says what the answers are.
#[tokio::test(flavor = "multi_thread")]
async fn queries_are_answered_as_by_buildbot() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stock = StockMaster::start(directory.path(), &farm()).await?;
    let cluster = TestCluster::builder().masters(1).database(Database::Sqlite).start(|_| Ok(farm().text())).await?;
    let (theirs, ours) = (stock.rest()?, cluster.rest()?);
    seed(&theirs).await.with_context(|| stock.log())?;
    seed(&ours).await?;
    let (theirs, ours) = (Client::new(&theirs)?, Client::new(&ours)?);
    for query in SHARED_QUERIES {
        let (expected, found) = (theirs.outcome(query).await?, ours.outcome(query).await?);
        ensure!(found == expected, "{query}: {found:?}, Buildbot: {expected:?}");
    }
    Ok(())
}
