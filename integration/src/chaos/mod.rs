//! Chaos: a cluster under faults at random has to come to what a calm single master comes to.
//!
//! A project's changes are published while masters, workers, servers and links fail, as a seed says. Afterwards an oracle
//! compares with a calm run of the same changes: the same changes and buildsets, one completed build per request with the
//! same result, whole logs, every event heard by every outsider (or a reset where the broker was wiped), nothing left
//! over, and a cluster that still works.

mod cast;
mod dice;
mod farm;
mod faults;
mod judge;
mod news;
mod outcome;
mod plan;
mod project;
mod report;
mod storm;
mod takeover;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use self::cast::{Cast, Size};
pub use self::dice::Dice;
pub use self::faults::{Fault, KINDS, Target};
pub use self::outcome::Outcome;
pub use self::project::Project;
pub use self::report::Report;
pub use self::takeover::{PROMISE, TakeOver, TakeOvers, measure};
use crate::broker::Broker;
use crate::waiting::DEADLINE;

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
    outcome.is_whole(size.changes, cast::BUILDERS.len())?;
    // On a machine that is busy with other things a worker may not answer for 10 s; but nothing else is the matter.
    ensure!(outcome.retries <= 1 + size.changes / 100, "{} retries in a calm run", outcome.retries);
    if outcome.retries > 0 {
        let logs = cast.cluster.all_logs();
        let warnings: Vec<&str> = logs.lines().filter(|line| line.contains(" WARN ")).collect();
        eprintln!("the calm run needed {} retries:\n{}", outcome.retries, warnings.join("\n"));
    }
    Ok(outcome)
}

/// Runs a cluster under faults and compares.
///
/// # Errors
/// Whatever is wrong afterwards; the seed and the faults are in the message.
pub async fn chaos(run: Run, calm: &Outcome) -> Result<Report> {
    let mut cast = Cast::start(run.size).await?;
    let mut report = Report::new(run);
    let outcome = match storm::storm(&run, &mut cast, &mut report).await {
        Ok(()) => judge::judge(&run, &mut cast, &mut report, calm).await,
        Err(error) => Err(error),
    };
    // Now, because the end of the cast looks through the masters' logs, and panics at an error that nobody expects.
    eprintln!("{report}");
    if let Err(error) = &outcome {
        eprintln!("{error:#}");
    }
    outcome.with_context(|| format!("{report}"))?;
    Ok(report)
}
