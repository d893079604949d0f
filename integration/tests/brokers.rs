//! Two masters that hear of each other through a broker: what one does reaches the clients of the other, and a broker
//! that is killed and comes back in the middle of a build loses nothing; one that was wiped is told to everyone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use integration::{Broker, DEADLINE, Farm, Gate, Rest, TestCluster, wait_for};
use serde_json::json;
use tokio::sync::watch;

/// A client of one master's SSE, which resumes after each end as browsers do.
struct Client {
    seen: watch::Receiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// The handshake came.
    is_open: bool,
    keys: Vec<String>,
    resets: usize,
}

impl Client {
    /// Follows all that is told of builds and steps.
    fn start(base: String) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut last = None::<String>;
            loop {
                let mut request = client.get(format!("{base}/sse/listen/builds/*/*"));
                if let Some(last) = &last {
                    request = request.header("Last-Event-ID", last);
                }
                let Ok(answer) = request.send().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let mut body = answer.bytes_stream();
                let mut text = String::new();
                while let Some(Ok(chunk)) = body.next().await {
                    text.push_str(&String::from_utf8_lossy(&chunk));
                    while let Some((event, rest)) = text.split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())) {
                        text = rest;
                        let field = |name: &str| {
                            event.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
                        };
                        last = field("id").or(last);
                        let (kind, data) = (field("event").unwrap_or_default(), field("data").unwrap_or_default());
                        sender.send_modify(|seen| match kind.as_str() {
                            "handshake" => seen.is_open = true,
                            "reset" => seen.resets += 1,
                            "event" => {
                                let data: serde_json::Value = serde_json::from_str(&data).unwrap_or_default();
                                let parts = data["key"].as_array().into_iter().flatten();
                                let parts: Vec<&str> = parts.filter_map(|part| part.as_str()).collect();
                                seen.keys.push(parts.join("."));
                            }
                            _ => {}
                        });
                    }
                }
            }
        });
        Self { seen, task }
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Result<()> {
        let waiting = tokio::time::timeout(DEADLINE, self.seen.wait_for(condition));
        let in_time = waiting.await.is_ok_and(|seen| seen.is_ok());
        ensure!(in_time, "{what}: {:?}", self.seen.borrow());
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connected(rest: &Rest, wanted: bool) -> Result<()> {
    wait_for(&format!("the log can be read: {wanted}"), DEADLINE, async || {
        let health: serde_json::Value = serde_json::from_str(&rest.text("health/ready").await?)?;
        Ok((health["events"] == wanted).then_some(()))
    })
    .await
}

async fn metric(rest: &Rest, name: &str) -> Result<f64> {
    let text = rest.text("metrics").await?;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).with_context(|| format!("no {name}"))?;
    Ok(line.rsplit(' ').next().context("a value")?.parse()?)
}

async fn finished(rest: &Rest, request: i64) -> Result<()> {
    wait_for(&format!("request {request} is complete"), DEADLINE, async || {
        let request = rest.one(&format!("buildrequests/{request}")).await?;
        Ok((request["complete"] == true).then_some(()))
    })
    .await
}

async fn through(broker: Broker) -> Result<()> {
    let mut gate = None;
    let mut cluster = TestCluster::builder()
        .broker(broker)
        // What wakes the masters while the broker is away.
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        .start(|directory| {
            let made = Gate::new(directory);
            let farm = Farm::new().worker("w").builder("b", "w", &[&made.step()]);
            gate = Some(made);
            Ok(farm.text())
        })
        .await?;
    let gate = gate.context("made above")?;
    // The worker is connected to the first master; requests and clients come to the second.
    let port = cluster.masters[0].worker_port();
    let _worker = cluster.add_native_worker(port, "w", "secret")?;
    let (first, second) = (cluster.masters[0].rest()?, cluster.masters[1].rest()?);
    cluster.worker_connected(&first, "w").await?;
    connected(&first, true).await?;
    connected(&second, true).await?;
    let mut client = Client::start(second.base().to_owned());
    client.until("the stream is open", |seen| seen.is_open).await?;

    let request = second.force("b", json!({})).await?;
    let build = gate.reached(&first, request).await?["buildid"].as_i64().context("a build")?;
    client
        .until("it is told of the other master's build", |seen| seen.keys.contains(&format!("builds.{build}.new")))
        .await?;

    // The broker dies while the build runs; the build goes on and ends.
    cluster.broker.kill()?;
    connected(&first, false).await?;
    connected(&second, false).await?;
    gate.open()?;
    finished(&first, request).await?;
    let again = first.force("b", json!({})).await?;
    finished(&first, again).await?;
    wait_for("failures are counted", DEADLINE, async || {
        Ok((metric(&first, "buildguild_event_publish_failures_total").await? > 0.0).then_some(()))
    })
    .await?;
    wait_for("the outbox is counted", DEADLINE, async || {
        let rows = metric(&first, "buildguild_outbox_rows").await?;
        let age = metric(&first, "buildguild_outbox_oldest_seconds").await?;
        Ok((rows > 0.0 && age > 0.0).then_some(()))
    })
    .await?;

    // It comes back: everything of both builds reaches the client, in order and without a reset.
    tokio::task::block_in_place(|| cluster.broker.restart())?;
    let builds = first.list("builds?order=buildid").await?;
    let expected: BTreeSet<String> = builds
        .iter()
        .filter_map(|build| build["buildid"].as_i64())
        .flat_map(|id| ["new", "finished"].map(|verb| format!("builds.{id}.{verb}")))
        .collect();
    ensure!(expected.len() == 4, "{expected:?}");
    client.until("nothing is lost", |seen| expected.iter().all(|key| seen.keys.contains(key))).await?;
    let seen = client.seen.borrow().clone();
    ensure!(seen.resets == 0, "{seen:?}");
    for id in builds.iter().filter_map(|build| build["buildid"].as_i64()) {
        let place = |verb: &str| seen.keys.iter().position(|key| *key == format!("builds.{id}.{verb}"));
        ensure!(place("new") < place("finished"), "{seen:?}");
        let last = seen.keys.iter().rposition(|key| key.starts_with(&format!("builds.{id}.")));
        ensure!(last == place("finished"), "nothing follows the end: {seen:?}");
    }

    // Wiped: a new log, everyone is told, and it goes on.
    tokio::task::block_in_place(|| cluster.broker.wipe())?;
    let third = second.force("b", json!({})).await?;
    finished(&first, third).await?;
    client.until("it is told to look again", |seen| seen.resets > 0).await?;
    connected(&second, true).await?;
    let fourth = second.force("b", json!({})).await?;
    finished(&first, fourth).await?;
    let last =
        first.list(&format!("buildrequests/{fourth}/builds")).await?[0]["buildid"].as_i64().context("a build")?;
    client.until("it hears again", |seen| seen.keys.contains(&format!("builds.{last}.finished"))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_carries_news_and_loses_none() -> Result<()> {
    tokio::time::timeout(Duration::from_secs(600), through(Broker::Redis)).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_carries_news_and_loses_none() -> Result<()> {
    tokio::time::timeout(Duration::from_secs(600), through(Broker::RabbitMq)).await?
}
