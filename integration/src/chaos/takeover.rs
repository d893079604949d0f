//! How long it takes until what a killed master did is done elsewhere, with the default settings.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::farm::following;
use super::project::Project;
use crate::balancer::Balancer;
use crate::broker::Broker;
use crate::cluster::TestCluster;
use crate::database::Database;
use crate::farm::Farm;
use crate::native_worker::NativeWorker;
use crate::rest::Rest;
use crate::waiting::wait_for;

/// The promise.
pub const PROMISE: Duration = Duration::from_secs(30);

/// Longer than any take-over may last.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is measured at one kill, from the kill on.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver {
    /// Until its schedulers were held by another master.
    pub schedulers: Duration,
    /// Until its change sources were.
    pub change_sources: Duration,
    /// Until the request that it was building was being built elsewhere.
    pub requests: Duration,
    /// Until a change that was published at the moment of the kill was built.
    pub change_built: Duration,
}

/// All kills of a run.
#[derive(Clone, Debug)]
pub struct TakeOvers {
    /// In order.
    pub kills: Vec<TakeOver>,
    /// By how much the clock of one replica was wrong.
    pub skew: String,
    broker: Broker,
}

impl TakeOvers {
    /// The longest time of all.
    pub fn worst(&self) -> Duration {
        let all = self.kills.iter().flat_map(|kill| [kill.schedulers, kill.change_sources, kill.requests]);
        all.max().unwrap_or_default()
    }
}

impl fmt::Display for TakeOvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} kills, broker {:?}, clock of one replica {}", self.kills.len(), self.broker, self.skew)?;
        writeln!(f, "\n| from the kill until | fastest | median | slowest |\n|---|---|---|---|")?;
        type Part = fn(&TakeOver) -> Duration;
        let parts: [(&str, Part); 4] = [
            ("its schedulers run elsewhere", |kill| kill.schedulers),
            ("its change sources run elsewhere", |kill| kill.change_sources),
            ("the request it was building is built elsewhere", |kill| kill.requests),
            ("a change published at the kill is built", |kill| kill.change_built),
        ];
        for (what, part) in parts {
            let mut times: Vec<Duration> = self.kills.iter().map(part).collect();
            times.sort();
            let (Some(first), Some(last)) = (times.first(), times.last()) else { continue };
            let median = times[times.len() / 2];
            writeln!(f, "| {what} | {first:.1?} | {median:.1?} | {last:.1?} |")?;
        }
        Ok(())
    }
}

