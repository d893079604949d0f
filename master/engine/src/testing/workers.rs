//! Workers and builds that a test controls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use buildguild_data::StartBuild;
use buildguild_types::{
    ids::{BuildId, BuildRequestId, WorkerId},
    results::Results,
};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    distribution::handover::{Assignment, BuildRunner, FreeWorker, WorkerPool, WorkerSlot},
    store::Store,
};

#[derive(Debug)]
struct Worker {
    id: WorkerId,
    max: usize,
    running: usize,
    available: bool,
}

/// Workers that are always connected.
#[derive(Clone, Debug)]
pub(crate) struct TestPool {
    workers: Arc<Mutex<BTreeMap<String, Worker>>>,
    changed: watch::Sender<u64>,
}

impl TestPool {
    /// The workers by name, with how many builds each takes.
    pub(crate) async fn new(store: &Store, workers: &[(&str, usize)]) -> Self {
        let mut all = BTreeMap::new();
        for (name, max) in workers {
            let id = store.worker_id(name).await.expect("the database answers").expect("it is configured");
            all.insert((*name).to_owned(), Worker { id, max: *max, running: 0, available: true });
        }
        Self { workers: Arc::new(Mutex::new(all)), changed: watch::Sender::new(0) }
    }

    pub(crate) fn is_available(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|w| w.available)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Guard {
    pool: TestPool,
    name: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(worker) = self.pool.lock().get_mut(&self.name) {
            worker.running -= 1;
        }
        self.pool.changed.send_modify(|n| *n += 1);
    }
}

impl WorkerPool for TestPool {
    fn free(&self, names: &[String]) -> Vec<FreeWorker> {
        self.lock()
            .iter()
            .filter(|(name, w)| names.contains(name) && w.available && w.running < w.max)
            .map(|(name, w)| FreeWorker {
                worker_id: w.id,
                name: name.clone(),
                running_builds: w.running,
                places: w.max - w.running,
            })
            .collect()
    }

    fn reserve(&self, name: &str) -> Option<WorkerSlot> {
        let mut workers = self.lock();
        let worker = workers.get_mut(name).filter(|w| w.available && w.running < w.max)?;
        worker.running += 1;
        let guard = Box::new(Guard { pool: self.clone(), name: name.to_owned() });
        Some(WorkerSlot { worker_id: worker.id, worker_name: name.to_owned(), guard })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn set_availability(&self, worker: WorkerId, paused: bool, graceful: bool) {
        if let Some(worker) = self.lock().values_mut().find(|w| w.id == worker) {
            worker.available = !paused && !graceful;
        }
        self.changed.send_modify(|n| *n += 1);
    }

    fn probe(&self, _worker: WorkerId, _session: &str) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(true))
    }

    fn kill(&self, worker: WorkerId, _reason: &str) -> bool {
        self.lock().values().any(|w| w.id == worker)
    }
}

/// Runs builds that do nothing, and end when the test (or a stop) says so.
#[derive(Debug)]
pub(crate) struct TestRunner {
    store: Store,
    /// What was started, in order.
    started: Mutex<Vec<BuildRequestId>>,
    running: Mutex<BTreeMap<BuildId, watch::Sender<Option<Results>>>>,
    /// Ends builds at once.
    instant: bool,
}

impl TestRunner {
    pub(crate) fn new(store: Store, instant: bool) -> Arc<Self> {
        Arc::new(Self { store, started: Mutex::default(), running: Mutex::default(), instant })
    }

    pub(crate) fn started(&self) -> Vec<BuildRequestId> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all running builds.
    pub(crate) fn finish_all(&self, results: Results) {
        for end in self.running_builds().values() {
            end.send_replace(Some(results));
        }
    }

    fn running_builds(&self) -> MutexGuard<'_, BTreeMap<BuildId, watch::Sender<Option<Results>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BuildRunner for TestRunner {
    async fn run(&self, assignment: Assignment) {
        let Assignment { request, builder_id, slot, .. } = &assignment;
        let start = StartBuild {
            builder: *builder_id,
            request: request.buildrequestid,
            worker: slot.worker_id,
            state_string: "starting",
        };
        let start = &start;
        let added = self
            .store
            .update(|u| async move {
                let build = u.add_build(start).await?;
                u.announce_build(build.buildid).await?;
                Ok(build)
            })
            .await
            .expect("the build is added");
        let (end, mut ended) = watch::channel(self.instant.then_some(Results::Success));
        self.running_builds().insert(added.buildid, end);
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push(request.buildrequestid);
        let results = ended.wait_for(Option::is_some).await.ok().and_then(|r| *r).unwrap_or(Results::Retry);
        let id = added.buildid;
        let finished = self.store.update(|u| async move { u.finish_build(id, results, Some("done")).await }).await;
        finished.expect("the build is finished");
        self.running_builds().remove(&id);
    }

    fn stop(&self, build: BuildId, _reason: &str) -> bool {
        match self.running_builds().get(&build) {
            Some(end) => {
                end.send_replace(Some(Results::Cancelled));
                true
            }
            None => false,
        }
    }

    fn running(&self) -> Vec<BuildId> {
        self.running_builds().keys().copied().collect()
    }
}
