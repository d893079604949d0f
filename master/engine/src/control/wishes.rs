//! Fulfilling wishes about builds and workers that this replica holds.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use buildguild_db::{
    DbError,
    wishes::{Wish, WishKind},
};
use buildguild_types::ids::{BuildId, BuildRequestId, MasterId, WorkerId};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    distribution::handover::{BuildRunner, WorkerPool},
    parts::Parts,
    store::WorkerState,
    wake::{Wakeups, Woken},
};

/// What is said to a build whose stop was asked for without a reason.
const NO_REASON: &str = "no reason";

/// Watches for wishes.
pub(crate) struct Fulfilment {
    parts: Arc<Parts>,
    pool: Arc<dyn WorkerPool>,
    runner: Arc<dyn BuildRunner>,
    drain: watch::Sender<bool>,
}

/// Questions to workers' connections that are under way.
#[derive(Default)]
struct Probes {
    tasks: JoinSet<WorkerId>,
    asked: HashSet<WorkerId>,
}

impl Fulfilment {
    pub(crate) fn new(parts: Arc<Parts>, pool: Arc<dyn WorkerPool>, runner: Arc<dyn BuildRunner>) -> Self {
        Self { parts, pool, runner, drain: watch::Sender::new(false) }
    }

    /// Becomes true when somebody wishes that this master leave.
    pub(crate) fn drain_asked(&self) -> watch::Receiver<bool> {
        self.drain.subscribe()
    }

    /// Runs until it is cancelled.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let filters = [
            "control/builds/*/stop",
            "control/buildrequests/*/cancel",
            "control/worker/*/stop",
            "control/worker/*/kill",
            "control/worker/*/probe",
            "control/masters/*/drain",
            "workers/*/state_updated",
            // A wish for a request may be older than its build.
            "builds/*/new",
        ];
        let mut wakeups = Wakeups::new(&self.parts.hub, &filters, self.parts.rescan_interval);
        let mut applied = HashMap::new();
        // Whether there were wishes at the last look: only then a new build may be one that is to be stopped.
        let mut outstanding = true;
        let mut probes = Probes::default();
        loop {
            let woken = tokio::select! {
                () = cancel.cancelled() => return,
                Some(ended) = probes.tasks.join_next_with_id() => {
                    match ended {
                        Ok((_, worker)) => {
                            probes.asked.remove(&worker);
                        }
                        // Whoever waits for the answer gives up in time; the next one is asked anew.
                        Err(_) => probes.asked.clear(),
                    }
                    continue;
                }
                woken = wakeups.next(None) => woken,
            };
            let (wishes, availability) = match woken {
                Woken::Events(events) => {
                    let is = |first: &str| events.iter().any(|e| e.key().parts().next() == Some(first));
                    (is("control") || (outstanding && is("builds")), is("workers"))
                }
                Woken::Rescan | Woken::Due => {
                    applied.clear();
                    (true, true)
                }
            };
            let passed = self.pass(wishes, availability, &mut applied, &mut probes).await;
            if let Ok(Some(any)) = passed {
                outstanding = any;
            }
            if let Err(error) = passed {
                tracing::warn!(error = &error as &dyn std::error::Error, "looking for wishes failed: {error}");
            }
        }
    }

    /// Tells whether there are wishes, if it looked for them.
    async fn pass(
        &self,
        wishes: bool,
        availability: bool,
        applied: &mut HashMap<WorkerId, WorkerState>,
        probes: &mut Probes,
    ) -> Result<Option<bool>, DbError> {
        if availability {
            for state in self.parts.store.my_workers().await? {
                if applied.insert(state.worker, state) != Some(state) {
                    self.pool.set_availability(state.worker, state.paused, state.graceful);
                }
            }
        }
        if !wishes {
            return Ok(None);
        }
        let wishes = self.parts.store.wishes().await?;
        for wish in &wishes {
            self.fulfil(wish, probes).await?;
        }
        Ok(Some(!wishes.is_empty()))
    }

    /// Fulfils a wish if its object is here. Wishes about builds and requests are removed when these have ended.
    async fn fulfil(&self, wish: &Wish, probes: &mut Probes) -> Result<(), DbError> {
        let reason = wish.reason.as_deref().unwrap_or(NO_REASON);
        match wish.kind {
            WishKind::StopBuild => {
                self.runner.stop(BuildId(wish.target), reason);
            }
            WishKind::CancelRequest => {
                for build in self.parts.store.open_builds(BuildRequestId(wish.target)).await? {
                    self.runner.stop(build, reason);
                }
            }
            // That it leaves when it is idle is a column of the worker, which is looked at with its availability.
            WishKind::StopWorker => {}
            WishKind::KillWorker => {
                if self.pool.kill(WorkerId(wish.target), reason) {
                    self.parts.store.remove_wish(wish.kind, wish.target).await?;
                }
            }
            WishKind::ProbeWorker => {
                let worker = WorkerId(wish.target);
                if let Some(session) = self.parts.store.own_session(worker).await?
                    && probes.asked.insert(worker)
                {
                    let answer = self.pool.probe(worker, &session);
                    let store = self.parts.store.clone();
                    probes.tasks.spawn(async move {
                        let lives = answer.await;
                        if let Err(error) = store.session_probed(worker, &session, lives).await {
                            tracing::warn!(worker.id = worker.get(), %error, "worker {worker} was asked in vain");
                        }
                        worker
                    });
                }
            }
            // It stays until this process's successor registers, so that all can see it.
            WishKind::DrainMaster => {
                if self.parts.store.is_self(MasterId(wish.target)) && !self.drain.send_replace(true) {
                    tracing::info!(reason, "this master is asked to leave: {reason}");
                }
            }
        }
        Ok(())
    }
}
