//! `SingleBranchScheduler` and `AnyBranchScheduler`: they follow changes.
//!
//! One pass reads the changes behind the cursor, asks filter and functions about each, and then, in one transaction,
//! stores what was decided together with the new cursor and the buildsets. So a change is classified once and builds
//! once, whatever dies in between; and since the cursor is what counts, changes that were added while no master ran, or
//! by a master whose events do not reach this one, are found like any other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use buildguild_data::{SchedulerBatch, StateKey};
use buildguild_db::{Owner, buildsets::NewBuildset};
use buildguild_types::{
    farm::{
        SchedulerConfig, TreeSchedulerConfig,
        filter::{CompiledFilter, Verdict, change_view},
    },
    ids::{BuilderId, ChangeId, SchedulerId},
    render::CallableRef,
    resources::Change,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    SchedulerError,
    buildset::{LastSeen, Recipe},
    cursor::Cursor,
    lines::{LineKey, Lines, Moment, line_of},
};
use crate::{
    functions::{Functions, is_transient},
    parts::Parts,
    store::Store,
    wake::{Wakeups, Woken},
};

/// How many changes are read, decided and committed at a time.
const BATCH: i64 = 100;

/// What a scheduler keeps in the database, apart from the classifications.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Saved {
    /// How far it has read the changes.
    cursor: Cursor,
    /// The newest changes of its code bases, with `createAbsoluteSourceStamps`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    last_seen: BTreeMap<String, LastSeen>,
    /// The running timers, and when (microseconds) each was started last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    timers: Vec<(LineKey, i64)>,
}

impl Saved {
    fn note_timers(&mut self, lines: &Lines) {
        self.timers = lines.timers().into_iter().map(|(line, since)| (line, since.micros())).collect();
    }
}

/// What is done about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Ignore,
    Unimportant,
    Important,
}

/// A scheduler that follows changes, on the replica that holds its lease.
pub(crate) struct TreeScheduler {
    parts: Arc<Parts>,
    id: SchedulerId,
    owner: Owner,
    config: Arc<SchedulerConfig>,
    tree: TreeSchedulerConfig,
    per_branch: bool,
    filter: CompiledFilter,
}

impl TreeScheduler {
    /// A scheduler of this configuration, under this owner's lease.
    ///
    /// # Errors
    /// If the change filter cannot be understood.
    pub(crate) fn new(
        parts: Arc<Parts>,
        id: SchedulerId,
        owner: Owner,
        config: Arc<SchedulerConfig>,
        tree: TreeSchedulerConfig,
        per_branch: bool,
    ) -> Result<Self, SchedulerError> {
        let filter = CompiledFilter::new(&tree.change_filter)?;
        Ok(Self { parts, id, owner, config, tree, per_branch, filter })
    }

    /// Runs until it is cancelled.
    ///
    /// # Errors
    /// If the database refuses or a function cannot be called now. Nothing is lost: a new run goes on from what is
    /// stored.
    pub(crate) async fn run(&self, cancel: &CancellationToken) -> Result<(), SchedulerError> {
        let updated = format!("schedulers/{}/updated", self.id);
        let filters = ["changes/*/new", updated.as_str()];
        let mut wakeups = Wakeups::new(&self.parts.hub, &filters, self.parts.rescan_interval);
        let mut saved = self.load().await?;
        let stable_after = self.tree.tree_stable_timer_secs.map(|secs| Duration::from_secs_f64(secs.max(0.0)));
        let mut lines = Lines::new(stable_after.unwrap_or_default());
        for (change, important) in self.store().pending_changes(self.id).await? {
            lines.add(line_of(&change, self.per_branch), change.changeid, important, self.now());
        }
        for (line, since) in &saved.timers {
            lines.resume(line, Timestamp::from_micros(*since), self.now());
        }
        loop {
            self.read_changes(&mut saved, &mut lines, stable_after.is_some()).await?;
            while let Some((line, changes)) = lines.due(Instant::now()) {
                let mut rest = lines.clone();
                rest.remove(&line);
                let mut next = saved.clone();
                next.note_timers(&rest);
                self.build(&next, &changes).await?;
                (saved, lines) = (next, rest);
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                woken = wakeups.next(lines.next_due()) => match woken {
                    Woken::Events(_) | Woken::Rescan | Woken::Due => {}
                },
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { instant: Instant::now(), time: self.parts.clock.now() }
    }

    fn store(&self) -> &Store {
        &self.parts.store
    }

    fn key(&self) -> StateKey {
        StateKey { object: self.config.name.clone(), class_name: "Scheduler".to_owned(), name: "changes".to_owned() }
    }

    async fn load(&self) -> Result<Saved, SchedulerError> {
        let stored = self.store().state(&self.key()).await?.and_then(|value| serde_json::from_value(value).ok());
        match stored {
            Some(saved) => Ok(saved),
            None => {
                // A scheduler that is new does not build what happened before it was there.
                let saved = Saved { cursor: Cursor::after(self.store().latest_change().await?), ..Saved::default() };
                self.commit(&saved, SchedulerBatch::default()).await?;
                Ok(saved)
            }
        }
    }

    async fn commit(&self, saved: &Saved, batch: SchedulerBatch) -> Result<(), SchedulerError> {
        let batch = SchedulerBatch { state: Some(json!(saved)), ..batch };
        self.store().commit_scheduler(self.owner, self.id, &self.key(), &batch).await?;
        let submitted = self.parts.figures.buildsets.with_label_values(&[self.config.name.as_str()]);
        submitted.inc_by(batch.buildsets.len() as u64);
        Ok(())
    }

    /// Reads all changes behind the cursor. What it decided is stored before `saved` and `lines` are changed.
    async fn read_changes(
        &self,
        saved: &mut Saved,
        lines: &mut Lines,
        waits_for_stability: bool,
    ) -> Result<(), SchedulerError> {
        loop {
            let gaps: Vec<ChangeId> = saved.cursor.gaps.keys().copied().map(ChangeId).collect();
            let changes = self.store().changes_behind(ChangeId(saved.cursor.last), &gaps, BATCH).await?;
            let mut next = saved.clone();
            next.cursor.advance(changes.iter().map(|c| c.changeid), self.parts.clock.now());
            let forgot = next.cursor.forget_old_gaps(self.parts.clock.now());
            if changes.is_empty() && !forgot {
                return Ok(());
            }
            let enabled = self.store().scheduler_enabled(self.id).await?;
            let mut batch = SchedulerBatch::default();
            let mut after = lines.clone();
            if enabled {
                let functions = self.parts.functions();
                for change in &changes {
                    let decision = self.decide(&functions, change).await?;
                    if decision == Decision::Ignore {
                        continue;
                    }
                    if self.tree.create_absolute_source_stamps {
                        note_last_seen(&mut next, change);
                    }
                    if waits_for_stability {
                        batch.classify.push((change.changeid, decision == Decision::Important));
                        let line = line_of(change, self.per_branch);
                        after.add(line, change.changeid, decision == Decision::Important, self.now());
                    } else if decision == Decision::Important {
                        let builders = self.parts.builders();
                        let recipe = self.recipe(&functions, std::slice::from_ref(change), &next, &builders);
                        if let Some(buildset) = self.made(recipe.make().await)? {
                            batch.buildsets.push(buildset);
                        }
                    }
                }
            } else {
                // What waited when the scheduler was disabled is not built later either.
                batch.forget_all = !lines.is_empty();
                after.clear();
            }
            next.note_timers(&after);
            self.commit(&next, batch).await?;
            (*saved, *lines) = (next, after);
        }
    }

    /// Builds the waiting changes of a line whose timer has run out.
    async fn build(&self, saved: &Saved, changes: &[ChangeId]) -> Result<(), SchedulerError> {
        let mut batch = SchedulerBatch { built: changes.to_vec(), ..SchedulerBatch::default() };
        if self.store().scheduler_enabled(self.id).await? {
            let functions = self.parts.functions();
            let changes = self.store().changes(changes).await?;
            let builders = self.parts.builders();
            let recipe = self.recipe(&functions, &changes, saved, &builders);
            batch.buildsets.extend(self.made(recipe.make().await)?);
        }
        self.commit(saved, batch).await
    }

    fn recipe<'a>(
        &'a self,
        functions: &'a Functions,
        changes: &'a [Change],
        saved: &'a Saved,
        builders: &'a BTreeMap<String, BuilderId>,
    ) -> Recipe<'a> {
        Recipe { config: &self.config, functions, changes, last_seen: &saved.last_seen, builders }
    }

