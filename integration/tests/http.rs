//! What goes beyond Buildbot over HTTP, on real masters: following logs, streams across replicas, limits, and that
//! readers do not get in the way of builds.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::{Against, Broker, DEADLINE, Database, Farm, TestCluster, wait_for};
use serde_json::{Value, json};

fn farm() -> Farm {
    Farm::new()
        .worker_declared("worker.LocalWorker('local')")
        .builder("quick", "local", &["steps.ShellCommand(name='greet', command=['echo', 'hello'])"])
        .builder(
            "slow",
            "local",
            &["steps.ShellCommand(name='count', command=['sh', '-c', \
               'for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.3; done'])"],
        )
}

fn client() -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?)
}

/// A record of a stream: its event, data and id.
#[derive(Debug, Default)]
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
    async fn open(url: &str, last: Option<&str>) -> Result<Self> {
        let mut request = client()?.get(url).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await?.error_for_status()?;
        Ok(Self { response, text: String::new() })
    }

    /// The next record; none at the end.
    async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some((text, rest)) = self.text.split_once("\n\n") {
                let mut record = Record::default();
                for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
                    match name {
                        "event" => value.clone_into(&mut record.event),
                        "data" => value.clone_into(&mut record.data),
                        _ => value.clone_into(&mut record.id),
                    }
                }
                self.text = rest.to_owned();
                return Ok(Some(record));
            }
            match tokio::time::timeout(DEADLINE, self.response.chunk()).await?? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk)?),
                None => return Ok(None),
            }
        }
    }
}

/// One master: the log is that of its own worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_log_is_followed() -> Result<()> {
    let cluster = TestCluster::builder().masters(1).database(Database::Sqlite).start(|_| Ok(farm().text())).await?;
    let rest = cluster.rest()?;
    let request = rest.force("slow", json!({})).await?;
    let log = wait_for("the log has begun", DEADLINE, async || {
        let Some(build) = rest.list(&format!("buildrequests/{request}/builds")).await?.pop() else { return Ok(None) };
        Ok(rest.one(&format!("builds/{}/steps/count/logs/stdio", build["buildid"])).await.ok())
    })
    .await?;
    let contents = format!("logs/{}/contents", log["logid"]);
    // By stream, with an interruption.
    let url = format!("{}/api/v2/{contents}", rest.base());
    let mut stream = Stream::open(&url, None).await?;
    let mut text = String::new();
    let mut last = String::new();
    let mut is_interrupted = false;
    loop {
        let Some(record) = stream.next().await? else { break };
        match record.event.as_str() {
            "lines" => {
                let chunk: Value = serde_json::from_str(&record.data)?;
                text.push_str(chunk["content"].as_str().context("a text")?);
                last = record.id;
                if text.contains("line 3") && !is_interrupted {
                    is_interrupted = true;
                    stream = Stream::open(&url, Some(&last)).await?;
                }
            }
            "complete" => last = record.id,
            _ => {}
        }
    }
    ensure!(is_interrupted, "it came all at once");
    // By long poll, from the beginning.
    let mut polled = String::new();
    loop {
        let offset = polled.matches('\n').count();
        let answer = rest.get(&format!("{contents}?offset={offset}&limit=3&wait=20")).await?;
        polled.push_str(answer["logchunks"][0]["content"].as_str().context("a text")?);
        let lines = polled.matches('\n').count() as u64;
        if answer["meta"]["complete"] == json!(true) && answer["meta"]["num_lines"] == json!(lines) {
            break;
        }
    }
    let whole = rest.one(&contents).await?;
    ensure!(whole["content"] == json!(text), "{text}");
    ensure!(polled == text, "{polled}");
    let log = rest.one(&format!("logs/{}", log["logid"])).await?;
    ensure!(log["num_lines"].as_i64() == last.parse().ok(), "{log} {last}");
    Ok(())
}

