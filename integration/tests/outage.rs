//! PostgreSQL is away, for longer than the masters' expiry or only for a moment, while everything is busy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::{
    Balancer, Broker, DEADLINE, Database, Farm, Gate, NativeWorker, Repository, Rest, TestCluster, wait_for,
};
use serde_json::{Value, json};

/// After so long without a check-in a master could be declared dead; longer than a busy machine lets one wait.
const EXPIRY: Duration = Duration::from_secs(9);

/// Two masters, with a third one that is not started; a worker at a gate, another for what changes bring.
struct Scene {
    gate: Gate,
    repository: Repository,
    rest: Rest,
    workers: [NativeWorker; 2],
    _balancer: Balancer,
    cluster: TestCluster,
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let mut made = None;
        let mut builder = TestCluster::builder()
            .masters(3)
            .database(Database::OwnPostgres)
            .broker(Broker::Redis)
            .one_farm()
            .stopped()
            .setting("CLUSTER__RESCAN_INTERVAL", "1s");
        for (name, value) in settings {
            builder = builder.setting(name, value);
        }
        let mut cluster = builder
            .start(|directory| {
                let (gate, repository) = (Gate::new(directory), Repository::create(directory, "project")?);
                let farm = Farm::new()
                    .worker("w")
                    .worker("v")
                    .builder("gated", "w", &[&gate.step()])
                    .builder("quick", "v", &["steps.ShellCommand(command='true')"])
                    .extra(&format!(
                        "c['change_source'] = [changes.GitPoller(repourl={:?}, branches=['main'], pollInterval=1, \
                         pollAtLaunch=True)]\n\
                         c['schedulers'] += [schedulers.SingleBranchScheduler(name='each', branch='main', \
                         treeStableTimer=None, builderNames=['quick'])]",
                        repository.url()
                    ));
                made = Some((gate, repository));
                Ok(farm.text())
            })
            .await?;
        let (gate, repository) = made.context("made above")?;
        for master in &mut cluster.masters[..2] {
            master.start()?;
        }
        for master in &mut cluster.masters[..2] {
            master.ready().await?;
        }
        let ports: Vec<u16> = cluster.masters.iter().map(|master| master.worker_port()).collect();
        let balancer = Balancer::start(&ports).await?;
        let workers = [
            cluster.add_native_worker(balancer.port(), "w", "secret")?,
            cluster.add_native_worker(balancer.port(), "v", "secret")?,
        ];
        let rest = cluster.rest()?;
        for worker in ["w", "v"] {
            cluster.worker_connected(&rest, worker).await?;
        }
        wait_for("the first poll", DEADLINE, async || {
            Ok(cluster.masters[..2].iter().any(|master| master.log().contains("first poll")).then_some(()))
        })
        .await?;
        Ok(Self { gate, repository, rest, workers, _balancer: balancer, cluster })
    }

    fn all_logs(&self) -> String {
        let workers: Vec<String> = self.workers.iter().map(NativeWorker::log).collect();
        format!("{}\n--- workers\n{}", self.cluster.all_logs(), workers.join("\n---\n"))
    }

    /// Waits until all masters have found out that connections from before are of no use any more.
    async fn settled(&mut self) -> Result<()> {
        for master in &mut self.cluster.masters {
            if master.pid().is_none() {
                continue;
            }
            master.ready().await?;
            let (rest, mut row) = (master.rest()?, 0);
            wait_for("it answers again and again", DEADLINE, async || {
                row = if rest.list("buildsets").await.is_ok() { row + 1 } else { 0 };
                Ok((row >= 20).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// The completed buildset of a revision, which there is once.
    async fn built(&self, revision: &str) -> Result<()> {
        let of_it = |set: &Value| set["sourcestamps"][0]["revision"] == json!(revision);
        wait_for(&format!("{revision} is built"), DEADLINE, async || {
            let sets = self.rest.list("buildsets").await?;
            let sets: Vec<&Value> = sets.iter().filter(|set| of_it(set)).collect();
            ensure!(sets.len() <= 1, "{sets:?}");
            Ok(sets.first().is_some_and(|set| set["complete"] == true && set["results"] == 0).then_some(()))
        })
        .await
        .map_err(|error| error.context(self.all_logs()))
    }

    /// Everything works again: one build of the request counts, a change and a request are built, nothing hangs.
    async fn works(&self, request: i64) -> Result<Vec<i64>> {
        self.gate.open()?;
        let builds = self.rest.builds_of_completed(request).await.map_err(|error| error.context(self.all_logs()))?;
        let after = self.repository.commit("file", "after\n", "After it")?;
        self.built(&after).await?;
        for builder in ["gated", "quick"] {
            let request = self.rest.force(builder, json!({})).await?;
            let builds =
                self.rest.builds_of_completed(request).await.map_err(|error| error.context(self.all_logs()))?;
            ensure!(builds.len() == 1 && builds[0]["results"] == 0, "{builds:?}");
        }
        ensure!(self.rest.list("builds?complete=false").await?.is_empty(), "zombies");
        ensure!(self.rest.list("buildrequests?complete=false").await?.is_empty(), "requests that hang");
        ensure!(self.cluster.database.sql("SELECT count(*) FROM changes")?.trim() == "2", "each change once");
        Ok(builds.iter().filter_map(|build| build["results"].as_i64()).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_expiry_kills_nobody() -> Result<()> {
    let expiry = format!("{}s", EXPIRY.as_secs());
    let mut scene = Scene::start(&[
        ("CLUSTER__CHECK_IN_INTERVAL", "2s"),
        ("CLUSTER__EXPIRE_AFTER", &expiry),
        ("DATABASE__CONNECT_TIMEOUT", "10s"),
    ])
    .await?;
    let request = scene.rest.force("gated", json!({})).await?;
    scene.gate.reached(&scene.rest, request).await?;

    let began = Instant::now();
    scene.cluster.database.own().context("a server of our own")?.crash();
    // Pushed while nobody can note it.
    let during = scene.repository.commit("file", "during\n", "During it")?;
    for master in &scene.cluster.masters[..2] {
        let rest = master.rest()?;
        wait_for("a load balancer hears of it", DEADLINE, async || {
            Ok(rest.text("health/ready").await.is_err().then_some(()))
        })
        .await?;
        rest.text("health/live").await.context("it lives")?;
        wait_for("it stops its work", DEADLINE, async || Ok(master.log().contains("stopping all work").then_some(())))
            .await?;
    }
    // One that is started now waits, too, and says for what.
    let third = &mut scene.cluster.masters[2];
    third.start()?;
    wait_for("it waits", DEADLINE, async || Ok(third.log().contains("waiting for the database").then_some(()))).await?;
    wait_for("the outage lasts", DEADLINE, async || Ok((began.elapsed() > EXPIRY * 3).then_some(()))).await?;

    tokio::task::block_in_place(|| scene.cluster.database.own().context("a server of our own")?.restart())?;
    for index in 0..3 {
        ensure!(!scene.cluster.masters[index].has_ended()?, "m{index} died\n{}", scene.all_logs());
    }
    scene.settled().await?;
    wait_for("all are active", DEADLINE, async || {
        let masters = scene.rest.list("masters").await?;
        Ok((masters.len() == 3 && masters.iter().all(|master| master["active"] == true)).then_some(()))
    })
    .await
    .map_err(|error| error.context(scene.all_logs()))?;
    scene.built(&during).await?;
    let results = scene.works(request).await?;
    let (last, before) = results.split_last().context("a build")?;
    ensure!(*last == 0 && before.len() <= 1 && before.iter().all(|result| *result == 5), "{results:?}");
    // Nobody was declared dead, and nobody had to join more than once again.
    for master in &scene.cluster.masters {
        let log = master.log();
        ensure!(!log.contains("declared m"), "{}", scene.all_logs());
        ensure!(log.matches("joined the cluster as").count() <= 2, "{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgresql_costs_no_build() -> Result<()> {
    // However long PostgreSQL takes to come back on a busy machine, it is not long enough to be taken for dead.
    let mut scene = Scene::start(&[("CLUSTER__EXPIRE_AFTER", "2m")]).await?;
    let request = scene.rest.force("gated", json!({})).await?;
    scene.gate.reached(&scene.rest, request).await?;
    let database = scene.cluster.database.own().context("a server of our own")?;
    database.crash();
    tokio::task::block_in_place(|| database.restart())?;
    scene.settled().await?;
    let during = scene.repository.commit("file", "during\n", "During it")?;
    scene.built(&during).await?;
    let results = scene.works(request).await?;
    ensure!(results == [0], "the build went on: {results:?}");
    Ok(())
}
