//! A push becomes a build on a stock worker; its master is killed in mid-build; the other master does it again.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Repository, Takeover, wait_for};
use serde_json::{Value, json};

/// One stock worker, one builder whose last step blocks until the test says "go".
fn farm(repository: &str, go: &Path) -> String {
    format!(
        r#"
from buildbot.plugins import *
c = BuildmasterConfig = {{}}
c['workers'] = [worker.Worker("stock", "secret")]
c['protocols'] = {{'msgpack_experimental_v7': {{'port': 9989}}}}
c['www'] = dict(port=8010)
c['change_source'] = [changes.GitPoller(repourl={repository:?}, branches=True, pollInterval=1, pollAtLaunch=True)]
c['schedulers'] = [
    schedulers.AnyBranchScheduler(name="all", builderNames=["b"], treeStableTimer=None),
    schedulers.ForceScheduler(name="force", builderNames=["b"]),
]
f = util.BuildFactory()
f.addStep(steps.Git(repourl={repository:?}, mode="incremental"))
f.addStep(steps.ShellCommand(name="show", command=["cat", "file"]))
f.addStep(steps.ShellCommand(name="block", command="while [ ! -e {go} ]; do sleep 0.1; done; echo went"))
c['builders'] = [util.BuilderConfig(name="b", workernames=["stock"], factory=f)]
"#,
        go = go.display()
    )
}

fn results(build: &Value) -> &Value {
    &build["results"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_masters_build_is_done_again_by_the_other() -> Result<()> {
    let mut repository = None;
    let mut go = None;
    let scene = Takeover::start("stock", |directory| {
        let made = Repository::create(directory, "project")?;
        let go_file = directory.join("go");
        let farm = farm(&made.url(), &go_file);
        repository = Some(made);
        go = Some(go_file);
        Ok(farm)
    });
    let Takeover { mut cluster, survivor, balancer: _balancer } = scene.await?;
    let repository = repository.context("made above")?;
    let go = go.context("made above")?;
    // The first poll notes where the branches are.
    wait_for("the first poll", DEADLINE, async || {
        Ok(cluster.masters.iter().any(|master| master.log().contains("first poll")).then_some(()))
    })
    .await?;

    let revision = repository.commit("file", "content of the second commit\n", "Second commit")?;
    let first = wait_for("the build blocks in its last step", DEADLINE, async || {
        let builds = survivor.list("builds").await?;
        let Some(build) = builds.first() else { return Ok(None) };
        let steps = survivor.list(&format!("builds/{}/steps", build["buildid"])).await?;
        Ok(steps.iter().any(|step| step["name"] == "block" && step["started_at"].is_i64()).then(|| build.clone()))
    })
    .await
    .map_err(|error| error.context(cluster.all_logs()))?;
    let owner = first["masterid"].as_i64().context("a master")?;
    let masters = survivor.list("masters").await?;
    let owner_name = masters
        .iter()
        .find(|master| master["masterid"] == json!(owner))
        .and_then(|master| master["name"].as_str())
        .context("the owner is a master")?;
    ensure!(owner_name == "m0", "the balancer prefers m0, the build runs on {owner_name}");

    cluster.masters[0].kill()?;
    std::fs::write(&go, "")?;
    let request = first["buildrequestid"].as_i64().context("a request")?;
    let builds = survivor.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
    ensure!(builds.len() == 2, "{builds:?}");
    ensure!(results(&builds[0]) == &json!(5), "the first one is to be done again: {}", builds[0]);
    ensure!(results(&builds[1]) == &json!(0), "the second one succeeds: {}", builds[1]);
    ensure!(builds[1]["masterid"] != json!(owner), "by the other master: {}", builds[1]);
    let again = builds[1]["buildid"].as_i64().context("an id")?;
    let log = survivor.log(again, "show", "stdio").await?;
    ensure!(log.contains("content of the second commit"), "{log}");
    let properties = survivor.one(&format!("builds/{again}/properties")).await?;
    ensure!(properties["got_revision"][0] == json!(revision), "{properties}");
    let page = survivor.text("").await?;
    ensure!(page.contains("<html"), "a page: {page}");
    Ok(())
}
