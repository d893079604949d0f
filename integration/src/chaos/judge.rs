//! The oracle: looks for anything that a calm run would not have left, and whether the cluster still works.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Run;
use super::cast::{BUILDERS, Cast};
use super::news::judge_news;
use super::outcome::Outcome;
use super::report::Report;
use crate::broker::Broker;
use crate::waiting::{DEADLINE, wait_for};

/// Of so many builds at most the logs are read, evenly spread.
const LOGS: usize = 200;

/// What has to come to nothing by itself.
const LEFT_OVER: [&str; 6] = [
    "SELECT count(*) FROM outbox",
    "SELECT count(*) FROM builds WHERE complete_at IS NULL",
    "SELECT count(*) FROM steps WHERE complete_at IS NULL",
    "SELECT count(*) FROM logs WHERE NOT complete",
    "SELECT count(*) FROM buildsets WHERE NOT complete",
    "SELECT count(*) FROM masters WHERE NOT active",
];

/// Compares with the calm run, and looks around.
pub(super) async fn judge(run: &Run, cast: &mut Cast, report: &mut Report, calm: &Outcome) -> Result<()> {
    for statement in LEFT_OVER {
        let zero = wait_for(statement, DEADLINE, async || {
            cast.revive()?;
            Ok((cast.cluster.database.sql(statement)?.trim() == "0").then_some(()))
        });
        zero.await.with_context(|| format!("{statement} is {:?}", cast.cluster.database.sql(statement)))?;
    }
    report.masters(cast);
    let rest = cast.rest().await?;
    let outcome = Outcome::read(&rest).await?;
    outcome.compare(calm)?;
    outcome.is_whole(run.size.changes, BUILDERS.len())?;
    report.outcome(&outcome);
    let mut logs = 0;
    for (build, revision) in outcome.final_builds.iter().step_by(outcome.final_builds.len().div_ceil(LOGS).max(1)) {
        let log = rest.log(*build, "print", "stdio").await?;
        let lines = log.lines().filter(|line| *line == revision).count();
        ensure!(lines == 1, "the log of build {build} has {revision} {lines} times:\n{log}");
        logs += 1;
    }
    report.logs(logs);
    for worker in &cast.workers {
        ensure!(!worker.log().contains("panicked at"), "a worker panicked:\n{}", worker.log());
    }
    judge_news(run, cast, report, &outcome).await?;
    still_works(run, cast, report).await?;
    report.is_good();
    Ok(())
}

/// Every master is ready and hears the others, every worker is connected at one of them, and a change that is published
/// now is built, and heard of by all outsiders.
async fn still_works(run: &Run, cast: &mut Cast, report: &mut Report) -> Result<()> {
    for master in &cast.cluster.masters {
        let rest = master.rest()?;
        wait_for(&format!("{} is ready and hears the others", master.name), DEADLINE, async || {
            let Ok(text) = rest.text("health/ready").await else { return Ok(None) };
            let health: serde_json::Value = serde_json::from_str(&text)?;
            Ok((health["events"] == json!(true)).then_some(()))
        })
        .await?;
    }
    let rest = cast.cluster.rest()?;
    for index in 0..cast.workers.len() {
        let mut masters = json!(null);
        let once = wait_for("the worker is connected once", DEADLINE, async || {
            masters = rest.one(&format!("workers/w{index}")).await?["connected_to"].clone();
            Ok((masters.as_array().map(Vec::len) == Some(1)).then_some(()))
        });
        once.await.with_context(|| format!("worker w{index} is connected to {masters}"))?;
    }
    let started = Instant::now();
    let newest = "buildsets?order=-bsid&limit=1";
    let before = rest.one(newest).await?["bsid"].clone();
    cast.project.publish(run.size.changes + 1)?;
    let set = wait_for("one more change is built", DEADLINE, async || {
        let set = rest.one(newest).await?;
        Ok((set["bsid"] != before && set["complete"] == json!(true)).then(|| set["bsid"].clone()))
    })
    .await?;
    let key = format!("buildsets/{set}/complete");
    let heard = |outsider: &crate::subscriber::Subscriber| outsider.count(&key) > 0;
    let all = wait_for("all hear of it", DEADLINE, async || {
        let all = match run.size.broker {
            Broker::Memory => cast.subscribers.iter().any(heard),
            Broker::Redis | Broker::RabbitMq => cast.subscribers.iter().all(heard),
        };
        Ok(all.then_some(()))
    });
    all.await.with_context(|| format!("{:?}", cast.subscribers.iter().map(heard).collect::<Vec<_>>()))?;
    report.afterwards(started.elapsed());
    Ok(())
}
