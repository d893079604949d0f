//! Housekeeping: releases what epochs that have ended still own.
//!
//! It is driven by state, not by who noticed a death: any master may do it at any time, and doing it twice is the same
//! as once. Each request with its build is one transaction, which first locks the claim for a takeover: whoever wrote
//! under it has either committed by then, and is seen, or is refused from then on. The dead master's unpublished events
//! are taken over before our own, so that nothing about a build follows its end.

use std::time::Duration;

use buildguild_db::wishes::WishKind;
use buildguild_db::{
    DbError, Owner, builders, buildrequests, builds, leases, locks, logs, outbox, schedulers, steps, wishes, workers,
};
use buildguild_types::ids::BuildRequestId;
use buildguild_types::resources::Build;
use buildguild_types::results::Results;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Data, Update, events};

/// How many requests are looked up at once.
const BATCH: i64 = 200;

/// What a build says that ended with its master.
const LOST: &str = "retry lost master";

/// What a pass released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Requests that were put back into the queue (or cancelled, where somebody had wished it).
    pub requests: usize,
    /// Worker sessions that were ended.
    pub workers: usize,
    /// Schedulers that are free.
    pub schedulers: usize,
    /// Owners whose events were taken over.
    pub outboxes: usize,
}

impl Released {
    /// Whether there was nothing to release.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Releases until `stop`: when `due` says that a master was declared dead, and every `interval`.
pub async fn run(data: Data, due: std::sync::Arc<Notify>, interval: Duration, stop: CancellationToken) {
    loop {
        if data.owner().is_some() {
            match release(&data).await {
                Ok(released) if !released.is_empty() => {
                    tracing::info!(
                        requests = released.requests,
                        workers = released.workers,
                        "released what ended masters owned"
                    );
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "failed to release what ended masters owned; it is tried again"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = due.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Releases all that epochs own which are not active.
///
/// # Errors
/// What the database reported; what was released until then stays so.
pub async fn release(data: &Data) -> Result<Released, DbError> {
    let mut released = Released { outboxes: take_over_events(data).await?, ..Released::default() };
    loop {
        let orphans = buildrequests::orphans(data.db().read(), BATCH).await?;
        let mut progress = false;
        for (request, owner) in &orphans {
            let (request, owner) = (*request, *owner);
            if data.update(|u| async move { u.release_request(request, owner).await }).await? {
                released.requests += 1;
                progress = true;
            }
        }
        if orphans.is_empty() || !progress {
            break;
        }
    }
    let (freed_workers, freed_schedulers) = data.update(|u| async move { u.release_links().await }).await?;
    released.workers = freed_workers;
    released.schedulers = freed_schedulers;
    // Events that were committed while we worked.
    released.outboxes += take_over_events(data).await?;
    Ok(released)
}

/// Takes over the unpublished events of ended epochs.
async fn take_over_events(data: &Data) -> Result<usize, DbError> {
    let orphans = outbox::orphans(data.db().read()).await?;
    for from in &orphans {
        let from = *from;
        data.update(|u| async move { u.take_over_events(from).await }).await?;
    }
    Ok(orphans.len())
}

impl Update {
    async fn take_over_events(&self, from: Owner) -> Result<(), DbError> {
        if outbox::take_over(self.tx(), from, self.owner()).await? > 0 {
            self.publish_through_outbox();
        }
        Ok(())
    }

    /// Releases one request: its builds end, and it goes back to the queue. Returns whether there was anything to do.
    async fn release_request(&self, request: BuildRequestId, from: Owner) -> Result<bool, DbError> {
        let tx = self.tx();
        buildguild_db::claims::lock_master(tx, self.owner()).await?;
        if !buildrequests::lock_orphan(tx, request, from).await? {
            return Ok(false);
        }
        self.take_over_events(from).await?;
        let mut cancelled = wishes::get(tx, WishKind::CancelRequest, request.get()).await?.is_some();
        let running: Vec<Build> =
            builds::for_request(tx, request).await?.into_iter().filter(|build| !build.complete).collect();
        for build in &running {
            cancelled |= wishes::get(tx, WishKind::StopBuild, build.buildid.get()).await?.is_some();
        }
        let (results, state) = if cancelled { (Results::Cancelled, "cancelled") } else { (Results::Retry, LOST) };
        for build in running {
            for log in logs::finish_all_of_build(tx, build.buildid).await? {
                self.emit(events::log(&log, "finished")?);
            }
            for step in steps::finish_all(tx, build.buildid, results, self.now()).await? {
                self.emit(events::step(&step, "finished")?);
            }
            let build = builds::finish(tx, build.buildid, results, Some(state), self.now()).await?;
            wishes::remove_of_build(tx, build.buildid, request).await?;
            self.emit(events::build(&build, "finished")?);
        }
        if cancelled {
            let completed = buildrequests::complete(tx, &[request], results, from, self.now()).await?;
            self.announce_completed(&completed)?;
        } else {
            for request in buildrequests::unclaim(tx, &[request], from).await? {
                self.emit(events::buildrequest(&request, "unclaimed")?);
            }
        }
        Ok(true)
    }

    /// Ends sessions, frees leases and removes builders of ended epochs. Returns how many workers and schedulers.
    async fn release_links(&self) -> Result<(usize, usize), DbError> {
        let tx = self.tx();
        let workers = workers::disconnect_orphans(tx).await?;
        for worker in &workers {
            self.announce_worker(*worker, "disconnected").await?;
        }
        let schedulers = leases::release_orphans(tx).await?;
        for scheduler in &schedulers {
            if let Some(scheduler) = schedulers::get(tx, *scheduler).await? {
                self.emit(events::scheduler(&scheduler, "updated")?);
            }
        }
        for (master, ids) in builders::remove_of_inactive_masters(tx).await? {
            for builder in builders::get_many(tx, &ids).await? {
                self.emit(events::builder(&builder, master, "stopped")?);
            }
        }
        locks::release_orphans(tx).await?;
        wishes::remove_settled(tx).await?;
        Ok((workers.len(), schedulers.len()))
    }
}
