//! Control calls: wishes in the database, and a hint for the master that has to act.

use buildguild_db::wishes::{self, WishKind};
use buildguild_db::{DbError, buildrequests, builds, masters, workers};
use buildguild_types::ids::{BuildId, BuildRequestId, MasterId, WorkerId};
use buildguild_types::results::Results;

use crate::{Update, events};

impl Update {
    /// Wishes that a build be stopped. No effect on a build that has ended.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such build.
    pub async fn stop_build(&self, build: BuildId, reason: Option<&str>) -> Result<(), DbError> {
        let build = builds::get(self.tx(), build).await?.ok_or(DbError::NotFound("build"))?;
        if build.complete {
            return Ok(());
        }
        wishes::add(self.tx(), WishKind::StopBuild, build.buildid.get(), reason, self.now()).await?;
        self.emit(events::control("builds", build.buildid.get(), "stop", reason)?);
        Ok(())
    }

    /// Cancels a request: a queued one is complete at once; of a claimed one the build is to be stopped. No effect on
    /// one that is complete.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such request.
    pub async fn cancel_build_request(&self, request: BuildRequestId, reason: Option<&str>) -> Result<(), DbError> {
        let tx = self.tx();
        let found = buildrequests::get(tx, request).await?.ok_or(DbError::NotFound("build request"))?;
        if found.complete {
            return Ok(());
        }
        self.emit(events::control("buildrequests", request.get(), "cancel", reason)?);
        let done = self.complete_queued_build_requests(&[request], Results::Cancelled).await?;
        if done.requests.is_empty() {
            wishes::add(tx, WishKind::CancelRequest, request.get(), reason, self.now()).await?;
            for build in builds::for_request(tx, request).await?.into_iter().filter(|build| !build.complete) {
                self.stop_build(build.buildid, reason).await?;
            }
        }
        self.emit(events::request_cancel(request)?);
        Ok(())
    }

    /// Pauses a worker: it finishes its builds and gets no new ones.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such worker.
    pub async fn pause_worker(&self, worker: WorkerId, reason: Option<&str>) -> Result<(), DbError> {
        self.existing_worker(worker).await?;
        self.emit(events::control("worker", worker.get(), "pause", reason)?);
        self.set_worker_paused(worker, true, reason).await
    }

    /// Unpauses a worker.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such worker.
    pub async fn unpause_worker(&self, worker: WorkerId) -> Result<(), DbError> {
        self.existing_worker(worker).await?;
        self.emit(events::control("worker", worker.get(), "unpause", None)?);
        self.set_worker_paused(worker, false, None).await
    }

    /// Wishes that a worker shut down when its builds are done. About one that is not connected this is only shown: as with
    /// Buildbot, a worker that somebody starts later is open for work.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such worker.
    pub async fn stop_worker(&self, worker: WorkerId, reason: Option<&str>) -> Result<(), DbError> {
        self.existing_worker(worker).await?;
        self.set_worker_graceful(worker, true).await?;
        if workers::session(self.tx(), worker).await?.is_some() {
            wishes::add(self.tx(), WishKind::StopWorker, worker.get(), reason, self.now()).await?;
        }
        self.emit(events::control("worker", worker.get(), "stop", reason)?);
        Ok(())
    }

    /// Wishes that a worker be disconnected at once.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such worker.
    pub async fn kill_worker(&self, worker: WorkerId, reason: Option<&str>) -> Result<(), DbError> {
        self.existing_worker(worker).await?;
        wishes::add(self.tx(), WishKind::KillWorker, worker.get(), reason, self.now()).await?;
        self.emit(events::control("worker", worker.get(), "kill", reason)?);
        Ok(())
    }

    /// Wishes that the master that holds a worker's connection find out whether it lives: it is ended if not.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn probe_worker(&self, worker: WorkerId) -> Result<(), DbError> {
        wishes::add(self.tx(), WishKind::ProbeWorker, worker.get(), None, self.now()).await?;
        self.emit(events::control("worker", worker.get(), "probe", None)?);
        Ok(())
    }

    /// Wishes that a master finish its builds, hand over what is left, and end, as if its process had been asked to.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such master; [`DbError::EpochEnded`] if it is not active.
    pub async fn drain_master(&self, master: MasterId, reason: Option<&str>) -> Result<(), DbError> {
        let found = masters::get(self.tx(), master).await?.ok_or(DbError::NotFound("master"))?;
        if !found.active {
            return Err(DbError::EpochEnded);
        }
        wishes::add(self.tx(), WishKind::DrainMaster, master.get(), reason, self.now()).await?;
        self.emit(events::control("masters", master.get(), "drain", reason)?);
        Ok(())
    }

    async fn existing_worker(&self, worker: WorkerId) -> Result<(), DbError> {
        match workers::get(self.tx(), worker).await? {
            Some(_) => Ok(()),
            None => Err(DbError::NotFound("worker")),
        }
    }

    /// A worker has connected anew: what was wished about its former connection is void. That it leave when it is idle
    /// stays wished until it was told so, since the master that was to tell it may have died before.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn take_up_worker_wishes(&self, worker: WorkerId) -> Result<(), DbError> {
        wishes::remove(self.tx(), &[WishKind::KillWorker, WishKind::ProbeWorker], worker.get()).await?;
        let leave = wishes::get(self.tx(), WishKind::StopWorker, worker.get()).await?.is_some();
        self.set_worker_graceful(worker, leave).await
    }

    /// A worker has left as it was told to: nobody wishes it any more, and when it is started again it is open for work.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn worker_has_left(&self, worker: WorkerId) -> Result<(), DbError> {
        wishes::remove(self.tx(), &[WishKind::StopWorker], worker.get()).await?;
        self.set_worker_graceful(worker, false).await
    }
}
