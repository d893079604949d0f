//! Two masters that hear of each other through a broker: what one does reaches the clients of the other, and a broker
//! that is killed and comes back in the middle of a build loses nothing; one that was wiped is told to everyone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::{Broker, DEADLINE, EventStream, Farm, Gate, Rest, TestCluster, wait_for};
use serde_json::json;
use test_servers::{Redis, RedisOptions, Sentinel};

async fn connected(rest: &Rest, wanted: bool) -> Result<()> {
    wait_for(&format!("the log can be read: {wanted}"), DEADLINE, async || {
        // A database that is slow to answer makes a master unready for a moment, which is not what is asked here.
        let Ok(text) = rest.text("health/ready").await else { return Ok(None) };
        let health: serde_json::Value = serde_json::from_str(&text)?;
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
    let mut client = EventStream::start(second.base().to_owned());
    client.until("the stream is open", |seen| seen.connections > 0).await?;

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
    let seen = client.seen();
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

#[tokio::test(flavor = "multi_thread")]
async fn masters_on_two_brokers_of_one_kind_are_told_apart() -> Result<()> {
    let other = Redis::start()?;
    let mut cluster = TestCluster::builder()
        .broker(Broker::Redis)
        .stopped()
        .expect_error("it has another broker than the others")
        .start(|_| Ok(Farm::new().worker("w").builder("b", "w", &["steps.ShellCommand(command='true')"]).text()))
        .await?;
    cluster.masters[1].set_environment("BUILDGUILD__BROKER__URL", &other.url());
    for master in &mut cluster.masters {
        master.start()?;
        master.ready().await?;
    }
    let (first, second) = (cluster.masters[0].rest()?, cluster.masters[1].rest()?);
    // The log is the one of whoever made the last.
    wait_for("the metric tells of it", DEADLINE, async || {
        let differs = metric(&first, "buildguild_event_log_differs").await?
            + metric(&second, "buildguild_event_log_differs").await?;
        ensure!(differs < 2.0, "one of them has the log that is agreed on");
        Ok((differs > 0.0).then_some(()))
    })
    .await
    .map_err(|error| error.context(cluster.all_logs()))
}

// A primary and a replica, and a sentinel that decides which is which: once because the primary is killed, once because
// somebody asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_sentinels_replace_carries_news_on() -> Result<()> {
    let mut old = Redis::start()?;
    let new = Redis::start_with(RedisOptions { replica_of: Some(old.port()), ..RedisOptions::default() })?;
    wait_for("the replica follows", DEADLINE, async || Ok(follows(&new).then_some(()))).await?;
    let sentinel = Sentinel::start(old.port(), "news")?;
    let mut gate = None;
    let mut cluster = TestCluster::builder()
        .setting("BROKER__URL", &sentinel.url())
        // A build that no hint told of would only be found after the test's deadline.
        .setting("CLUSTER__RESCAN_INTERVAL", "10m")
        .start(|directory| {
            let farm = Farm::new().worker("w").builder("b", "w", &[&gate.insert(Gate::new(directory)).step()]);
            Ok(farm.text())
        })
        .await?;
    let gate = gate.context("made above")?;
    let _worker = cluster.add_native_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    let (first, second) = (cluster.masters[0].rest()?, cluster.masters[1].rest()?);
    cluster.worker_connected(&first, "w").await?;
    connected(&first, true).await?;
    connected(&second, true).await?;
    let mut client = EventStream::start(second.base().to_owned());
    client.until("the stream is open", |seen| seen.connections > 0).await?;
    let request = second.force("b", json!({})).await?;
    let build = gate.reached(&first, request).await?["buildid"].as_i64().context("a build")?;
    client.until("it is told of the build", |seen| seen.keys.contains(&format!("builds.{build}.new"))).await?;

    let before = old.port();
    old.kill();
    let replaced = async |from: u16| {
        wait_for("another server is the primary", DEADLINE, async || {
            let now = sentinel.primary()?;
            Ok((now != from).then_some(now))
        })
        .await
    };
    let after = replaced(before).await?;
    ensure!(after == new.port(), "{after}");
    gate.open()?;
    finished(&first, request).await?;
    client
        .until("it is told of the end", |seen| seen.keys.contains(&format!("builds.{build}.finished")))
        .await
        .map_err(|error| error.context(cluster.all_logs()))?;
    again(&first, &second, &mut client).await.map_err(|error| error.context(cluster.all_logs()))?;

    // The old one comes back, has to copy the new one, and is made the primary again.
    tokio::task::block_in_place(|| old.restart())?;
    wait_for("the old one follows", DEADLINE, async || Ok(follows(&old).then_some(()))).await?;
    wait_for("the sentinel makes it the primary", DEADLINE, async || Ok(sentinel.fail_over().ok())).await?;
    ensure!(replaced(after).await? == before, "there are two servers");
    again(&first, &second, &mut client).await.map_err(|error| error.context(cluster.all_logs()))
}

/// Whether a replica has all that its primary has. A server that is told whom to follow puts everybody out who asks.
fn follows(replica: &Redis) -> bool {
    replica.command(&["INFO", "replication"]).is_ok_and(|text| text.contains("master_link_status:up"))
}

/// A build of the first master reaches the client of the second one.
async fn again(first: &Rest, second: &Rest, client: &mut EventStream) -> Result<()> {
    let request = second.force("b", json!({})).await?;
    finished(first, request).await?;
    let builds = first.list(&format!("buildrequests/{request}/builds")).await?;
    let build = builds.first().and_then(|build| build["buildid"].as_i64()).context("a build")?;
    client.until("it hears again", |seen| seen.keys.contains(&format!("builds.{build}.finished"))).await
}