/// One master: it is about the connections of one replica.
#[tokio::test(flavor = "multi_thread")]
async fn builds_run_while_readers_have_taken_all_their_connections() -> Result<()> {
    let cluster = TestCluster::builder()
        .masters(1)
        // What is read times out while the table is locked.
        .expect_error("a read failed")
        .start(|_| Ok(farm().text()))
        .await?;
    let rest = cluster.rest()?;
    let calm = rest.force("quick", json!({})).await?;
    rest.builds_of_completed(calm).await?;
    let builder = rest.one("builders/quick").await?["builderid"].clone();
    // Nothing that a build does touches this table.
    let lock = cluster.database.lock_table("test_results", Against::Everybody).await?;
    let readers = client()?;
    let url = format!("{}/api/v2/test_result_sets/1/results", rest.base());
    // Each asks something else: the same would be read once for all.
    let questions = (1..=100).map(|limit| format!("{url}?limit={limit}"));
    let crowd: Vec<_> = questions.map(|url| tokio::spawn(readers.get(url).send())).collect();
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                   WHERE c.relname = 'test_results' AND NOT l.granted";
    wait_for("the readers wait", DEADLINE, async || {
        Ok((cluster.database.sql(waiting)?.trim().parse::<u32>()? >= 10).then_some(()))
    })
    .await?;
    let forced = rest.control("forceschedulers/force", "force", json!({ "builderid": builder })).await?;
    let request = forced[1][builder.to_string()].as_i64().context("a request")?;
    // REST cannot be asked now.
    let complete = format!("SELECT results FROM buildrequests WHERE id = {request} AND complete_at IS NOT NULL");
    // The readers give up after a minute.
    let results = wait_for("the build is complete", Duration::from_secs(45), async || {
        let results = cluster.database.sql(&complete)?;
        Ok(Some(results.trim().to_owned()).filter(|results| !results.is_empty()))
    })
    .await?;
    ensure!(results == "0", "results {results}");
    let still_waiting: u32 = cluster.database.sql(waiting)?.trim().parse()?;
    ensure!(still_waiting >= 10, "the readers did not wait until the end: {still_waiting}");
    drop(lock);
    for reader in crowd {
        let _ = reader.await?;
    }
    ensure!(rest.list("builds").await?.len() >= 2);
    Ok(())
}

/// What REST shows of the builds.
async fn builds(rest: &integration::Rest) -> Result<BTreeMap<i64, Value>> {
    let builds = rest.list("builds").await?;
    builds.into_iter().map(|build| Ok((build["buildid"].as_i64().context("an id")?, build))).collect()
}

/// A client that loses its connection while builds run, and goes on with the other master.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_on_another_master_and_has_what_rest_shows() -> Result<()> {
    let cluster = TestCluster::builder().broker(Broker::Redis).start(|_| Ok(farm().text())).await?;
    let (one, other) = (cluster.masters[0].rest()?, cluster.masters[1].rest()?);
    let mut stream = Stream::open(&format!("{}/sse/listen", one.base()), None).await?;
    let handshake = stream.next().await?.context("a handshake")?;
    // The filter is added by the master that does not have the stream.
    let added = other.text(&format!("sse/add/{}/builds/*/*", handshake.data)).await?;
    ensure!(added == "ok", "{added}");
    let mut known = builds(&one).await?;
    let mut requests = Vec::new();
    for _ in 0..5 {
        requests.push(one.force("quick", json!({})).await?);
    }
    let mut last = handshake.id;
    // It sees the beginning, and is gone for the rest.
    while known.is_empty() {
        let record = stream.next().await?.context("goes on")?;
        last = record.id;
        if record.event == "event" {
            let build = serde_json::from_str::<Value>(&record.data)?["message"].clone();
            known.insert(build["buildid"].as_i64().context("an id")?, build);
        }
    }
    drop(stream);
    for _ in 0..5 {
        requests.push(other.force("quick", json!({})).await?);
    }
    for request in &requests {
        one.builds_of_completed(*request).await?;
    }
    let mut stream = Stream::open(&format!("{}/sse/listen", other.base()), Some(&last)).await?;
    let expected = builds(&one).await?;
    ensure!(expected.len() >= 10 && expected.values().all(|build| build["complete"] == json!(true)));
    let catching_up = async {
        while known != expected {
            let record = stream.next().await?.context("goes on")?;
            ensure!(record.event != "reset", "{record:?}");
            if record.event == "event" {
                let build = serde_json::from_str::<Value>(&record.data)?["message"].clone();
                known.insert(build["buildid"].as_i64().context("an id")?, build);
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(DEADLINE, catching_up).await;
    outcome.with_context(|| format!("REST shows {expected:?}"))?
}

/// One master: each limits its own clients.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_trusted_proxy_are_limited_one_by_one() -> Result<()> {
    let cluster = TestCluster::builder()
        .masters(1)
        .database(Database::Sqlite)
        .setting("WEB__REQUESTS_PER_SECOND", "1")
        .setting("WEB__TRUSTED_PROXIES", "127.0.0.1, ::1")
        .start(|_| Ok(farm().text()))
        .await?;
    let rest = cluster.rest()?;
    let get = async |address: &str| -> Result<reqwest::Response> {
        let url = format!("{}/api/v2/builders", rest.base());
        Ok(client()?.get(url).header("X-Forwarded-For", address).send().await?)
    };
    let mut refused = None;
    for _ in 0..50 {
        let response = get("192.0.2.1").await?;
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.context("no limit")?;
    ensure!(refused.headers().contains_key("retry-after"));
    ensure!(get("192.0.2.2").await?.status() == 200);
    ensure!(rest.list("builders").await?.len() == 2);
    Ok(())
}
