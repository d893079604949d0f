//! Schedulers, change sources and leases; collapsing.

use buildguild_db::buildsets::NewBuildset;
use buildguild_db::changes::NewChange;
use buildguild_db::leases::{self, Lease};
use buildguild_db::{DbError, buildrequests, claims, schedulers, scheduling, state};
use buildguild_types::ids::{BuildRequestId, ChangeId, ChangeSourceId, SchedulerId};
use buildguild_types::resources::BuildRequest;
use buildguild_types::results::Results;
use serde_json::Value;

use crate::{Update, events};

/// What a scheduler decided in one pass: all of it is stored, or nothing.
#[derive(Clone, Debug, Default)]
pub struct SchedulerBatch {
    /// Changes that wait for their tree to become stable, and whether each is important.
    pub classify: Vec<(ChangeId, bool)>,
    /// Changes that waited and are built (or dropped) now.
    pub built: Vec<ChangeId>,
    /// Whether all that waited is dropped: the scheduler is disabled.
    pub forget_all: bool,
    /// The buildsets to submit.
    pub buildsets: Vec<NewBuildset>,
    /// What the scheduler remembers from now on.
    pub state: Option<Value>,
}

/// A value in the state of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateKey {
    /// The object's name.
    pub object: String,
    /// Its class.
    pub class_name: String,
    /// The name of the value.
    pub name: String,
}

impl Update {
    /// Stores what a scheduler decided, if this master holds its lease.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn commit_scheduler(
        &self,
        scheduler: SchedulerId,
        key: &StateKey,
        batch: &SchedulerBatch,
    ) -> Result<(), DbError> {
        let tx = self.tx();
        claims::lock_scheduler(tx, scheduler, self.owner()).await?;
        schedulers::classify(tx, scheduler, &batch.classify).await?;
        if batch.forget_all {
            schedulers::flush_classifications(tx, scheduler, None).await?;
        } else if !batch.built.is_empty() {
            scheduling::forget_classifications(tx, scheduler, &batch.built).await?;
        }
        for buildset in &batch.buildsets {
            self.add_buildset(buildset).await?;
        }
        match &batch.state {
            Some(value) => self.set_state(key, value).await,
            None => Ok(()),
        }
    }

    /// Adds the changes that a change source found, together with how far it has come, if this master holds its lease.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn add_polled_changes(
        &self,
        changesource: ChangeSourceId,
        changes: &[NewChange],
        key: &StateKey,
        value: &Value,
    ) -> Result<(), DbError> {
        self.lock_changesource(changesource).await?;
        for change in changes {
            self.add_change(change).await?;
        }
        self.set_state(key, value).await
    }

    /// Sets a value in the state of an object.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn set_state(&self, key: &StateKey, value: &Value) -> Result<(), DbError> {
        let object = state::object_id(self.tx(), &key.object, &key.class_name).await?;
        state::set(self.tx(), object, &key.name, value).await
    }

    /// Enables or disables a scheduler.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such scheduler.
    pub async fn enable_scheduler(&self, scheduler: SchedulerId, enabled: bool) -> Result<(), DbError> {
        schedulers::enable(self.tx(), scheduler, enabled).await?;
        self.announce_scheduler(scheduler, "updated").await
    }

    /// Takes a lease for this master, if it is free. Returns whether this master holds it now.
    ///
    /// # Errors
    /// [`DbError::EpochEnded`].
    pub async fn acquire_lease(&self, lease: Lease<'_>) -> Result<bool, DbError> {
        let acquired = leases::acquire(self.tx(), lease, self.owner()).await?;
        if let (Lease::Scheduler(scheduler), true) = (lease, acquired) {
            self.announce_scheduler(scheduler, "updated").await?;
        }
        Ok(acquired)
    }

    /// Gives a lease of this master back.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn release_lease(&self, lease: Lease<'_>) -> Result<(), DbError> {
        leases::release(self.tx(), lease, self.owner()).await
    }

    async fn announce_scheduler(&self, scheduler: SchedulerId, verb: &str) -> Result<(), DbError> {
        if let Some(scheduler) = schedulers::get(self.tx(), scheduler).await? {
            self.emit(events::scheduler(&scheduler, verb)?);
        }
        Ok(())
    }

    /// Completes queued requests as SKIPPED because another one, which is not complete, does their work too. Returns
    /// those that were; none if the other one was completed meanwhile. As in Buildbot, they are news as claimed first.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn collapse_build_requests(
        &self,
        keep: BuildRequestId,
        replaced: &[BuildRequestId],
    ) -> Result<Vec<BuildRequest>, DbError> {
        if !scheduling::lock_open_request(self.tx(), keep).await? {
            return Ok(Vec::new());
        }
        let completed =
            buildrequests::complete_queued(self.tx(), replaced, Results::Skipped, self.owner(), self.now()).await?;
        for request in &completed.requests {
            let claimed = BuildRequest { complete: false, complete_at: None, results: None, ..request.clone() };
            self.emit(events::buildrequest(&claimed, "claimed")?);
        }
        self.announce_queued_completed(&completed).await?;
        Ok(completed.requests)
    }

    /// Sets the priority of a request. No effect on one that is complete.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such request.
    pub async fn set_build_request_priority(&self, request: BuildRequestId, priority: i64) -> Result<(), DbError> {
        if buildrequests::get(self.tx(), request).await?.is_none() {
            return Err(DbError::NotFound("build request"));
        }
        buildrequests::set_priority(self.tx(), &[request], priority).await?;
        Ok(())
    }
}
