//! What schedulers, change sources, distribution and control read and write, in terms of the Data API.

use std::future::Future;

use buildguild_data::{Data, SchedulerBatch, StateKey, Update};
use buildguild_db::{
    DbError, Owner, buildrequests, builds, buildsets, changes, changesources,
    leases::{self, Lease},
    masters, properties,
    schedulers::{self, ChangeLine},
    scheduling::{self, RequestStamp},
    state,
    wishes::{self, Wish, WishKind},
    workers,
};
use buildguild_types::{
    ids::{BuildId, BuildRequestId, BuilderId, BuildsetId, ChangeId, ChangeSourceId, MasterId, SchedulerId, WorkerId},
    properties::Properties,
    resources::{Build, BuildRequest, Buildset, Change, Worker},
};
use serde_json::Value;
use tokio::sync::watch;

/// How many rows of a long list are read at once.
const PAGE: usize = 500;

/// The engine's view of the Data API. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    data: Data,
}

/// Whether a worker may get builds, as users asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerState {
    pub(crate) worker: WorkerId,
    pub(crate) paused: bool,
    pub(crate) graceful: bool,
}

impl Store {
    pub(crate) fn new(data: Data) -> Self {
        Self { data }
    }

    #[cfg(test)]
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// Runs an update on behalf of this master.
    pub(crate) async fn update<T, F, Fut>(&self, f: F) -> Result<T, DbError>
    where
        F: Fn(Update) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        self.data.update(f).await
    }

    pub(crate) fn owner_changes(&self) -> watch::Receiver<Option<Owner>> {
        self.data.watch_owner()
    }

    fn read(&self) -> &buildguild_db::ReadConnection {
        self.data.db().read()
    }
}

/// Schedulers and change sources.
impl Store {
    pub(crate) async fn scheduler_id(&self, name: &str) -> Result<SchedulerId, DbError> {
        self.data.db().write(|tx| async move { schedulers::find_id(&tx, name).await }).await
    }

    pub(crate) async fn changesource_id(&self, name: &str) -> Result<ChangeSourceId, DbError> {
        self.data.db().write(|tx| async move { changesources::find_id(&tx, name).await }).await
    }

    pub(crate) async fn scheduler_enabled(&self, id: SchedulerId) -> Result<bool, DbError> {
        scheduling::is_enabled(self.read(), id).await
    }

    /// The schedulers and change sources that no active master runs.
    pub(crate) async fn free_singletons(&self) -> Result<(Vec<SchedulerId>, Vec<ChangeSourceId>), DbError> {
        let is_free = |master: &Option<buildguild_types::resources::Master>| master.as_ref().is_none_or(|m| !m.active);
        let schedulers = schedulers::list(self.read(), None, None).await?;
        let sources = changesources::list(self.read(), None, None).await?;
        Ok((
            schedulers.into_iter().filter(|s| is_free(&s.master)).map(|s| s.schedulerid).collect(),
            sources.into_iter().filter(|s| is_free(&s.master)).map(|s| s.changesourceid).collect(),
        ))
    }

    /// Whether there are other active masters. Not if the database does not say.
    pub(crate) async fn has_others(&self, owner: Owner) -> bool {
        let pulses = masters::pulses(self.read()).await;
        pulses.is_ok_and(|pulses| pulses.iter().any(|pulse| pulse.active && pulse.owner != owner))
    }

    pub(crate) async fn acquire_lease(&self, lease: Lease<'_>, owner: Owner) -> Result<bool, DbError> {
        self.data.update_as(owner, |u| async move { u.acquire_lease(lease).await }).await
    }

    pub(crate) async fn release_lease(&self, lease: Lease<'_>, owner: Owner) -> Result<(), DbError> {
        self.data.update_as(owner, |u| async move { u.release_lease(lease).await }).await
    }

    pub(crate) async fn state(&self, key: &StateKey) -> Result<Option<Value>, DbError> {
        let object =
            self.data.db().write(|tx| async move { state::object_id(&tx, &key.object, &key.class_name).await }).await?;
        state::get(self.read(), object, &key.name).await
    }

