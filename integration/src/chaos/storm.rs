//! The storm itself: publishes changes and commits faults as they are due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Run;
use super::cast::Cast;
use super::faults::Fault;
use super::plan::{AT_A_TIME, plan};
use super::report::Report;
use crate::waiting::DEADLINE;

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(50);

/// Between two publications at least: each takes a `git push`.
const PUBLISH: Duration = Duration::from_millis(400);

/// A fault that is later than this, because its target was still under another one, is left out.
const LATE: Duration = Duration::from_secs(5);

/// A fault that has begun: its number in the report, and when it is to end.
struct Active {
    number: usize,
    ends: Duration,
    fault: Fault,
}

/// Publishes the changes and commits the faults.
pub(super) async fn storm(run: &Run, cast: &mut Cast, report: &mut Report) -> Result<()> {
    let mut due: VecDeque<_> = plan(run).into();
    let changes = run.size.changes;
    let mut active: Vec<Active> = Vec::new();
    let (mut published, mut last_push) = (0, Duration::ZERO);
    let started = Instant::now();
    report.begins();
    loop {
        let now = started.elapsed();
        if now >= run.duration && active.is_empty() {
            break;
        }
        cast.revive()?;
        let public = share(changes, now.as_secs_f64() / run.duration.as_secs_f64());
        if public > published && now >= last_push + PUBLISH {
            cast.project.publish(public)?;
            (published, last_push) = (public, now);
        }
        let mut still = Vec::new();
        for one in active {
            if now >= one.ends && one.fault.may_end(cast, now.saturating_sub(one.ends))? {
                one.fault.end(cast).await.with_context(|| format!("the end of {}", one.fault))?;
                report.ended(one.number, started.elapsed());
            } else {
                still.push(one);
            }
        }
        active = still;
        due.retain(|next| next.is_first || now < next.at + LATE);
        let place = due.iter().position(|next| next.at <= now && may_begin(next.fault, &active));
        if now < run.duration
            && active.len() < AT_A_TIME
            && let Some(next) = place.and_then(|place| due.remove(place))
        {
            let number = report.began(started.elapsed(), next.fault);
            next.fault.begin(cast, next.lasts).await.with_context(|| next.fault.to_string())?;
            active.push(Active { number, ends: started.elapsed() + next.lasts, fault: next.fault });
        }
        tokio::time::sleep(TICK).await;
    }
    cast.project.publish(changes)?;
    report.all_published(started.elapsed());
    let built = cast.all_built(changes, DEADLINE * 2 + run.duration).await;
    built.map_err(|error| error.context(cast.cluster.all_logs()))?;
    report.all_built(started.elapsed());
    Ok(())
}

/// On a slow machine faults last longer than planned.
fn may_begin(fault: Fault, active: &[Active]) -> bool {
    // Which queue it is that is deleted is asked of the database.
    let asks_database = fault == Fault::WipeBroker;
    active
        .iter()
        .all(|one| one.fault.target() != fault.target() && !(asks_database && one.fault == Fault::CrashDatabase))
}

/// How many changes are public after a share of the time.
fn share(changes: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small number"
    )]
    let due = (changes as f64 * share) as usize;
    due.min(changes)
}
