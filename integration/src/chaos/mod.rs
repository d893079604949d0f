//! Chaos: a cluster under faults at random has to come to what a calm single master comes to.
//!
//! A project's changes are published while masters, workers, servers and links fail, as a seed says. Afterwards an oracle
//! compares with a calm run of the same changes: the same changes and buildsets, one completed build per request with the
//! same result, whole logs, every event heard outside (or a reset), and nothing left over.

mod cast;
mod dice;
mod faults;
mod outcome;
mod project;
mod report;
mod takeover;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use self::cast::{Cast, Size};
pub use self::dice::Dice;
pub use self::faults::{Fault, KINDS};
pub use self::outcome::Outcome;
pub use self::project::Project;
pub use self::report::Report;
pub use self::takeover::{PROMISE, TakeOver, TakeOvers, measure};
use crate::broker::Broker;
use crate::waiting::{DEADLINE, wait_for};

/// Between two faults.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Of so many builds at most the logs are read, evenly spread.
const LOGS: usize = 200;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Repeats the choice of faults.
    pub seed: u64,
    /// How long faults go on; the changes are spread over it.
    pub duration: Duration,
    /// Who takes part.
    pub size: Size,
}

/// What a calm single master makes of the changes.
///
/// # Errors
/// If it fails at that.
pub async fn calm(size: Size) -> Result<Outcome> {
    // Nobody is to take a busy machine for a dead master.
    let expire = Duration::from_secs(60);
    let mut cast = Cast::start(Size { masters: 1, broker: Broker::Memory, expire, ..size }).await?;
    // All at once: there is nothing to wait for.
    cast.project.publish(size.changes)?;
    cast.all_built(size.changes, DEADLINE + Duration::from_secs(2) * u32::try_from(size.changes)?).await?;
    let outcome = Outcome::read(&cast.rest().await?).await?;
    ensure!(outcome.changes.len() == size.changes, "{} changes", outcome.changes.len());
    ensure!(outcome.retries == 0, "a calm run needs no retries");
    Ok(outcome)
}

/// Runs a cluster under faults and compares.
///
/// # Errors
/// Whatever is wrong afterwards; the seed and the faults are in the message.
pub async fn chaos(run: Run, calm: &Outcome) -> Result<Report> {
    let mut cast = Cast::start(run.size).await?;
    let mut report = Report::new(run);
    let outcome = storm(run, &mut cast, &mut report).await;
    let outcome = match outcome {
        Ok(()) => judge(run, &mut cast, &mut report, calm).await,
        Err(error) => Err(error),
    };
    outcome.with_context(|| format!("{report}"))?;
    Ok(report)
}

/// Publishes the changes and commits the faults.
async fn storm(run: Run, cast: &mut Cast, report: &mut Report) -> Result<()> {
    let mut dice = Dice::new(run.seed);
    let Size { masters, workers, changes, broker, expire } = run.size;
    // Each kind once, so that a short run has all of them; then as the dice fall.
    let mut deck = Fault::deck(&mut dice, masters, workers, broker);
    let started = Instant::now();
    let mut published = 0;
    while started.elapsed() < run.duration {
        let share = started.elapsed().as_secs_f64() / run.duration.as_secs_f64();
        published = publish(cast, published, due(changes, share))?;
        tokio::time::sleep(dice.between(PAUSE.0, PAUSE.1)).await;
        cast.revive()?;
        let fault = match deck.pop() {
            Some(fault) => fault,
            None => Fault::choose(&mut dice, masters, workers, broker),
        };
        report.began(started.elapsed(), fault);
        fault.commit(cast, &mut dice, expire).await.with_context(|| fault.to_string())?;
        report.ended(started.elapsed());
    }
    publish(cast, published, changes)?;
    report.all_published(started.elapsed());
    let built = cast.all_built(changes, DEADLINE + run.duration).await;
    built.map_err(|error| error.context(cast.cluster.all_logs()))?;
    report.all_built(started.elapsed());
    Ok(())
}

/// How many changes are public after a share of the time.
fn due(changes: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small number"
    )]
    let due = (changes as f64 * share) as usize;
    due.min(changes)
}

fn publish(cast: &Cast, published: usize, upto: usize) -> Result<usize> {
    if upto > published {
        cast.project.publish(upto)?;
    }
    Ok(upto.max(published))
}

/// Looks for anything that a calm run would not have left.
async fn judge(run: Run, cast: &mut Cast, report: &mut Report, calm: &Outcome) -> Result<()> {
    for statement in [
        "SELECT count(*) FROM outbox",
        "SELECT count(*) FROM builds WHERE complete_at IS NULL",
        "SELECT count(*) FROM steps WHERE complete_at IS NULL",
        "SELECT count(*) FROM logs WHERE NOT complete",
        "SELECT count(*) FROM masters WHERE NOT active",
    ] {
        let zero = wait_for(statement, DEADLINE, async || {
            cast.revive()?;
            Ok((cast.cluster.database.sql(statement)?.trim() == "0").then_some(()))
        });
        zero.await.with_context(|| format!("{statement} is {:?}", cast.cluster.database.sql(statement)))?;
    }
    let rest = cast.rest().await?;
    let outcome = Outcome::read(&rest).await?;
    outcome.compare(calm)?;
    report.outcome(&outcome);
    for (build, revision) in outcome.final_builds.iter().step_by(outcome.final_builds.len().div_ceil(LOGS).max(1)) {
        let log = rest.log(*build, "print", "stdio").await?;
        let lines = log.lines().filter(|line| *line == revision).count();
        ensure!(lines == 1, "the log of build {build} has {revision} {lines} times:\n{log}");
    }
    for worker in &cast.workers {
        ensure!(!worker.log().contains("panicked at"), "a worker panicked:\n{}", worker.log());
    }
    judge_news(run, cast, report, &outcome).await
}

/// Every event was heard outside. Where the memory that was the broker died with its master, or a broker was wiped, a
/// reset was told instead.
async fn judge_news(run: Run, cast: &Cast, report: &mut Report, outcome: &Outcome) -> Result<()> {
    let missing = || -> Vec<&String> {
        outcome.events.iter().filter(|key| cast.subscribers.iter().all(|outsider| outsider.count(key) == 0)).collect()
    };
    let resets: Vec<String> = cast.subscribers.iter().flat_map(crate::subscriber::Subscriber::resets).collect();
    report.news(cast, outcome.events.len(), missing().len(), resets.len());
    let may_reset = run.size.broker == Broker::Memory || report.count("wipe broker") > 0;
    ensure!(may_reset || resets.is_empty(), "nobody wiped the broker, but subscribers were told of resets: {resets:?}");
    if resets.is_empty() {
        let heard = wait_for("all events are heard", DEADLINE, async || Ok(missing().is_empty().then_some(()))).await;
        heard.with_context(|| format!("never heard: {:?}", missing()))?;
    }
    Ok(())
}
