//! Locks of builds and steps.

use buildguild_db::locks::{self, Waiter, Wanted};
use buildguild_db::{DbError, claims};
use buildguild_types::ids::{BuildId, StepId};

use crate::Update;

impl Update {
    /// Takes locks for a build, or for one of its steps, or a place in their queues. Returns whether they are taken; the
    /// step has them then.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn take_locks(&self, build: BuildId, step: Option<StepId>, wanted: &[Wanted]) -> Result<bool, DbError> {
        self.lock_build(build).await?;
        let name = waiter(build, step);
        let waiter = Waiter { name: &name, build, owner: self.owner() };
        let taken = locks::take(self.tx(), waiter, wanted).await?;
        if taken && let Some(step) = step {
            self.set_step_locks_acquired(step).await?;
        }
        Ok(taken)
    }

    /// Gives back the locks of a step, or its places in the queues.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn release_step_locks(&self, build: BuildId, step: StepId) -> Result<(), DbError> {
        claims::lock_master(self.tx(), self.owner()).await?;
        locks::release(self.tx(), &waiter(build, Some(step))).await
    }

    /// Gives back all locks of a build and its steps.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn release_build_locks(&self, build: BuildId) -> Result<(), DbError> {
        locks::release_build(self.tx(), build).await
    }
}

/// What a build or step is called in the queues of its locks.
pub fn waiter(build: BuildId, step: Option<StepId>) -> String {
    match step {
        Some(step) => format!("step-{step}"),
        None => format!("build-{build}"),
    }
}
