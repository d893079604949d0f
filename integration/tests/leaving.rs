//! A master that is asked to leave while the database is away leaves all the same.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Farm, Gate, TestCluster, wait_for};
use serde_json::json;

/// Each of the services that end one after the other has 10 s.
const PATIENCE: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_cut_off_from_the_database_leaves_when_asked() -> Result<()> {
    let mut gate = None;
    let mut cluster = TestCluster::builder()
        .linked()
        .setting("SHUTDOWN__DRAIN_TIMEOUT", "1s")
        .setting("CLUSTER__CHECK_IN_INTERVAL", "1s")
        .setting("CLUSTER__EXPIRE_AFTER", "4s")
        // Its build can only be given back by the other one.
        .expect_error("builds could not be given back")
        .start(|directory| {
            let made = gate.insert(Gate::new(directory));
            Ok(Farm::new().worker("w").builder("b", "w", &[&made.step()]).text())
        })
        .await?;
    let gate = gate.context("made above")?;
    let (links, _) = cluster.take_links();
    let (first, second) = (cluster.masters[0].rest()?, cluster.masters[1].rest()?);
    let port = cluster.masters[0].worker_port();
    let _worker = cluster.add_native_worker(port, "w", "secret")?;
    cluster.worker_connected(&first, "w").await?;
    let request = first.force("b", json!({})).await?;
    gate.reached(&first, request).await?;

    links[0].cut();
    let asked = Instant::now();
    cluster.masters[0].stop().await?;
    ensure!(asked.elapsed() < PATIENCE, "it left after {:?}", asked.elapsed());

    // Nobody waits for it: the other one has declared it dead and gives the request free.
    wait_for("the request is free", DEADLINE, async || {
        let request = second.one(&format!("buildrequests/{request}")).await?;
        Ok((request["claimed"] == json!(false)).then_some(()))
    })
    .await
}