/// Kills the master that does everything, again and again. `skew` is what `faketime` takes (`-5m`, `+5m`), for one
/// replica; without it all clocks are right.
///
/// # Errors
/// If something cannot be started, or is not taken over at all.
pub async fn measure(kills: usize, broker: Broker, skew: Option<&str>) -> Result<TakeOvers> {
    let mut project = None;
    let mut cluster = TestCluster::builder()
        .masters(2)
        .database(Database::OwnPostgres)
        .broker(broker)
        .one_farm()
        .stopped()
        .start(|directory| {
            let made = project.insert(Project::create(directory, kills)?);
            Ok(farm(&made.url()))
        })
        .await?;
    if let Some(skew) = skew {
        // Not by the program `faketime`, which stays as the parent and would be what is killed.
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
        ensure!(std::path::Path::new(&library).exists(), "{library} is missing (Debian package faketime)");
        cluster.masters[1].set_environment("LD_PRELOAD", &library);
        cluster.masters[1].set_environment("FAKETIME", skew);
        // Clocks that only measure durations are right everywhere.
        cluster.masters[1].set_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    let project = project.context("made above")?;
    for index in 0..2 {
        cluster.masters[index].start()?;
        cluster.masters[index].ready().await?;
    }
    let ports: Vec<u16> = cluster.masters.iter().map(crate::master::MasterProcess::worker_port).collect();
    let balancer = Balancer::start(&ports).await?;
    let mut worker = NativeWorker::create(&cluster.directory().join("w"), balancer.port(), "w", "secret")?;
    worker.start()?;
    let mut times = Vec::new();
    for kill in 0..kills {
        times.push(one(&mut cluster, &project, kill).await.with_context(|| format!("kill {kill}"))?);
        eprintln!("{:?}", times.last());
    }
    Ok(TakeOvers { kills: times, skew: skew.unwrap_or("right").to_owned(), broker })
}

async fn one(cluster: &mut TestCluster, project: &Project, kill: usize) -> Result<TakeOver> {
    // Whoever holds the leases; the worker goes where it can.
    let holder = wait_for("one master holds everything", PATIENCE, async || {
        let rest = cluster.masters[0].rest()?;
        let (Some(scheduler), Some(source)) = (scheduler(&rest).await, source(&rest).await) else { return Ok(None) };
        Ok((scheduler == source).then_some(scheduler))
    })
    .await?;
    let victim = cluster.masters.iter().position(|master| master.name == holder).context("a master of ours")?;
    let rest = cluster.masters[1 - victim].rest()?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("long", json!({})).await?;
    let first = wait_for("it is being built", PATIENCE, async || {
        Ok(rest.list(&format!("buildrequests/{request}/builds")).await?.into_iter().next())
    })
    .await?;
    let name = |id: &serde_json::Value| id.clone();
    let on_victim = name(&first["masterid"]);

    let killed = Instant::now();
    cluster.masters[victim].kill()?;
    project.publish(kill + 1)?;
    let (mut schedulers, mut change_sources, mut requests, mut change_built) = (None, None, None, None);
    wait_for("everything is done elsewhere", PATIENCE, async || {
        let elsewhere = |holder: Option<String>| holder.is_some_and(|holder| holder != cluster.masters[victim].name);
        if schedulers.is_none() && elsewhere(scheduler(&rest).await) {
            schedulers = Some(killed.elapsed());
        }
        if change_sources.is_none() && elsewhere(source(&rest).await) {
            change_sources = Some(killed.elapsed());
        }
        if requests.is_none() {
            let builds = rest.list(&format!("buildrequests/{request}/builds")).await?;
            if builds.iter().any(|build| build["masterid"] != on_victim || build["results"] == json!(0)) {
                requests = Some(killed.elapsed());
            }
        }
        let revision = &project.changes()[kill];
        if change_built.is_none() {
            let sets = rest.list("buildsets?complete=true").await?;
            if sets.iter().any(|set| set["sourcestamps"][0]["revision"] == json!(revision)) {
                change_built = Some(killed.elapsed());
            }
        }
        Ok((schedulers.is_some() && change_sources.is_some() && requests.is_some() && change_built.is_some())
            .then_some(()))
    })
    .await
    .map_err(|error| error.context(cluster.all_logs()))?;
    let builds = rest.builds_of_completed(request).await?;
    ensure!(builds.last().is_some_and(|build| build["results"] == json!(0)), "{builds:?}");
    cluster.masters[victim].start()?;
    cluster.masters[victim].ready().await?;
    let missing = "measured above";
    Ok(TakeOver {
        schedulers: schedulers.context(missing)?,
        change_sources: change_sources.context(missing)?,
        requests: requests.context(missing)?,
        change_built: change_built.context(missing)?,
    })
}

/// Who runs the scheduler that changes go to.
async fn scheduler(rest: &Rest) -> Option<String> {
    let schedulers = rest.list("schedulers").await.ok()?;
    let each = schedulers.into_iter().find(|scheduler| scheduler["name"] == json!("each"))?;
    Some(each["master"]["name"].as_str()?.to_owned())
}

/// Who runs the poller.
async fn source(rest: &Rest) -> Option<String> {
    let sources = rest.list("changesources").await.ok()?;
    Some(sources.first()?["master"]["name"].as_str()?.to_owned())
}

fn farm(project: &str) -> String {
    let farm = Farm::new().worker("w").builder("short", "w", &["steps.ShellCommand(command='true')"]).builder(
        "long",
        "w",
        &["steps.ShellCommand(command='sleep 3')"],
    );
    following(farm, project, &["short"])
}
