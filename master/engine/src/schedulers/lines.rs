//! The changes that wait for their tree to become stable.
//!
//! Each line of development has its timer: an AnyBranchScheduler's lines are code base, project, repository and branch;
//! a SingleBranchScheduler has one line for all. An important change starts the timer, any change restarts a running
//! one, and when it has run out, all that has come is built at once.
//!
//! Timers outlive the replica: when each was started last is stored with the scheduler's state, and whoever goes on with
//! the scheduler waits for the rest of the time only.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use buildguild_types::{ids::ChangeId, resources::Change, time::Timestamp};
use tokio::time::Instant;

/// What a timer belongs to; nothing for the only line of a SingleBranchScheduler.
pub(crate) type LineKey = Option<(String, String, String, Option<String>)>;

/// The line that a change belongs to.
pub(crate) fn line_of(change: &Change, per_branch: bool) -> LineKey {
    per_branch
        .then(|| (change.codebase.clone(), change.project.clone(), change.repository.clone(), change.branch.clone()))
}

/// A moment on both clocks: that of this process, and that of the world, which other replicas have too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) time: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct Line {
    changes: BTreeSet<ChangeId>,
    due: Option<Instant>,
    /// When the timer was started last.
    since: Timestamp,
}

/// The lines that have waiting changes.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    stable_after: Duration,
    lines: BTreeMap<LineKey, Line>,
}

impl Lines {
    /// No waiting changes yet.
    pub(crate) fn new(stable_after: Duration) -> Self {
        Self { stable_after, lines: BTreeMap::new() }
    }

    /// Adds a classified change.
    pub(crate) fn add(&mut self, line: LineKey, change: ChangeId, important: bool, now: Moment) {
        let line = self.lines.entry(line).or_default();
        line.changes.insert(change);
        if important || line.due.is_some() {
            line.due = Some(now.instant + self.stable_after);
            line.since = now.time;
        }
    }

    /// Goes on with a timer that was started at `since`, perhaps by another replica. Whatever its clock said, nobody
    /// waits for longer than from now on.
    pub(crate) fn resume(&mut self, line: &LineKey, since: Timestamp, now: Moment) {
        if let Some(line) = self.lines.get_mut(line)
            && line.due.is_some()
        {
            line.due = Some(now.instant + self.stable_after.saturating_sub(now.time.since(since)));
            line.since = since.min(now.time);
        }
    }

    /// The running timers, and when each was started last.
    pub(crate) fn timers(&self) -> Vec<(LineKey, Timestamp)> {
        let running = self.lines.iter().filter(|(_, line)| line.due.is_some());
        running.map(|(key, line)| (key.clone(), line.since)).collect()
    }

    /// When the next timer runs out.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.lines.values().filter_map(|line| line.due).min()
    }

    /// A line whose timer has run out, with all its changes.
    pub(crate) fn due(&self, now: Instant) -> Option<(LineKey, Vec<ChangeId>)> {
        self.lines
            .iter()
            .find(|(_, line)| line.due.is_some_and(|due| due <= now))
            .map(|(key, line)| (key.clone(), line.changes.iter().copied().collect()))
    }

    /// Forgets a line: its changes are built.
    pub(crate) fn remove(&mut self, line: &LineKey) {
        self.lines.remove(line);
    }

    /// Forgets everything: the scheduler was disabled.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Moment {
        at(1000)
    }

    fn at(secs: i64) -> Moment {
        Moment { instant: Instant::now(), time: Timestamp::from_secs(secs) }
    }

    fn branch(name: &str) -> LineKey {
        Some((String::new(), String::new(), String::new(), Some(name.to_owned())))
    }

    #[tokio::test(start_paused = true)]
    async fn important_changes_start_a_timer_and_any_change_restarts_it() {
        let mut lines = Lines::new(Duration::from_secs(10));
        lines.add(None, ChangeId(1), false, now());
        assert_eq!(lines.next_due(), None);
        lines.add(None, ChangeId(2), true, now());
        tokio::time::advance(Duration::from_secs(9)).await;
        lines.add(None, ChangeId(3), false, now());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(lines.due(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let (line, changes) = lines.due(Instant::now()).expect("it is due");
        assert_eq!(changes, [ChangeId(1), ChangeId(2), ChangeId(3)]);
        lines.remove(&line);
        assert!(lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn branches_have_timers_of_their_own() {
        let mut lines = Lines::new(Duration::from_secs(10));
        lines.add(branch("a"), ChangeId(1), true, now());
        tokio::time::advance(Duration::from_secs(5)).await;
        lines.add(branch("b"), ChangeId(2), true, now());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(lines.due(Instant::now()), Some((branch("a"), vec![ChangeId(1)])));
        lines.remove(&branch("a"));
        assert_eq!(lines.due(Instant::now()), None);
        assert_eq!(lines.next_due(), Some(Instant::now() + Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_goes_on_where_it_was() {
        let mut before = Lines::new(Duration::from_secs(10));
        before.add(branch("a"), ChangeId(1), true, at(1000));
        before.add(branch("b"), ChangeId(2), false, at(1000));
        let timers = before.timers();
        assert_eq!(timers, [(branch("a"), Timestamp::from_secs(1000))]);
        for (clock, rest) in [(1004, 6), (1060, 0), (900, 10)] {
            let mut lines = Lines::new(Duration::from_secs(10));
            lines.add(branch("a"), ChangeId(1), true, at(clock));
            lines.resume(&timers[0].0, timers[0].1, at(clock));
            assert_eq!(lines.next_due(), Some(Instant::now() + Duration::from_secs(rest)), "{clock}");
        }
    }
}
