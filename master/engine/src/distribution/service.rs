//! The loop: what wakes distribution up, and what it does then.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use buildguild_types::ids::BuilderId;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    aside::Aside,
    choose::ChooseError,
    collapser::Collapser,
    handover::{BuildRunner, WorkerPool},
    order::Order,
    question::Inquiries,
    troubles::Troubles,
};
use crate::{
    metrics::Metrics,
    parts::Parts,
    wake::{Wakeups, Woken},
};

/// Distribution on one replica.
pub(crate) struct Distributor {
    pub(super) means: Arc<Means>,
}

/// What distribution works with.
pub(super) struct Means {
    pub(super) parts: Arc<Parts>,
    pub(super) pool: Arc<dyn WorkerPool>,
    pub(super) runner: Arc<dyn BuildRunner>,
    pub(super) builds: TaskTracker,
    pub(super) collapser: Collapser,
    pub(super) metrics: Metrics,
}

/// The builders to look at in one pass.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// All that have requests waiting.
    pub(super) all: bool,
    /// These, which have new requests.
    pub(super) fresh: BTreeSet<BuilderId>,
}

/// What is known from earlier passes.
#[derive(Default)]
pub(super) struct State {
    /// Builders that had more waiting than could start; they are looked at when a worker becomes free.
    pub(super) leftovers: BTreeSet<BuilderId>,
    /// Builders that there was reason to ask again while they were being asked.
    pub(super) again: BTreeSet<BuilderId>,
    pub(super) aside: Aside,
    pub(super) troubles: Troubles,
    pub(super) inquiries: Inquiries,
    pub(super) order: Order,
}

/// After a failure; the database may be away.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Distributor {
    /// Distribution to these workers; builds run as tasks of `builds`.
    pub(crate) fn new(
        parts: Arc<Parts>,
        pool: Arc<dyn WorkerPool>,
        runner: Arc<dyn BuildRunner>,
        builds: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        Self { means: Arc::new(Means { parts, pool, runner, builds, collapser: Collapser::default(), metrics }) }
    }

    /// Runs until it is cancelled. Builds that were started go on; questions are dropped, with what they had reserved.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let parts = &self.means.parts;
        let filters = ["builders/*/buildrequests/*/new", "builders/*/buildrequests/*/unclaimed"];
        let mut wakeups = Wakeups::new(&parts.hub, &filters, parts.rescan_interval);
        let mut workers = self.means.pool.changes();
        let mut farm = parts.farm_changes();
        let mut owner = parts.store.owner_changes();
        let mut state = State::default();
        let mut agenda = Agenda { all: true, ..Agenda::default() };
        let mut answered = None;
        loop {
            // A master that may not write cannot claim.
            let passed = if owner.borrow_and_update().is_some() {
                let timer = parts.figures.distribution_secs.start_timer();
                let passed = match answered.take() {
                    Some((answer, again)) => self.take_answer(answer, again, &mut state).await,
                    None => self.pass(&agenda, &mut state).await,
                };
                timer.observe_duration();
                parts.figures.builders_waiting.set(i64::try_from(state.leftovers.len()).unwrap_or(i64::MAX));
                passed
            } else {
                answered = None;
                Ok(())
            };
            if let Err(error) = passed {
                self.report_failure(&error);
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => {}
                }
                agenda = Agenda { all: true, ..Agenda::default() };
                continue;
            }
            agenda = Agenda { fresh: std::mem::take(&mut state.again), all: false };
            if !agenda.fresh.is_empty() {
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                woken = wakeups.next(None) => match woken {
                    Woken::Events(events) => {
                        // builders/<id>/buildrequests/<id>/new
                        agenda.fresh = events
                            .iter()
                            .filter_map(|e| e.key().parts().nth(1)?.parse().ok())
                            .map(BuilderId)
                            .collect();
                    }
                    Woken::Rescan | Woken::Due => agenda.all = true,
                },
                answer = state.inquiries.next() => answered = Some(answer),
                changed = workers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = owner.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    agenda.all = true;
                }
                changed = farm.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    agenda.all = true;
                }
            }
        }
    }

    fn report_failure(&self, error: &ChooseError) {
        tracing::warn!(error = error as &dyn std::error::Error, "distribution failed: {error}");
    }
}
