//! Commands that a worker may still be running for a master that is gone.
//!
//! A stock worker that loses its connection goes on with its commands, and tells nobody of them on the next one. They
//! would share directories with the builds that come now, so they are interrupted first. Their ids are made of what the
//! database holds anyway (the step, its time, the number of the command within it), so that any master can name them
//! without a write for each command.

use std::time::Duration;

use buildguild_data::Data;
use buildguild_db::{DbError, steps};
use buildguild_types::ids::{StepId, WorkerId};
use buildguild_types::time::Timestamp;
use worker_protocol::CommandId;

/// Commands of builds that ended longer ago are not looked for.
const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A step starts its commands one after the other; those of no step class that is built in are more.
const MOST_COMMANDS: u32 = 40;

/// The id of a step's command. The time keeps it apart from a step of the same number in a database that was made anew
/// while the worker went on.
pub(crate) fn of_step(step: StepId, started_at: Timestamp, number: u32) -> CommandId {
    CommandId::from(format!("step-{step}-{:x}-{number}", started_at.micros()))
}

/// The ids of all commands that may be left on a worker. To interrupt one that is not there has no effect.
pub(super) async fn on_worker(data: &Data, worker: WorkerId) -> Result<Vec<CommandId>, DbError> {
    let since = data.clock().now().minus(OLDEST);
    let left = steps::left_on_worker(data.db().read(), worker, since).await?;
    let ids = left.into_iter().flat_map(|(step, answers)| {
        let most = u32::try_from(answers).unwrap_or(u32::MAX).saturating_add(MOST_COMMANDS);
        // A step that has not begun has run nothing.
        step.started_at.into_iter().flat_map(move |at| (0..most).map(move |number| of_step(step.stepid, at, number)))
    });
    Ok(ids.collect())
}
