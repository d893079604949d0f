//! Logs.

use buildguild_db::DbError;
use buildguild_db::logs::{self, Appended, CommandOutput, Prepared};
use buildguild_types::ids::{LogId, StepId};
use buildguild_types::resources::{Log, LogKind};

use crate::{Update, events};

impl Update {
    /// Adds a log to a step. `slug` is an identifier made of the name; if it is taken in the step, it gets a number.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn add_log(&self, step: StepId, name: &str, slug: &str, kind: LogKind) -> Result<Log, DbError> {
        self.lock_step(step).await?;
        let log = logs::add(self.tx(), step, name, slug, kind).await?;
        self.emit(events::log(&log, "new")?);
        Ok(log)
    }

    /// Appends lines to a log of a step. When the update has been committed, they are durable. `output` numbers the
    /// output of a command, so that what is sent twice is stored once.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`]; [`DbError::AlreadyComplete`] if the log is finished.
    pub async fn append_log(
        &self,
        step: StepId,
        log: LogId,
        prepared: &Prepared,
        output: Option<&CommandOutput>,
    ) -> Result<Appended, DbError> {
        self.lock_step(step).await?;
        let appended = logs::append(self.tx(), log, prepared, output).await?;
        if let Appended::Lines { log, .. } = &appended {
            self.notice(log.logid, events::log(log, "append")?);
        }
        Ok(appended)
    }

    /// Finishes a log of a step: from now on it never changes.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`], [`DbError::AlreadyComplete`].
    pub async fn finish_log(&self, step: StepId, log: LogId) -> Result<Log, DbError> {
        self.lock_step(step).await?;
        let log = logs::finish(self.tx(), log).await?;
        self.emit(events::log(&log, "finished")?);
        Ok(log)
    }
}
