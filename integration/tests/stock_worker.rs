//! Stock `buildbot-worker` 4.3 on a Buildguild master: what it does when things go wrong.

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Database, Farm, Gate, TestCluster, wait_for};
use serde_json::{Value, json};

struct Scene {
    cluster: TestCluster,
    gate: Gate,
}

// One master: these are about one connection.
async fn scene() -> Result<Scene> {
    let mut gate = None;
    let cluster = TestCluster::builder()
        .masters(1)
        .database(Database::Sqlite)
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        .start(|directory| {
            let made = gate.insert(Gate::new(directory));
            let hello = "steps.ShellCommand(name='hello', command=['echo', 'hello from the worker'])";
            Ok(Farm::new().worker("w").builder("gated", "w", &[&made.step()]).builder("hello", "w", &[hello]).text())
        })
        .await?;
    Ok(Scene { cluster, gate: gate.context("made above")? })
}

fn id(item: &Value) -> Result<i64> {
    item["buildid"].as_i64().with_context(|| format!("no build id in {item}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_builds_and_reconnects_after_a_restart_of_the_master() -> Result<()> {
    let Scene { mut cluster, .. } = scene().await?;
    let rest = cluster.rest()?;
    cluster.add_stock_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    cluster.worker_connected(&rest, "w").await?;
    for round in 0..2 {
        let request = rest.force("hello", json!({})).await?;
        let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
        ensure!(builds.len() == 1 && builds[0]["results"] == json!(0), "round {round}: {builds:?}");
        let log = rest.log(id(&builds[0])?, "hello", "stdio").await?;
        ensure!(log.contains("\nhello from the worker\n"), "{log}");
        if round == 0 {
            cluster.masters[0].stop().await?;
            cluster.masters[0].start()?;
            cluster.masters[0].ready().await?;
            cluster.worker_connected(&rest, "w").await?;
        }
    }
    let worker = rest.one("workers/w").await?;
    ensure!(worker["workerinfo"]["version"] == json!("4.3.0"), "{worker}");
    let known: Vec<_> = worker["workerinfo"].as_object().context("an object")?.keys().collect();
    ensure!(known == ["access_uri", "admin", "host", "version"], "{worker}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_said_so() -> Result<()> {
    let Scene { mut cluster, .. } = scene().await?;
    let rest = cluster.rest()?;
    cluster.add_stock_worker(cluster.masters[0].worker_port(), "w", "hunter2")?;
    wait_for("the master says who was refused", DEADLINE, async || {
        Ok(cluster.masters[0].log().lines().any(|line| line.contains("refused") && line.contains('w')).then_some(()))
    })
    .await?;
    let worker = rest.one("workers/w").await?;
    ensure!(worker["connected_to"] == json!([]), "{worker}");
    ensure!(!cluster.masters[0].log().contains("hunter2"), "the password is not logged");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_of_the_same_name_waits_while_the_first_is_alive() -> Result<()> {
    let Scene { mut cluster, gate } = scene().await?;
    let rest = cluster.rest()?;
    let port = cluster.masters[0].worker_port();
    cluster.add_stock_worker(port, "w", "secret")?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("gated", json!({})).await?;
    gate.reached(&rest, request).await?;
    cluster.add_stock_worker(port, "w", "secret")?;
    wait_for("the second one is told so", DEADLINE, async || {
        Ok(cluster.workers[0].log().contains("master got a duplicate connection").then_some(()))
    })
    .await
    .map_err(|error| error.context(cluster.all_logs()))?;
    gate.open()?;
    let builds = rest.builds_of_completed(request).await?;
    ensure!(builds.len() == 1 && builds[0]["results"] == json!(0), "the first one goes on undisturbed: {builds:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_command_means_retry() -> Result<()> {
    let Scene { mut cluster, gate } = scene().await?;
    let rest = cluster.rest()?;
    cluster.add_stock_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("gated", json!({})).await?;
    let first = gate.reached(&rest, request).await?;
    cluster.workers[0].kill()?;
    wait_for("the build ends as to be retried", DEADLINE, async || {
        let build = rest.one(&format!("builds/{}", id(&first)?)).await?;
        Ok((build["results"] == json!(5)).then_some(()))
    })
    .await?;
    gate.open()?;
    cluster.workers[0].start()?;
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
    ensure!(builds.len() == 2 && builds[1]["results"] == json!(0), "{builds:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_build_is_cancelled_with_its_reason() -> Result<()> {
    let Scene { mut cluster, gate } = scene().await?;
    let rest = cluster.rest()?;
    cluster.add_stock_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("gated", json!({})).await?;
    let build = gate.reached(&rest, request).await?;
    rest.control(&format!("builds/{}", id(&build)?), "stop", json!({"reason": "not needed any more"})).await?;
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
    ensure!(builds.len() == 1 && builds[0]["results"] == json!(6), "{builds:?}");
    let state = builds[0]["state_string"].as_str().unwrap_or_default();
    ensure!(state.contains("cancelled") && state.contains("not needed any more"), "{state}");
    let reason = rest.log(id(&build)?, "gate", "cancelled").await?;
    ensure!(reason.contains("not needed any more"), "{reason}");
    Ok(())
}

// As with Buildbot, of which this was seen.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_while_it_was_away_works_when_it_comes() -> Result<()> {
    let Scene { mut cluster, .. } = scene().await?;
    let rest = cluster.rest()?;
    rest.control("workers/w", "stop", json!({"reason": "a test"})).await?;
    ensure!(rest.one("workers/w").await?["graceful"] == true, "it is shown");
    cluster.add_stock_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("hello", json!({})).await?;
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
    ensure!(builds.len() == 1 && builds[0]["results"] == json!(0), "{builds:?}");
    ensure!(rest.one("workers/w").await?["graceful"] == false, "whoever starts it wants it to work");
    ensure!(!cluster.workers[0].has_ended()?, "{}", cluster.workers[0].log());

    // Now that it is here it is obeyed.
    rest.control("workers/w", "stop", json!({"reason": "a test"})).await?;
    wait_for("the worker has left", DEADLINE, async || Ok(cluster.workers[0].has_ended()?.then_some(()))).await
}
