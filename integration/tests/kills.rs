//! Masters that die and masters that only seem to: nothing runs twice at once, and each request ends exactly once.

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Database, Farm, Gate, Takeover, TestCluster, wait_for};
use serde_json::{Value, json};

fn id(item: &Value, field: &str) -> Result<i64> {
    item[field].as_i64().with_context(|| format!("no {field} in {item}"))
}

/// One build failed over, the next one finished, and only then the request is complete.
async fn check_done_again(rest: &integration::Rest, request: i64, logs: impl Fn() -> String) -> Result<()> {
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(logs()))?;
    ensure!(builds.len() == 2, "one build is retried once: {builds:?}");
    ensure!(builds[0]["results"] == json!(5) && builds[0]["complete"] == json!(true), "{}", builds[0]);
    ensure!(builds[1]["results"] == json!(0) && builds[1]["complete"] == json!(true), "{}", builds[1]);
    let request = rest.one(&format!("buildrequests/{request}")).await?;
    ensure!(request["results"] == json!(0), "{request}");
    let buildset = rest.one(&format!("buildsets/{}", request["buildsetid"])).await?;
    ensure!(buildset["complete"] == json!(true) && buildset["results"] == json!(0), "{buildset}");
    for build in &builds {
        let unfinished: Vec<Value> = rest
            .list(&format!("builds/{}/steps", build["buildid"]))
            .await?
            .into_iter()
            .filter(|step| step["complete"] != json!(true))
            .collect();
        ensure!(unfinished.is_empty(), "steps without an end: {unfinished:?}");
    }
    Ok(())
}

// One master: on SQLite there can be no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_master_is_killed_and_started_again_on_sqlite() -> Result<()> {
    killed_and_started_again(Database::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_master_is_killed_and_started_again_on_postgresql() -> Result<()> {
    killed_and_started_again(Database::Postgres).await
}

async fn killed_and_started_again(database: Database) -> Result<()> {
    let mut gate = None;
    let mut cluster = TestCluster::builder()
        .masters(1)
        .database(database)
        .quick_to_notice()
        .start(|directory| {
            let made = gate.insert(Gate::new(directory));
            Ok(Farm::new().worker("w").builder("b", "w", &[&made.step()]).text())
        })
        .await?;
    let gate = gate.context("made above")?;
    cluster.add_stock_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    let rest = cluster.rest()?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("b", json!({})).await?;
    gate.reached(&rest, request).await.map_err(|error| error.context(cluster.all_logs()))?;

    cluster.masters[0].kill()?;
    gate.open()?;
    cluster.masters[0].start()?;
    cluster.masters[0].ready().await?;
    check_done_again(&rest, request, || cluster.all_logs()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_master_comes_back_and_may_not_write() -> Result<()> {
    let (mut scene, gate) = Takeover::at_a_gate().await?;
    let survivor = scene.survivor.clone();
    let request = survivor.force("b", json!({})).await?;
    let first = gate.reached(&survivor, request).await.map_err(|error| error.context(scene.cluster.all_logs()))?;

    // Paused for longer than the expiry, with its worker's connection still open.
    scene.cluster.masters[0].signal("STOP")?;
    let paused = id(&first, "masterid")?;
    wait_for("the paused master is declared dead", DEADLINE, async || {
        Ok((survivor.one(&format!("masters/{paused}")).await?["active"] == json!(false)).then_some(()))
    })
    .await?;
    // The stock worker does not notice that its master stands still: a new connection is what frees it.
    scene.lead_to_survivor();
    scene.cluster.workers[0].kill()?;
    scene.cluster.workers[0].start()?;
    gate.open()?;
    scene.cluster.masters[0].signal("CONT")?;
    check_done_again(&survivor, request, || scene.cluster.all_logs()).await?;

    // It notices, joins again under a new epoch, and takes no part in what it had.
    wait_for("the paused master is back", DEADLINE, async || {
        Ok((survivor.one(&format!("masters/{paused}")).await?["active"] == json!(true)).then_some(()))
    })
    .await?;
    let build = survivor.one(&format!("builds/{}", id(&first, "buildid")?)).await?;
    ensure!(build["results"] == json!(5), "what the paused master would have written: {build}");
    let claims = scene.cluster.database.sql("SELECT count(*) FROM builds WHERE results = 0")?;
    ensure!(claims.trim() == "1", "exactly one success: {claims}");
    Ok(())
}
