//! The connected workers as distribution sees them.

use std::sync::Arc;

use buildguild_config::LoadedFarm;
use buildguild_types::ids::WorkerId;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::registry::Workers;
use crate::distribution::handover::{FreeWorker, WorkerPool, WorkerSlot};

/// The connected workers, with the limits of the farm in force.
pub(crate) struct Pool {
    workers: Workers,
    farm: watch::Receiver<Arc<LoadedFarm>>,
}

impl Pool {
    pub(crate) const fn new(workers: Workers, farm: watch::Receiver<Arc<LoadedFarm>>) -> Self {
        Self { workers, farm }
    }

    fn max_builds(&self, name: &str) -> Option<u32> {
        self.farm.borrow().worker(name)?.max_builds
    }
}

impl WorkerPool for Pool {
    fn free(&self, names: &[String]) -> Vec<FreeWorker> {
        let free = self.workers.available(names).into_iter().filter_map(|worker| {
            let running = worker.running_builds() as usize;
            let places = match self.max_builds(worker.name()) {
                Some(limit) => (limit as usize).checked_sub(running).filter(|places| *places > 0)?,
                None => usize::MAX,
            };
            let name = worker.name().to_owned();
            Some(FreeWorker { worker_id: worker.id(), name, running_builds: running, places })
        });
        free.collect()
    }

    fn reserve(&self, name: &str) -> Option<WorkerSlot> {
        let worker = self.workers.get(name)?;
        let slot = worker.reserve(self.max_builds(name))?;
        Some(WorkerSlot { worker_id: worker.id(), worker_name: name.to_owned(), guard: Box::new(slot) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.workers.changes()
    }

    fn set_availability(&self, worker: WorkerId, paused: bool, graceful: bool) {
        if let Some(worker) = self.workers.by_id(worker) {
            worker.set_paused(paused);
            worker.set_graceful(graceful);
        }
    }

    fn probe(&self, worker: WorkerId, session: &str) -> BoxFuture<'static, bool> {
        match self.workers.by_id(worker).filter(|handle| handle.session().to_string() == session) {
            Some(handle) => Box::pin(async move { handle.print("master got a duplicate connection").await.is_ok() }),
            None => Box::pin(std::future::ready(self.workers.is_attaching(session))),
        }
    }

    fn kill(&self, worker: WorkerId, reason: &str) -> bool {
        match self.workers.by_id(worker) {
            Some(worker) => {
                tracing::info!(
                    worker.name = worker.name(),
                    reason,
                    "worker {} is disconnected on request",
                    worker.name()
                );
                worker.disconnect();
                true
            }
            None => false,
        }
    }
}
