//! What load balancers and orchestrators are told: `/health/ready` and `/health/live`.

use anyhow::{Context, Result, ensure};
use integration::{Against, DEADLINE, Farm, MasterProcess, TestCluster, wait_for};
use serde_json::{Value, json};

fn farm() -> String {
    Farm::new().worker("w").builder("b", "w", &["steps.ShellCommand(command='true')"]).text()
}

/// The answer's status and what it says.
async fn ready(master: &MasterProcess) -> Result<(u16, Value)> {
    let answer = reqwest::get(format!("{}health/ready", master.url())).await?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await?))
}

/// Waits until a master's answer is as wanted.
async fn until_ready(master: &MasterProcess, what: &str, wanted: impl Fn(u16, &Value) -> bool) -> Result<()> {
    let mut last = None;
    let outcome = wait_for(what, DEADLINE, async || {
        let (status, body) = last.insert(ready(master).await?);
        Ok(wanted(*status, body).then_some(()))
    })
    .await;
    outcome.map_err(|error| error.context(format!("{last:?}\n{}", master.log())))
}

fn joins(master: &MasterProcess) -> usize {
    master.log().matches("joined the cluster as").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_cannot_check_in_is_out_of_service_until_it_has_joined_again() -> Result<()> {
    let mut cluster = TestCluster::builder().quick_to_notice().linked().start(|_| Ok(farm())).await?;
    let (links, _) = cluster.take_links();
    let [first, second] = cluster.masters.as_slice() else { anyhow::bail!("two masters") };
    let (of_first, of_second) = (first.rest()?, second.rest()?);
    let is_active = async |name: &str| -> Result<bool> {
        let masters = of_second.list("masters").await?;
        let master = masters.iter().find(|master| master["name"] == name).context("it is shown")?;
        Ok(master["active"] == true)
    };

    // Nothing of the database reaches it.
    let joined = joins(first);
    links[0].cut();
    until_ready(first, "a load balancer hears of it", |status, _| status == 503).await?;
    wait_for("it is declared dead", DEADLINE, async || Ok((!is_active("m0").await?).then_some(()))).await?;
    ensure!(first.log().contains("stopping all work"), "it has stopped before: {}", first.log());
    let (status, body) = ready(first).await?;
    ensure!(status == 503 && body["status"] == "unavailable" && body["database"] == false, "{status}: {body}");
    of_first.text("health/live").await.context("nobody is to restart it")?;
    until_ready(second, "the other one stays", |status, _| status == 200).await?;
    links[0].heal();
    until_ready(first, "it is in service again", |status, _| status == 200).await?;
    ensure!(joins(first) > joined, "it has joined again before: {}", first.log());
    wait_for("it is shown as active", DEADLINE, async || Ok(is_active("m0").await?.then_some(()))).await?;

    // It can read and cannot check in: it is fenced with a database that answers.
    let joined = joins(first);
    let lock = cluster.database.lock_table("masters", Against::Writers).await?;
    let is_fenced =
        |status: u16, body: &Value| status == 503 && body["status"] == "out of service" && body["database"] == true;
    until_ready(first, "a load balancer hears of that, too", is_fenced).await?;
    of_first.text("health/live").await.context("nobody is to restart it")?;
    of_first.list("builders").await.context("it can be looked at")?;
    drop(lock);
    for master in [first, second] {
        until_ready(master, "it is in service again", |status, _| status == 200).await?;
    }
    ensure!(joins(first) > joined, "{}", first.log());
    Ok(())
}

// One master: it is about its own start.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_ready_only_when_its_config_is_in_force() -> Result<()> {
    let mut cluster = TestCluster::builder().masters(1).stopped().start(|_| Ok(farm())).await?;
    let rest = cluster.rest()?;
    // What its builders are has to be written there.
    let lock = cluster.database.lock_table("builders", Against::Everybody).await?;
    cluster.masters[0].start()?;
    wait_for("it serves", DEADLINE, async || Ok(rest.text("health/live").await.ok())).await?;
    let (status, body) = ready(&cluster.masters[0]).await?;
    ensure!(status == 503, "{body}");
    let force = async || rest.control("forceschedulers/force", "force", json!({ "builderid": 1 })).await;
    let forced = force().await;
    let refused = forced.as_ref().is_err_and(|error| error.to_string().contains("start"));
    ensure!(refused, "a client is told to try again: {forced:?}");
    // One that asks soon before is only kept waiting.
    let (forced, ()) = tokio::join!(force(), async { drop(lock) });
    ensure!(forced.is_ok(), "{forced:?}");
    cluster.masters[0].ready().await?;
    Ok(())
}
