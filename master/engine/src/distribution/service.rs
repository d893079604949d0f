//! The loop: what wakes distribution up, and what it does then.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use buildguild_config::LoadedFarm;
use buildguild_types::{
    farm::{BuilderConfig, CollapsePolicy},
    ids::BuilderId,
    resources::BuildRequest,
};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    aside::Aside,
    choose::{Choice, ChooseError, Chooser},
    collapser::{Collapser, policy},
    handover::{Assignment, BuildRunner, WorkerPool},
    views,
};
use crate::{
    functions::Functions,
    metrics::Metrics,
    parts::Parts,
    wake::{Wakeups, Woken},
};

/// Distribution on one replica.
pub(crate) struct Distributor {
    parts: Arc<Parts>,
    pool: Arc<dyn WorkerPool>,
    runner: Arc<dyn BuildRunner>,
    builds: TaskTracker,
    collapser: Collapser,
    metrics: Metrics,
}

/// The builders to look at in one pass.
#[derive(Debug, Default)]
struct Agenda {
    /// All that have requests waiting.
    all: bool,
    /// These, which have new requests.
    fresh: BTreeSet<BuilderId>,
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
        Self { parts, pool, runner, builds, collapser: Collapser::default(), metrics }
    }

    /// Runs until it is cancelled. Builds that were started go on.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let filters = ["builders/*/buildrequests/*/new", "builders/*/buildrequests/*/unclaimed"];
        let mut wakeups = Wakeups::new(&self.parts.hub, &filters, self.parts.rescan_interval);
        let mut workers = self.pool.changes();
        let mut farm = self.parts.farm_changes();
        let mut owner = self.parts.store.owner_changes();
        // Builders that had more waiting than could start; they are looked at when a worker becomes free.
        let mut leftovers = BTreeSet::new();
        let mut aside = Aside::default();
        let mut agenda = Agenda { all: true, ..Agenda::default() };
        loop {
            // A master that may not write cannot claim.
            if owner.borrow_and_update().is_some() {
                let timer = self.parts.figures.distribution_secs.start_timer();
                let passed = self.pass(&agenda, &mut leftovers, &mut aside).await;
                timer.observe_duration();
                self.parts.figures.builders_waiting.set(i64::try_from(leftovers.len()).unwrap_or(i64::MAX));
                if let Err(error) = passed {
                    tracing::warn!(error = &error as &dyn std::error::Error, "distribution failed: {error}");
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => {}
                    }
                    agenda = Agenda { all: true, ..Agenda::default() };
                    continue;
                }
            }
            agenda = Agenda::default();
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

    async fn pass(
        &self,
        agenda: &Agenda,
        leftovers: &mut BTreeSet<BuilderId>,
        aside: &mut Aside,
    ) -> Result<(), ChooseError> {
        let applied = self.parts.applied();
        let (farm, configs) = (Arc::clone(&applied.farm), &applied.configs);
        let functions = self.parts.functions();
        aside.under(&farm.hash);
        let mut look: BTreeSet<BuilderId> = agenda.fresh.clone();
        if agenda.all {
            let all: Vec<BuilderId> = configs.keys().copied().collect();
            look.extend(self.parts.store.builders_waiting(&all).await?);
            leftovers.clone_from(&look);
        }
        // A worker that became free may do for any builder that has requests left.
        look.extend(leftovers.iter().copied());
        let mut ready = Vec::new();
        for id in look {
            let Some(config) = configs.get(&id) else {
                leftovers.remove(&id);
                continue;
            };
            if aside.has(id) {
                leftovers.insert(id);
                continue;
            }
            let mut head = None;
            if agenda.all || agenda.fresh.contains(&id) {
                leftovers.insert(id);
                let policy = policy(&farm.farm, config);
                if *policy != CollapsePolicy::Never {
                    let begun = Instant::now();
                    match self.collapser.collapse(&self.parts, &functions, id, config, policy).await {
                        Ok(rest) => head = Some(rest),
                        Err(error) => {
                            self.report(config, &error);
                            if set_aside(aside, id, config, begun, &error) {
                                continue;
                            }
                        }
                    }
                }
            }
            let chooser = self.chooser(&farm, &functions, id, config);
            let needed = chooser.head_needed();
            if needed == 0 {
                continue;
            }
            // One more than can start tells whether something is left.
            let limit = usize::try_from(needed + 1).unwrap_or(usize::MAX);
            let mut head = match head {
                Some(head) => head,
                None => self.parts.store.claimable(id, needed + 1).await?,
            };
            head.truncate(limit);
            if head.is_empty() {
                leftovers.remove(&id);
            } else {
                ready.push((id, Arc::clone(config), head));
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        let ordered = self.prioritize(&farm, &functions, ready).await;
        self.start(&farm, &functions, ordered, leftovers, aside).await
    }

    fn chooser<'a>(
        &'a self,
        farm: &'a Arc<LoadedFarm>,
        functions: &'a Functions,
        id: BuilderId,
        config: &'a BuilderConfig,
    ) -> Chooser<'a> {
        Chooser { parts: &self.parts, pool: &*self.pool, farm, functions, builder_id: id, builder: config }
    }

    /// The builders in the order in which they may take workers: the one with the most urgent, then oldest request
    /// first, or as `prioritizeBuilders` says (builders that it leaves out start nothing).
    async fn prioritize(
        &self,
        farm: &LoadedFarm,
        functions: &Functions,
        mut ready: Vec<(BuilderId, Arc<BuilderConfig>, Vec<BuildRequest>)>,
    ) -> Vec<(BuilderId, Arc<BuilderConfig>, Vec<BuildRequest>)> {
        ready.sort_by_key(|(_, _, head)| head.first().map(|r| (Reverse(r.priority), r.submitted_at, r.buildrequestid)));
        let Some(function) = &farm.farm.prioritize_builders else { return ready };
        let views: Vec<Value> = ready.iter().map(|(id, config, _)| views::builder(*id, config)).collect();
        let returned = functions.call(function, vec![Value::Null, Value::Array(views.clone())]).await;
        match returned {
            Ok(Value::Array(order)) => {
                let mut slots: Vec<Option<_>> = ready.into_iter().map(Some).collect();
                order
                    .iter()
                    .filter_map(|wanted| views::chosen(&views, "name", wanted))
                    .filter_map(|index| slots.get_mut(index)?.take())
                    .collect()
            }
            Ok(other) => {
                let kind = buildguild_types::pyrepr::type_name(&other);
                tracing::error!("prioritizeBuilders gave {kind}, not a list; builders keep their default order");
                ready
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "prioritizeBuilders failed: {error}");
                ready
            }
        }
    }

    /// Claims what can start, for all builders in one transaction, and starts it.
    async fn start(
        &self,
        farm: &Arc<LoadedFarm>,
        functions: &Functions,
        ready: Vec<(BuilderId, Arc<BuilderConfig>, Vec<BuildRequest>)>,
        leftovers: &mut BTreeSet<BuilderId>,
        aside: &mut Aside,
    ) -> Result<(), ChooseError> {
        let mut choices: Vec<(Arc<BuilderConfig>, Choice)> = Vec::new();
        let mut exhausted = Vec::new();
        for (id, config, head) in ready {
            let waiting = head.len();
            let begun = Instant::now();
            match self.chooser(farm, functions, id, &config).choose(head).await {
                Ok(chosen) => {
                    aside.answered(id);
                    leftovers.insert(id);
                    if chosen.len() == waiting {
                        exhausted.push(id);
                    }
                    choices.extend(chosen.into_iter().map(|choice| (Arc::clone(&config), choice)));
                }
                Err(error) => {
                    self.report(&config, &error);
                    set_aside(aside, id, &config, begun, &error);
                }
            }
        }
        if choices.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> = choices.iter().map(|(_, choice)| choice.request.buildrequestid).collect();
        // If this fails, dropping the choices gives the places back.
        let won = self.parts.store.claim(&wanted).await?;
        self.metrics.claims_won.inc_by(won.len() as u64);
        self.metrics.claims_lost.inc_by((wanted.len() - won.len()) as u64);
        for id in exhausted {
            leftovers.remove(&id);
        }
        let mut won: BTreeMap<_, _> = won.into_iter().map(|r| (r.buildrequestid, r)).collect();
        for (builder, Choice { request, slot }) in choices {
            let Some(request) = won.remove(&request.buildrequestid) else {
                // Another replica was faster, or somebody cancelled it. There may be more behind it.
                leftovers.insert(request.builderid);
                continue;
            };
            let builder_id = request.builderid;
            let assignment = Assignment { request, builder_id, builder, farm: Arc::clone(farm), slot };
            let runner = Arc::clone(&self.runner);
            self.builds.spawn(async move { runner.run(assignment).await });
        }
        Ok(())
    }

    fn report(&self, builder: &BuilderConfig, error: &ChooseError) {
        let name = builder.name.as_str();
        tracing::error!(builder.name = name, error = error as &dyn std::error::Error, "builder {name}: {error}");
    }
}

/// Sets a builder aside if one of its functions failed after a long time; tells whether it did.
fn set_aside(aside: &mut Aside, id: BuilderId, builder: &BuilderConfig, begun: Instant, error: &ChooseError) -> bool {
    if !matches!(error, ChooseError::Call(_)) {
        return false;
    }
    let Some(pause) = aside.failed(id, begun.elapsed()) else { return false };
    let (name, secs) = (builder.name.as_str(), pause.as_secs());
    tracing::warn!(
        builder.name = name,
        "builder {name} starts nothing for {secs} s, since its functions take too long"
    );
    true
}