    pub(crate) async fn commit_scheduler(
        &self,
        owner: Owner,
        id: SchedulerId,
        key: &StateKey,
        batch: &SchedulerBatch,
    ) -> Result<(), DbError> {
        self.data.update_as(owner, |u| async move { u.commit_scheduler(id, key, batch).await }).await
    }

    pub(crate) async fn add_polled_changes(
        &self,
        owner: Owner,
        id: ChangeSourceId,
        new: &[changes::NewChange],
        key: &StateKey,
        value: &Value,
    ) -> Result<(), DbError> {
        self.data.update_as(owner, |u| async move { u.add_polled_changes(id, new, key, value).await }).await
    }

    pub(crate) async fn latest_change(&self) -> Result<Option<ChangeId>, DbError> {
        changes::latest_id(self.read()).await
    }

    /// The next changes behind a position, and those of the gaps that have appeared; in the order of ids.
    pub(crate) async fn changes_behind(
        &self,
        last: ChangeId,
        gaps: &[ChangeId],
        limit: i64,
    ) -> Result<Vec<Change>, DbError> {
        let mut found = if gaps.is_empty() { Vec::new() } else { changes::get_many(self.read(), gaps).await? };
        found.extend(changes::list_after(self.read(), last, limit).await?);
        Ok(found)
    }

    pub(crate) async fn changes(&self, ids: &[ChangeId]) -> Result<Vec<Change>, DbError> {
        let mut found = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            found.extend(changes::get_many(self.read(), page).await?);
        }
        Ok(found)
    }

    /// The changes that a scheduler has classified and not built yet, and whether each is important.
    pub(crate) async fn pending_changes(&self, id: SchedulerId) -> Result<Vec<(Change, bool)>, DbError> {
        let pending = schedulers::classifications(self.read(), id, &ChangeLine::default()).await?;
        let ids: Vec<ChangeId> = pending.keys().copied().collect();
        let found = self.changes(&ids).await?;
        Ok(found
            .into_iter()
            .map(|change| {
                let important = pending.get(&change.changeid).copied().unwrap_or(false);
                (change, important)
            })
            .collect())
    }
}

/// Requests.
impl Store {
    pub(crate) async fn builders_waiting(&self, builders: &[BuilderId]) -> Result<Vec<BuilderId>, DbError> {
        if builders.is_empty() {
            return Ok(Vec::new());
        }
        buildrequests::builders_waiting(self.read(), builders).await
    }

    pub(crate) async fn queues(&self, builders: &[BuilderId]) -> Result<Vec<buildrequests::Queue>, DbError> {
        buildrequests::queues(self.read(), builders).await
    }

    pub(crate) async fn claimable(&self, builder: BuilderId, limit: i64) -> Result<Vec<BuildRequest>, DbError> {
        buildrequests::claimable(self.read(), builder, limit).await
    }

    pub(crate) async fn buildset_properties(&self, id: BuildsetId) -> Result<Properties, DbError> {
        properties::of_buildset(self.read(), id).await
    }

    pub(crate) async fn request_stamps(&self, ids: &[BuildRequestId]) -> Result<Vec<RequestStamp>, DbError> {
        scheduling::request_stamps(self.read(), ids).await
    }

    /// Claims as many of these as are free.
    pub(crate) async fn claim(&self, ids: &[BuildRequestId]) -> Result<Vec<BuildRequest>, DbError> {
        self.update(|u| async move { u.claim_free_build_requests(ids).await }).await
    }

    pub(crate) async fn collapse(
        &self,
        keep: BuildRequestId,
        replaced: &[BuildRequestId],
    ) -> Result<Vec<BuildRequest>, DbError> {
        self.update(|u| async move { u.collapse_build_requests(keep, replaced).await }).await
    }

    pub(crate) async fn add_buildset(
        &self,
        new: &buildsets::NewBuildset,
    ) -> Result<(Buildset, Vec<BuildRequest>), DbError> {
        self.update(|u| async move { u.add_buildset(new).await }).await
    }

    pub(crate) async fn buildset_requests(&self, id: BuildsetId) -> Result<Vec<BuildRequest>, DbError> {
        buildrequests::for_buildset(self.read(), id).await
    }

