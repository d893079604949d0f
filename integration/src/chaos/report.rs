//! What a run says of itself.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::Run;
use super::cast::Cast;
use super::faults::{Fault, KINDS};
use super::outcome::Outcome;
use crate::subscriber::Subscriber;

/// The report of a run, in Markdown.
#[derive(Clone, Debug)]
pub struct Report {
    run: Run,
    faults: Vec<(Duration, Option<Duration>, Fault)>,
    published: Option<Duration>,
    built: Option<Duration>,
    lines: Vec<String>,
}

impl Report {
    pub(super) fn new(run: Run) -> Self {
        Self { run, faults: Vec::new(), published: None, built: None, lines: Vec::new() }
    }

    pub(super) fn began(&mut self, at: Duration, fault: Fault) {
        self.faults.push((at, None, fault));
    }

    pub(super) fn ended(&mut self, at: Duration) {
        if let Some((_, end, _)) = self.faults.last_mut() {
            *end = Some(at);
        }
    }

    pub(super) fn all_published(&mut self, at: Duration) {
        self.published = Some(at);
    }

    pub(super) fn all_built(&mut self, at: Duration) {
        self.built = Some(at);
    }

    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        let requests = outcome.final_builds.len();
        self.lines.push(format!(
            "- {} changes, {} buildsets, {requests} requests: each completed once, with the result of the calm run; {} \
             builds were retried.",
            outcome.changes.len(),
            outcome.buildsets.len(),
            outcome.retries
        ));
    }

    pub(super) fn news(&mut self, cast: &Cast, events: usize, missing: usize, resets: usize) {
        let total: u64 = cast.subscribers.iter().map(Subscriber::total).sum();
        let connections: u64 = cast.subscribers.iter().map(Subscriber::connections).sum();
        self.lines.push(format!(
            "- {events} events had to be heard outside, {missing} were not and had to be covered by one of {resets} resets; {total} \
             deliveries over {connections} connections."
        ));
    }

    /// How many faults of a kind there were.
    pub fn count(&self, kind: &str) -> usize {
        self.faults.iter().filter(|(_, _, fault)| fault.kind() == kind).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.run.size;
        let mut counts = String::new();
        for kind in KINDS {
            if self.count(kind) > 0 {
                let _ = write!(counts, "{}{} × {kind}", if counts.is_empty() { "" } else { ", " }, self.count(kind));
            }
        }
        writeln!(
            f,
            "- seed {}, {} masters, {} workers, broker {:?}, a master expires after {:?}",
            self.run.seed, size.masters, size.workers, size.broker, size.expire
        )?;
        writeln!(f, "- {} faults in {:.0?}: {counts}", self.faults.len(), self.run.duration)?;
        if let (Some(published), Some(built)) = (self.published, self.built) {
            writeln!(
                f,
                "- all was built {:.1?} after the last change was published and the last fault ended",
                built.saturating_sub(published)
            )?;
        }
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f)?;
        writeln!(f, "| at | until | fault |\n|---|---|---|")?;
        for (at, until, fault) in &self.faults {
            let until = until.map_or_else(|| "-".to_owned(), |until| format!("{:.1}", until.as_secs_f64()));
            writeln!(f, "| {:.1} | {until} | {fault} |", at.as_secs_f64())?;
        }
        Ok(())
    }
}
