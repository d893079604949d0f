//! Keeps the leases: takes what is free, runs what it holds, and lets go of what is no longer wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use buildguild_db::{DbError, Owner};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Key, Outcome, Row, Wanted};
use crate::{
    parts::Parts,
    wake::{Wakeups, Woken},
};

/// For so long a service that failed here is left to others, if there are any. They take it at their next look; only if
/// they cannot run it either, and gave it up, too, it is tried here again, so that it is not long without anybody.
const REST: Duration = Duration::from_secs(2 * 60);

/// The singletons of one replica.
pub(crate) struct Singletons {
    parts: Arc<Parts>,
    tracker: TaskTracker,
}

/// A service that runs here.
struct Running {
    wanted: Wanted,
    row: Row,
    owner: Owner,
    cancel: CancellationToken,
    task: JoinHandle<Outcome>,
}

/// The services that run here, and the rows of all that are wanted.
#[derive(Default)]
struct State {
    running: BTreeMap<Key, Running>,
    rows: BTreeMap<Key, Row>,
    /// Until when what failed here is left to others.
    resting: BTreeMap<Key, Instant>,
}

impl Singletons {
    pub(crate) fn new(parts: Arc<Parts>, tracker: TaskTracker) -> Self {
        Self { parts, tracker }
    }

    /// Runs until it is cancelled, then stops all services and gives their leases back.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let mut wakeups = Wakeups::new(&self.parts.hub, &["masters/*/stopped"], self.parts.rescan_interval);
        let mut farm = self.parts.farm_changes();
        let mut owner = self.parts.store.owner_changes();
        let mut state = State::default();
        loop {
            let current = *owner.borrow_and_update();
            farm.mark_unchanged();
            self.parts.figures.singletons.set(i64::try_from(state.running.len()).unwrap_or(i64::MAX));
            if let Err(error) = self.pass(&mut state, current, cancel).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "taking leases failed: {error}");
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                woken = wakeups.next(None) => match woken {
                    Woken::Events(_) | Woken::Rescan | Woken::Due => {}
                },
                changed = farm.changed() => if changed.is_err() { break },
                changed = owner.changed() => if changed.is_err() { break },
            }
        }
        let keys: Vec<Key> = state.running.keys().cloned().collect();
        self.stop(&mut state, &keys).await;
    }

    async fn pass(&self, state: &mut State, owner: Option<Owner>, root: &CancellationToken) -> Result<(), DbError> {
        let farm = self.parts.farm();
        let wanted: BTreeMap<Key, Wanted> = Wanted::of(&farm.farm).into_iter().map(|w| (w.key(), w)).collect();
        // Services that ended by themselves have lost their lease; others are unwanted, changed, or of an old epoch.
        let gone: Vec<Key> = state
            .running
            .iter()
            .filter(|(key, running)| {
                running.task.is_finished() || Some(running.owner) != owner || wanted.get(*key) != Some(&running.wanted)
            })
            .map(|(key, _)| key.clone())
            .collect();
        self.stop(state, &gone).await;
        state.rows.retain(|key, _| wanted.contains_key(key));
        let now = Instant::now();
        state.resting.retain(|key, until| *until > now && wanted.contains_key(key));
        let Some(owner) = owner else { return Ok(()) };
        for (key, wanted) in &wanted {
            if !state.rows.contains_key(key) {
                state.rows.insert(key.clone(), self.row(wanted).await?);
            }
        }
        if !state.resting.is_empty() && !self.parts.store.has_others(owner).await {
            state.resting.clear();
        }
        let is_missing = |key: &&Key| !state.running.contains_key(*key) && !state.resting.contains_key(*key);
        let missing: Vec<Key> = wanted.keys().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (schedulers, sources) = self.parts.store.free_singletons().await?;
        let (schedulers, sources): (BTreeSet<_>, BTreeSet<_>) =
            (schedulers.into_iter().collect(), sources.into_iter().collect());
        for key in missing {
            let (Some(wanted), Some(row)) = (wanted.get(&key), state.rows.get(&key).copied()) else { continue };
            let free = match row {
                Row::Scheduler(id) => schedulers.contains(&id),
                Row::ChangeSource(id) => sources.contains(&id),
            };
            if free && self.parts.store.acquire_lease(row.lease(), owner).await? {
                tracing::info!(service = ?key, "running {key:?} here");
                let cancel = root.child_token();
                let task = {
                    let (parts, wanted, cancel) = (Arc::clone(&self.parts), wanted.clone(), cancel.clone());
                    self.tracker.spawn(async move { wanted.run(parts, row, owner, cancel).await })
                };
                let wanted = wanted.clone();
                state.running.insert(key, Running { wanted, row, owner, cancel, task });
            }
        }
        Ok(())
    }

    async fn row(&self, wanted: &Wanted) -> Result<Row, DbError> {
        Ok(match wanted {
            Wanted::Scheduler(config) => Row::Scheduler(self.parts.store.scheduler_id(&config.name).await?),
            Wanted::ChangeSource(config) => Row::ChangeSource(self.parts.store.changesource_id(&config.name).await?),
        })
    }

    /// Stops services, all at once, then gives their leases back.
    async fn stop(&self, state: &mut State, keys: &[Key]) {
        let stopping: Vec<(Key, Running)> =
            keys.iter().filter_map(|key| Some((key.clone(), state.running.remove(key)?))).collect();
        for (_, running) in &stopping {
            running.cancel.cancel();
        }
        for (key, running) in stopping {
            match running.task.await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::GivenUp) => {
                    // They look as often as this one does.
                    let rest = REST.max(self.parts.rescan_interval.saturating_mul(2));
                    state.resting.insert(key.clone(), Instant::now() + rest);
                }
                Err(error) if error.is_panic() => tracing::error!(service = ?key, "{key:?} panicked"),
                Err(_) => {}
            }
            if let Err(error) = self.parts.store.release_lease(running.row.lease(), running.owner).await {
                // It is free as soon as this epoch has ended.
                tracing::warn!(service = ?key, error = &error as &dyn std::error::Error, "{key:?}: keeping its lease");
            }
        }
    }
}
