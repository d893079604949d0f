//! Who leaves, and what becomes of the others' work: masters that are asked to, with and without a database, workers that
//! want to, and workers whose master dies before it can tell them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::{Balancer, DEADLINE, Farm, Gate, NativeWorker, Rest, Takeover, TestCluster, wait_for};
use serde_json::json;

/// Each of the services that end one after the other has 10 s.
const PATIENCE: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_cut_off_from_the_database_leaves_when_asked() -> Result<()> {
    let mut gate = None;
    let mut cluster = TestCluster::builder()
        .linked()
        // Not for a build that it cannot write to any more.
        .setting("SHUTDOWN__DRAIN_TIMEOUT", "600s")
        .setting("CLUSTER__CHECK_IN_INTERVAL", "2s")
        .setting("CLUSTER__EXPIRE_AFTER", "9s")
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

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_master_that_leaves_go_to_another_as_soon_as_they_are_idle() -> Result<()> {
    let mut gates = None;
    let mut cluster = TestCluster::builder()
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        // The test says when its last build ends.
        .setting("SHUTDOWN__DRAIN_TIMEOUT", "600s")
        .start(|directory| {
            let [short, long] = ["short", "long"].map(|name| directory.join(name));
            std::fs::create_dir_all(&short)?;
            std::fs::create_dir_all(&long)?;
            let (short, long) = gates.insert((Gate::new(&short), Gate::new(&long)));
            let farm = Farm::new().worker("idle").worker("short").worker("long");
            Ok(farm
                .builder("quick", "idle", &["steps.ShellCommand(command=['echo', 'hello'])"])
                .builder("short", "short", &[&short.step()])
                .builder("long", "long", &[&long.step()])
                .text())
        })
        .await?;
    let (short, long) = gates.context("made above")?;
    let ports: Vec<u16> = cluster.masters.iter().map(|master| master.worker_port()).collect();
    // It prefers the first master as long as that takes connections, and knows nothing else of masters.
    let balancer = Balancer::start(&ports).await?;
    let mut workers = Vec::new();
    let rest = cluster.masters[1].rest()?;
    for name in ["idle", "short", "long"] {
        workers.push(cluster.add_native_worker(balancer.port(), name, "secret")?);
        cluster.worker_connected(&rest, name).await?;
    }
    let (first, last) = (rest.force("short", json!({})).await?, rest.force("long", json!({})).await?);
    short.reached(&rest, first).await?;
    let leaving = long.reached(&rest, last).await?["masterid"].clone();

    cluster.masters[0].signal("TERM")?;
    wait_for("all can see that it leaves", DEADLINE, async || {
        let master = rest.one(&format!("masters/{leaving}")).await?;
        Ok(master["draining_reason"].as_str().is_some_and(|reason| reason.contains("asked to end")).then_some(()))
    })
    .await?;
    // Only a worker that has come to the other master can do it: the one that leaves claims nothing.
    let done = async |what: &str, builder: &str| -> Result<()> {
        let request = rest.force(builder, json!({})).await?;
        let build = wait_for(what, PATIENCE, async || {
            let builds = rest.list(&format!("buildrequests/{request}/builds?complete=true")).await?;
            Ok(builds.first().cloned())
        })
        .await?;
        ensure!(build["results"] == 0 && build["masterid"] != leaving, "{what}: {build}");
        Ok(())
    };
    done("the idle worker is at work elsewhere", "quick").await.map_err(|error| error.context(cluster.all_logs()))?;
    short.open()?;
    let builds = rest.builds_of_completed(first).await?;
    ensure!(builds.len() == 1 && builds[0]["masterid"] == leaving, "its build ended where it was: {builds:?}");
    done("so is the one that was busy", "short").await.map_err(|error| error.context(cluster.all_logs()))?;

    ensure!(!cluster.masters[0].has_ended()?, "it still has a build");
    long.open()?;
    let builds = rest.builds_of_completed(last).await?;
    ensure!(builds.len() == 1 && builds[0]["results"] == 0, "the last build was not given back: {builds:?}");
    wait_for("it has left", DEADLINE, async || Ok(cluster.masters[0].has_ended()?.then_some(()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_to_leave_is_told_so_by_another_master_if_its_own_dies() -> Result<()> {
    let (Takeover { mut cluster, survivor: rest, balancer: _balancer }, gate) = Takeover::at_a_gate().await?;
    let request = rest.force("b", json!({})).await?;
    gate.reached(&rest, request).await?;

    // Its master cannot hear the wish any more.
    cluster.masters[0].signal("STOP")?;
    rest.control("workers/w", "stop", json!({ "reason": "a test" })).await?;
    cluster.masters[0].kill()?;
    let left =
        wait_for("the worker has left", PATIENCE, async || Ok(cluster.workers[0].has_ended()?.then_some(()))).await;
    left.map_err(|error| error.context(cluster.all_logs()))?;
    wait_for("its wish is fulfilled", DEADLINE, async || {
        let worker = rest.one("workers/w").await?;
        let wishes = cluster.database.sql("SELECT kind FROM wishes WHERE kind = 'worker.stop'")?;
        Ok((worker["graceful"] == false && worker["connected_to"] == json!([]) && wishes.trim().is_empty())
            .then_some(()))
    })
    .await?;
    let builds = rest.list(&format!("buildrequests/{request}/builds?complete=false")).await?;
    ensure!(builds.is_empty(), "it got nothing to do meanwhile: {builds:?}");

    // Its admin starts it again: it is open for work.
    cluster.workers[0].start()?;
    gate.open()?;
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
    ensure!(builds.last().is_some_and(|build| build["results"] == 0), "{builds:?}");
    ensure!(!cluster.workers[0].has_ended()?, "it stays");
    Ok(())
}

/// A native worker whose build stands at a gate; it has another builder to work for, and there is another worker with a
/// builder of its own.
struct AtWork {
    cluster: TestCluster,
    rest: Rest,
    gate: Gate,
    worker: NativeWorker,
    _other: NativeWorker,
    request: i64,
}

impl AtWork {
    async fn start() -> Result<Self> {
        let mut gate = None;
        let mut cluster = TestCluster::builder()
            .setting("CLUSTER__RESCAN_INTERVAL", "1s")
            .start(|directory| {
                let made = gate.insert(Gate::new(directory));
                let hello = "steps.ShellCommand(command=['echo', 'hello'])";
                let farm = Farm::new().worker("w").worker("other").builder("gated", "w", &[&made.step()]);
                Ok(farm.builder("next", "w", &[hello]).builder("elsewhere", "other", &[hello]).text())
            })
            .await?;
        let gate = gate.context("made above")?;
        let (rest, port) = (cluster.rest()?, cluster.masters[0].worker_port());
        let worker = cluster.add_native_worker(port, "w", "secret")?;
        let other = cluster.add_native_worker(port, "other", "secret")?;
        for name in ["w", "other"] {
            cluster.worker_connected(&rest, name).await?;
        }
        let request = rest.force("gated", json!({})).await?;
        gate.reached(&rest, request).await?;
        Ok(Self { cluster, rest, gate, worker, _other: other, request })
    }

    /// Waits until the worker's process has ended, as it does when all is well.
    async fn has_left(&mut self) -> Result<()> {
        let ended = wait_for("the worker has left", DEADLINE, async || self.worker.ended()).await;
        let status = ended.map_err(|error| error.context(self.cluster.all_logs()))?;
        ensure!(status.success(), "{status}: {}", self.worker.log());
        Ok(())
    }
}

// The stock worker cannot ask for this by this protocol: it fails over its own `--allow-shutdown`.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_asks_to_leave_ends_its_build_and_gets_no_other() -> Result<()> {
    let mut scene = AtWork::start().await?;
    scene.worker.signal("HUP")?;
    wait_for("its master knows", DEADLINE, async || {
        Ok(scene.cluster.masters[0].log().contains("worker w asks to leave").then_some(()))
    })
    .await?;
    let next = scene.rest.force("next", json!({})).await?;
    // Of two requests the later one is done: the first one could have begun by now.
    let elsewhere = scene.rest.force("elsewhere", json!({})).await?;
    scene.rest.builds_of_completed(elsewhere).await?;
    let builds = scene.rest.list(&format!("buildrequests/{next}/builds")).await?;
    ensure!(builds.is_empty(), "it gets nothing new: {builds:?}");
    ensure!(scene.worker.ended()?.is_none(), "its build goes on");

    scene.gate.open()?;
    let builds = scene.rest.builds_of_completed(scene.request).await?;
    ensure!(builds.len() == 1 && builds[0]["results"] == 0, "it ends its build: {builds:?}");
    scene.has_left().await?;
    let builds = scene.rest.list(&format!("buildrequests/{next}/builds")).await?;
    ensure!(builds.is_empty(), "nor anything at the end: {builds:?}");

    // Its admin starts it again: what it wished before is forgotten.
    scene.worker.start()?;
    let builds = scene.rest.builds_of_completed(next).await.map_err(|error| error.context(scene.cluster.all_logs()))?;
    ensure!(builds.len() == 1 && builds[0]["results"] == 0, "{builds:?}");
    ensure!(scene.worker.ended()?.is_none(), "it stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_at_once_has_its_build_done_again() -> Result<()> {
    let mut scene = AtWork::start().await?;
    scene.worker.signal("TERM")?;
    scene.has_left().await?;
    wait_for("its build is to be done again", DEADLINE, async || {
        let builds = scene.rest.list(&format!("buildrequests/{}/builds", scene.request)).await?;
        Ok((builds.len() == 1 && builds[0]["results"] == json!(5)).then_some(()))
    })
    .await
    .map_err(|error| error.context(scene.cluster.all_logs()))?;
    let request = scene.rest.one(&format!("buildrequests/{}", scene.request)).await?;
    ensure!(request["complete"] == false, "{request}");

    scene.gate.open()?;
    scene.worker.start()?;
    let builds = scene.rest.builds_of_completed(scene.request).await?;
    ensure!(builds.len() == 2 && builds[1]["results"] == 0, "{builds:?}");
    Ok(())
}
