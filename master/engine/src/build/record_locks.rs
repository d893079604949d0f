//! What a build writes about its locks.

use std::time::Duration;

use buildguild_data::lock_waiter;
use buildguild_db::DbError;
use buildguild_db::locks::{self, Wanted};
use buildguild_types::ids::StepId;

use super::record::Recorder;

impl Recorder {
    /// Takes locks, or places in their queues. Returns whether they are taken.
    pub(crate) async fn take_locks(&mut self, step: Option<StepId>, wanted: &[Wanted]) -> Result<bool, DbError> {
        self.flush().await?;
        let build = self.build();
        self.note_locks();
        self.write("lock.taking", |u| async move { u.take_locks(build, step, wanted).await }).await
    }

    /// Whether it is probably the turn of this step or build.
    pub(crate) async fn locks_are_free(&self, step: Option<StepId>, wanted: &[Wanted]) -> Result<bool, DbError> {
        locks::is_free(self.data().db().read(), &lock_waiter(self.build(), step), wanted).await
    }

    /// Says that the step or build waits.
    pub(crate) async fn say_waiting(&self, step: Option<StepId>) -> Result<(), DbError> {
        let build = self.build();
        self.write("lock.waiting", |u| async move {
            match step {
                Some(step) => u.set_pending_step_state_string(step, "waiting for locks").await,
                None => u.set_build_state_string(build, "acquiring locks").await,
            }
        })
        .await
    }

    /// Notes how long the build has waited for locks.
    pub(crate) async fn add_locks_duration(&self, waited: Duration) -> Result<(), DbError> {
        let (build, seconds) = (self.build(), i64::try_from(waited.as_secs()).unwrap_or(i64::MAX));
        self.write("lock.taken", |u| async move { u.add_build_locks_duration(build, seconds).await }).await
    }
}