    pub(crate) async fn build(&self, id: BuildId) -> Result<Option<Build>, DbError> {
        builds::get(self.read(), id).await
    }

    /// The builds of a request that have not ended.
    pub(crate) async fn open_builds(&self, request: BuildRequestId) -> Result<Vec<BuildId>, DbError> {
        let builds = builds::for_request(self.read(), request).await?;
        Ok(builds.into_iter().filter(|b| !b.complete).map(|b| b.buildid).collect())
    }

    pub(crate) async fn build_by_number(&self, builder: BuilderId, number: i64) -> Result<Option<Build>, DbError> {
        builds::by_number(self.read(), builder, number).await
    }

    pub(crate) async fn builder_id(&self, name: &str) -> Result<Option<BuilderId>, DbError> {
        match buildguild_db::builders::find_id(self.read(), name, false).await {
            Ok(id) => Ok(Some(id)),
            Err(DbError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Workers and wishes.
impl Store {
    /// The workers that are connected to this master, as users want them.
    pub(crate) async fn my_workers(&self) -> Result<Vec<WorkerState>, DbError> {
        let Some(owner) = self.data.owner() else { return Ok(Vec::new()) };
        let all = workers::list(self.read(), None, None).await?;
        Ok(all
            .into_iter()
            .filter(|w| w.connected_to.iter().any(|c| c.masterid == owner.master_id))
            .map(|w| WorkerState { worker: w.workerid, paused: w.paused, graceful: w.graceful })
            .collect())
    }

    pub(crate) async fn worker_states(&self, ids: &[WorkerId]) -> Result<Vec<WorkerState>, DbError> {
        let mut states = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(worker) = workers::get(self.read(), *id).await? {
                states.push(WorkerState { worker: *id, paused: worker.paused, graceful: worker.graceful });
            }
        }
        Ok(states)
    }

    pub(crate) async fn workers(&self) -> Result<Vec<Worker>, DbError> {
        workers::list(self.read(), None, None).await
    }

    /// Whether a lease is this process's, or could be.
    pub(crate) async fn may_hold(&self, lease: Lease<'_>) -> Result<bool, DbError> {
        let Some(owner) = self.data.owner() else { return Ok(false) };
        match leases::holder(self.read(), lease).await? {
            Some(holder) if holder != owner => {
                let pulses = masters::pulses(self.read()).await?;
                Ok(!pulses.iter().any(|pulse| pulse.owner == holder && pulse.active))
            }
            _ => Ok(true),
        }
    }

    pub(crate) async fn worker_id(&self, name: &str) -> Result<Option<WorkerId>, DbError> {
        let all = workers::list(self.read(), None, None).await?;
        Ok(all.into_iter().find(|w| w.name == name).map(|w| w.workerid))
    }

    /// The session of a worker, if this process holds it.
    pub(crate) async fn own_session(&self, worker: WorkerId) -> Result<Option<String>, DbError> {
        let Some(owner) = self.data.owner() else { return Ok(None) };
        Ok(workers::session(self.read(), worker).await?.filter(|held| held.owner == owner).map(|held| held.session))
    }

    /// Notes whether a session lives, for whoever wished to know.
    pub(crate) async fn session_probed(&self, worker: WorkerId, session: &str, lives: bool) -> Result<(), DbError> {
        if !lives {
            self.update(|u| async move { u.worker_disconnected(worker, session).await }).await?;
        }
        self.remove_wish(WishKind::ProbeWorker, worker.get()).await
    }

    /// Whether that is this master.
    pub(crate) fn is_self(&self, master: MasterId) -> bool {
        self.data.owner().is_some_and(|owner| owner.master_id == master)
    }

    pub(crate) async fn wishes(&self) -> Result<Vec<Wish>, DbError> {
        wishes::list(self.read()).await
    }

    pub(crate) async fn remove_wish(&self, kind: WishKind, target: i64) -> Result<(), DbError> {
        self.data.db().write(|tx| async move { wishes::remove(&tx, &[kind], target).await }).await?;
        Ok(())
    }
}
