//! All masters are restarted, one after the other, while builds run, as for an upgrade.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::{Balancer, Broker, DEADLINE, Farm, Gate, Rest, Subscriber, TestCluster, wait_for};
use serde_json::json;

const BUILDS: usize = 20;
const MASTERS: usize = 3;

/// Somebody who reads a page again and again; how often an answer failed, and failed again at once.
async fn reader(rest: Rest, stop: Arc<AtomicBool>, once: Arc<AtomicU64>, twice: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        if rest.get("builders").await.is_err() {
            once.fetch_add(1, Ordering::Relaxed);
            if rest.get("builders").await.is_err() {
                twice.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // polls, as a page would
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_build_and_costs_a_client_one_reconnect_per_master() -> Result<()> {
    let mut gate = None;
    let mut cluster = TestCluster::builder()
        .masters(MASTERS)
        .broker(Broker::Redis)
        .one_farm()
        .setting("SHUTDOWN__DRAIN_TIMEOUT", "1s")
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        .start(|directory| {
            let made = gate.insert(Gate::new(directory));
            Ok(Farm::new()
                .worker("w0")
                .worker("w1")
                .builder("b0", "w0", &[&made.step()])
                .builder("b1", "w1", &[&made.step()])
                .text())
        })
        .await?;
    let gate = gate.context("made above")?;
    let (web, worker): (Vec<u16>, Vec<u16>) =
        cluster.masters.iter().map(|master| (master.web_port(), master.worker_port())).unzip();
    let (pages, workers) = (Balancer::taking_turns(&web).await?, Balancer::taking_turns(&worker).await?);
    let rest = Rest::new(&format!("http://127.0.0.1:{}/", pages.port()))?;
    let _workers = (
        cluster.add_native_worker(workers.port(), "w0", "secret")?,
        cluster.add_native_worker(workers.port(), "w1", "secret")?,
    );
    cluster.worker_connected(&rest, "w0").await?;
    cluster.worker_connected(&rest, "w1").await?;
    let subscriber = Subscriber::start(&[pages.port()]);
    wait_for("a WebSocket", DEADLINE, async || Ok((subscriber.connections() > 0).then_some(()))).await?;

    let mut requests = Vec::new();
    for index in 0..BUILDS {
        requests.push(rest.force(&format!("b{}", index % 2), json!({})).await?);
    }
    wait_for("all builds run", DEADLINE, async || {
        let running = rest.list("builds?complete=false").await?.len();
        Ok((running == BUILDS).then_some(()))
    })
    .await
    .map_err(|error| error.context(cluster.all_logs()))?;

    let (stop, once, twice) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let reading = tokio::spawn(reader(rest.clone(), Arc::clone(&stop), Arc::clone(&once), Arc::clone(&twice)));
    for index in 0..MASTERS {
        let master = &mut cluster.masters[index];
        master.stop().await?;
        master.start()?;
        master.ready().await?;
    }
    gate.open()?;
    for request in &requests {
        let builds = rest.builds_of_completed(*request).await.map_err(|error| error.context(cluster.all_logs()))?;
        let results: Vec<i64> = builds.iter().filter_map(|build| build["results"].as_i64()).collect();
        ensure!(results.iter().filter(|result| **result != 5).eq([&0]), "request {request} is done once: {results:?}");
    }
    stop.store(true, Ordering::Relaxed);
    reading.await?;
    ensure!(rest.list("builds?complete=false").await?.is_empty(), "zombies");
    let keys: Vec<String> = requests.iter().map(|id| format!("buildrequests/{id}/complete")).collect();
    wait_for("a subscriber hears of every end", DEADLINE, async || {
        Ok(keys.iter().all(|key| subscriber.count(key) > 0).then_some(()))
    })
    .await?;
    ensure!(subscriber.resets().is_empty(), "a subscriber resumes: {:?}", subscriber.resets());
    let (connections, limit) = (subscriber.connections(), 1 + MASTERS as u64);
    ensure!(connections <= limit, "a subscriber connected {connections} times");
    let (once, twice) = (once.load(Ordering::Relaxed), twice.load(Ordering::Relaxed));
    ensure!(twice == 0, "a reader was without an answer {once} times, and after a second try {twice} times");
    Ok(())
}