    /// A buildset that cannot be made, because the configuration is wrong about it, is reported and left out; trying
    /// again would not help, and must not hold up the changes behind it.
    fn made(&self, made: Result<NewBuildset, SchedulerError>) -> Result<Option<NewBuildset>, SchedulerError> {
        match made {
            Ok(buildset) => Ok(Some(buildset)),
            Err(error) if may_pass(&error) => Err(error),
            Err(error) => {
                self.report(&error);
                Ok(None)
            }
        }
    }

    async fn decide(&self, functions: &Functions, change: &Change) -> Result<Decision, SchedulerError> {
        if !self.config.codebases.contains_key(&change.codebase) {
            return Ok(Decision::Ignore);
        }
        match self.filter.check(change) {
            Verdict::No => return Ok(Decision::Ignore),
            Verdict::Yes => {}
            Verdict::Ask(questions) => {
                for (function, argument) in questions {
                    if !self.ask(functions, &function, argument).await? {
                        return Ok(Decision::Ignore);
                    }
                }
            }
        }
        let important = match &self.tree.file_is_important {
            Some(function) => self.ask(functions, function, change_view(change)).await?,
            None => true,
        };
        Ok(match (important, self.tree.only_important) {
            (true, _) => Decision::Important,
            (false, false) => Decision::Unimportant,
            (false, true) => Decision::Ignore,
        })
    }

    /// Asks a function. One that fails says no.
    async fn ask(&self, functions: &Functions, function: &CallableRef, value: Value) -> Result<bool, SchedulerError> {
        match functions.is_true(function, vec![value]).await {
            Ok(answer) => Ok(answer),
            Err(error) if is_transient(&error) => Err(error.into()),
            Err(error) => {
                self.report(&error);
                Ok(false)
            }
        }
    }

    fn report(&self, error: &(dyn std::error::Error + 'static)) {
        let name = &self.config.name;
        tracing::error!(scheduler.name = name.as_str(), error, "scheduler {name} ignores a change: {error}");
    }
}

fn note_last_seen(saved: &mut Saved, change: &Change) {
    let seen = LastSeen {
        repository: change.repository.clone(),
        branch: change.branch.clone(),
        revision: change.revision.clone(),
        change: change.changeid.get(),
    };
    saved.last_seen.insert(change.codebase.clone(), seen);
}

/// Whether an error may be gone at another time.
fn may_pass(error: &SchedulerError) -> bool {
    match error {
        SchedulerError::Db(_) => true,
        SchedulerError::Call(error) => is_transient(error),
        SchedulerError::Render { source, .. } => {
            matches!(source, crate::render::RenderError::Call { source, .. } if source.transient)
        }
        SchedulerError::Filter(_) | SchedulerError::WrongValue { .. } => false,
    }
}
