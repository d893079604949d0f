//! Steps.

use buildguild_db::{DbError, claims, logs, steps};
use buildguild_types::ids::{BuildId, StepId};
use buildguild_types::resources::Step;
use buildguild_types::results::Results;

use crate::{Update, events};

/// How a step ended.
#[derive(Clone, Debug)]
pub struct StepEnd<'a> {
    /// Its result.
    pub results: Results,
    /// Whether pages leave it out.
    pub hidden: bool,
    /// How it went, in words; what it said last if nothing.
    pub state_string: Option<&'a str>,
}

/// How a step begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepBegin {
    /// It has what it needs before anybody hears of it: the preparation of the worker.
    Prepared,
    /// It waits for no locks.
    Runs,
    /// It has no locks yet, or will never need them, since it is skipped.
    WithoutLocks,
}

impl Update {
    /// Locks the claim of a step's build, once in an update.
    pub(crate) async fn lock_step(&self, step: StepId) -> Result<(), DbError> {
        if self.knows_step(step) {
            return Ok(());
        }
        let build = claims::lock_step(self.tx(), step, self.owner()).await?;
        self.remember_step(step);
        if self.known_build(build.buildid).is_none() {
            self.remember_build(&build);
        }
        Ok(())
    }

    /// Adds a step to a build, with the next number. If its name is taken in the build, it gets a suffix.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn add_step(&self, build: BuildId, name: &str, state: &str) -> Result<Step, DbError> {
        self.lock_build(build).await?;
        let step = steps::add(self.tx(), build, name, state).await?;
        self.remember_step(step.stepid);
        self.emit(events::step(&step, "new")?);
        Ok(step)
    }

    /// Adds a step that starts at once, with the state `pending`: [`Update::add_step`], [`Update::start_step`] and
    /// [`Update::set_step_locks_acquired`] in one statement, told as these three.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn begin_step(&self, build: BuildId, name: &str, begin: StepBegin) -> Result<Step, DbError> {
        self.lock_build(build).await?;
        let has_locks = begin != StepBegin::WithoutLocks;
        let step = steps::add_started(self.tx(), build, name, "pending", self.now(), has_locks).await?;
        self.remember_step(step.stepid);
        let added = Step { started_at: None, locks_acquired_at: None, ..step.clone() };
        self.emit(events::step(&added, "new")?);
        match begin {
            StepBegin::Runs => {
                let started = Step { locks_acquired_at: None, ..step.clone() };
                self.emit(events::step(&started, "started")?);
                self.emit(events::step(&step, "updated")?);
            }
            StepBegin::Prepared | StepBegin::WithoutLocks => self.emit(events::step(&step, "started")?),
        }
        Ok(step)
    }

    /// Says that a step is running, unless it has said something itself or has ended.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn set_pending_step_state_string(&self, step: StepId, state: &str) -> Result<(), DbError> {
        self.lock_step(step).await?;
        if let Some(step) = steps::set_pending_state_string(self.tx(), step, state).await? {
            self.emit(events::step(&step, "updated")?);
        }
        Ok(())
    }

    /// Starts a step. Without locks to wait for, it has them at once.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn start_step(&self, step: StepId, locks_acquired: bool) -> Result<Step, DbError> {
        self.lock_step(step).await?;
        let step = steps::start(self.tx(), step, self.now(), locks_acquired).await?;
        self.emit(events::step(&step, "started")?);
        Ok(step)
    }

    /// Notes that a step has its locks.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn set_step_locks_acquired(&self, step: StepId) -> Result<Step, DbError> {
        self.lock_step(step).await?;
        let step = steps::set_locks_acquired(self.tx(), step, self.now()).await?;
        self.emit(events::step(&step, "updated")?);
        Ok(step)
    }

    /// Sets what a step is doing.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn set_step_state_string(&self, step: StepId, state: &str) -> Result<Step, DbError> {
        self.lock_step(step).await?;
        let step = steps::set_state_string(self.tx(), step, state).await?;
        self.emit(events::step(&step, "updated")?);
        Ok(step)
    }

    /// Adds a link to a step.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn add_step_url(&self, step: StepId, name: &str, url: &str) -> Result<Step, DbError> {
        self.lock_step(step).await?;
        let step = steps::add_url(self.tx(), step, name, url).await?;
        self.emit(events::step(&step, "updated")?);
        Ok(step)
    }

    /// Ends a step, after its logs: those still open are finished. A new state is announced before the end.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`], [`DbError::AlreadyComplete`].
    pub async fn finish_step(&self, step: StepId, end: &StepEnd<'_>) -> Result<Step, DbError> {
        self.lock_step(step).await?;
        for log in logs::finish_all_of_step(self.tx(), step).await? {
            self.emit(events::log(&log, "finished")?);
        }
        let step = steps::finish(self.tx(), step, end.results, end.hidden, end.state_string, self.now()).await?;
        if end.state_string.is_some() {
            let updated = Step { complete: false, complete_at: None, results: None, ..step.clone() };
            self.emit(events::step(&updated, "updated")?);
        }
        self.emit(events::step(&step, "finished")?);
        Ok(step)
    }

    /// Adds an entry to the journal of a durable step function.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`]; [`DbError::Conflict`] if the position is taken.
    pub async fn add_step_journal_entry(&self, step: StepId, position: i64, entry: &str) -> Result<(), DbError> {
        self.lock_step(step).await?;
        steps::add_journal_entry(self.tx(), step, position, entry).await
    }
}
