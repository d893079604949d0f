//! A cluster as an admin sees and guides it: `buildguild cluster status | drain`, farm configs that differ, and a rolling
//! upgrade with two versions of the schema's programs.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Farm, Gate, MasterProcess, Rest, TestCluster, wait_for};
use serde_json::{Value, json};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn cluster_command(master: &MasterProcess, arguments: &[&str]) -> Result<String> {
    let output = master.command("cluster")?.args(arguments).args(["--url", &master.url()]).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
    Ok(text(&output))
}

/// A farm whose builder stands at a gate, and then says what a function of the config gives.
fn farm(gate: &Gate, word: &str) -> String {
    Farm::new()
        .worker("w")
        .builder("b", "w", &[&gate.step(), "steps.SetProperty(property='word', value=util.renderer(word))"])
        .text()
        .replacen("c = BuildmasterConfig", &format!("def word(props):\n    return {word:?}\nc = BuildmasterConfig"), 1)
}

async fn masters(rest: &Rest) -> Result<Vec<Value>> {
    rest.list("masters?order=name").await
}

/// Waits until the masters are as wanted; the last look is in the error.
async fn masters_are(rest: &Rest, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let mut last = Vec::new();
    let outcome = wait_for(what, DEADLINE, async || {
        last = masters(rest).await?;
        Ok(wanted(&last).then(|| last.clone()))
    })
    .await;
    outcome.map_err(|error| error.context(format!("{last:?}")))
}

async fn start(gate: &mut Option<Gate>) -> Result<TestCluster> {
    TestCluster::builder()
        .setting("CLUSTER__CHECK_IN_INTERVAL", "300ms")
        // Nobody dies here, and however busy the machine is, nobody is to be taken for dead.
        .setting("CLUSTER__EXPIRE_AFTER", "2m")
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        .start(|directory| Ok(farm(gate.insert(Gate::new(directory)), "old")))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_drained_and_its_build_ends_with_the_config_that_it_began_with() -> Result<()> {
    let mut gate = None;
    let mut cluster = start(&mut gate).await?;
    let gate = gate.context("made above")?;
    let port = cluster.masters[0].worker_port();
    let _worker = cluster.add_native_worker(port, "w", "secret")?;
    let (first, second) = (cluster.masters[0].rest()?, cluster.masters[1].rest()?);
    cluster.worker_connected(&second, "w").await?;
    let request = first.force("b", json!({})).await?;
    let build = gate.reached(&second, request).await?;

    // Each has its own worker port in its config. With the same one both tell the same, until one gets another.
    let files = [0, 1].map(|index: usize| cluster.masters[index].directory().join("master.cfg"));
    let old = std::fs::read_to_string(&files[0])?;
    std::fs::write(&files[1], &old)?;
    cluster.masters[1].signal("HUP")?;
    masters_are(&second, "both tell their config", |now| {
        now.iter().all(|m| m["config_hash"].is_string() && m["config_hash"] == now[0]["config_hash"])
    })
    .await?;
    wait_for("the metric says that one version is in force", DEADLINE, async || {
        Ok(second.text("metrics").await?.contains("buildguild_configs_in_force 1").then_some(()))
    })
    .await?;
    std::fs::write(&files[0], old.replace("\"old\"", "\"new\""))?;
    cluster.masters[0].signal("HUP")?;
    masters_are(&second, "the configs differ", |now| now[0]["config_hash"] != now[1]["config_hash"]).await?;
    let status = cluster_command(&cluster.masters[1], &["status"])?;
    ensure!(status.contains("different versions of the farm config"), "{status}");
    let row = status.lines().find(|line| line.contains("m0")).context("a row")?;
    ensure!(row.contains("active") && row.contains(env!("CARGO_PKG_VERSION")), "{status}");
    wait_for("the metric tells of it", DEADLINE, async || {
        Ok(second.text("metrics").await?.contains("buildguild_configs_in_force 2").then_some(()))
    })
    .await?;

    // Asked of the other master, so that what is wished goes through the database.
    cluster_command(&cluster.masters[1], &["drain", "m0", "--reason", "a test"])?;
    masters_are(&second, "it is told to leave", |now| now[0]["draining_since"].is_i64()).await?;
    wait_for("a load balancer hears that it leaves", DEADLINE, async || {
        Ok(first.text("health/ready").await.is_err().then_some(()))
    })
    .await?;
    first.text("health/live").await.context("it still serves while its build runs")?;
    wait_for("the other one stays", DEADLINE, async || Ok(second.text("health/ready").await.ok())).await?;
    let status = cluster_command(&cluster.masters[1], &["status", "--json"])?;
    let status: Value = serde_json::from_str(&status)?;
    let shown = status["masters"].as_array().and_then(|all| all.iter().find(|master| master["name"] == "m0"));
    let shown = shown.context("m0 is shown")?;
    ensure!(shown["builds"] == 1 && shown["workers"] == 1, "{status}");

    gate.open()?;
    cluster_command(&cluster.masters[1], &["drain", "m0", "--wait", "120"]).or_else(|error| {
        // It may have left before it could be asked again.
        ensure!(error.to_string().contains("does not run"), "{error}");
        Ok::<String, anyhow::Error>(String::new())
    })?;
    let gone = masters_are(&second, "it has left", |now| now[0]["active"] == false).await?;
    ensure!(gone[1]["active"] == true, "{gone:?}");
    let build = second.one(&format!("builds/{}?property=word", build["buildid"])).await?;
    ensure!(build["results"] == 0, "its build ended in order: {build}");
    ensure!(build["properties"]["word"][0] == "old", "with the functions that it began with: {build}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_of_two_versions_run_together_during_an_upgrade() -> Result<()> {
    let mut gate = None;
    let mut cluster = start(&mut gate).await?;
    gate.context("made above")?.open()?;
    let build_on = async |cluster: &TestCluster, index: usize| -> Result<()> {
        let rest = cluster.masters[index].rest()?;
        let request = rest.force("b", json!({})).await?;
        let builds = rest.builds_of_completed(request).await?;
        ensure!(builds.iter().any(|build| build["results"] == 0), "{builds:?}");
        Ok(())
    };
    let port = cluster.masters[1].worker_port();
    let _worker = cluster.add_native_worker(port, "w", "secret")?;
    cluster.worker_connected(&cluster.rest()?, "w").await?;
    build_on(&cluster, 0).await?;

    // What the next version's upgrade-master does: it only adds, so it leaves the minimum alone.
    cluster.database.sql("ALTER TABLE builds ADD COLUMN of_the_future BIGINT")?;
    cluster.database.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9000_future', 0)")?;
    build_on(&cluster, 1).await.context("masters that run go on")?;
    cluster.masters[0].stop().await?;
    cluster.masters[0].start()?;
    cluster.masters[0].ready().await.context("one of the older version may still be restarted")?;
    ensure!(cluster.masters[0].log().contains("newer version"), "and says that it is older");
    build_on(&cluster, 0).await?;

    // A later version takes something away, once no older master runs any more: from then on none starts.
    cluster.masters[0].stop().await?;
    cluster.database.sql("UPDATE schema_compatibility SET minimum = 9000")?;
    let output = cluster.masters[0].command("start")?.arg("--nodaemon").arg(cluster.masters[0].directory()).output()?;
    ensure!(!output.status.success() && text(&output).contains("newer version"), "{}", text(&output));
    Ok(())
}
