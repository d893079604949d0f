//! What a run says of itself.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use super::Run;
use super::cast::Cast;
use super::faults::{Fault, KINDS};
use super::news::seconds;
use super::outcome::Outcome;
use crate::subscriber::Subscriber;

/// A fault that was committed: from when until when, since the beginning.
#[derive(Clone, Copy, Debug)]
struct Committed {
    from: Duration,
    until: Option<Duration>,
    fault: Fault,
}

/// The report of a run, in Markdown.
#[derive(Clone, Debug)]
pub struct Report {
    run: Run,
    began: SystemTime,
    faults: Vec<Committed>,
    published: Option<Duration>,
    built: Option<Duration>,
    lines: Vec<String>,
    is_good: bool,
}

impl Report {
    pub(super) fn new(run: Run) -> Self {
        let (faults, lines) = (Vec::new(), Vec::new());
        Self { run, began: SystemTime::now(), faults, published: None, built: None, lines, is_good: false }
    }

    pub(super) fn begins(&mut self) {
        self.began = SystemTime::now();
    }

    /// A fault begins; gives its number.
    pub(super) fn began(&mut self, from: Duration, fault: Fault) -> usize {
        self.faults.push(Committed { from, until: None, fault });
        self.faults.len() - 1
    }

    pub(super) fn ended(&mut self, number: usize, at: Duration) {
        if let Some(committed) = self.faults.get_mut(number) {
            committed.until = Some(at);
        }
    }

    pub(super) fn all_published(&mut self, at: Duration) {
        self.published = Some(at);
    }

    pub(super) fn all_built(&mut self, at: Duration) {
        self.built = Some(at);
    }

    /// When there were faults of some kinds, in seconds since 1970: from, until.
    pub(super) fn times(&self, kinds: impl Fn(Fault) -> bool) -> Vec<(i64, i64)> {
        let at = |since: Duration| seconds(self.began + since);
        let faults = self.faults.iter().filter(|committed| kinds(committed.fault));
        faults.map(|fault| (at(fault.from), at(fault.until.unwrap_or(fault.from)))).collect()
    }

    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        let requests = outcome.final_builds.len();
        self.lines.push(format!(
            "- {} changes, {} buildsets, {requests} requests, {} builds: each request was completed once, with the result of \
             the calm run, and {} builds had ended as RETRY before.",
            outcome.changes.len(),
            outcome.buildsets.len(),
            requests + outcome.retries,
            outcome.retries
        ));
    }

    pub(super) fn logs(&mut self, logs: usize) {
        self.lines.push(format!("- {logs} logs were read, and are whole."));
    }

    pub(super) fn masters(&mut self, cast: &Cast) {
        let starts: u32 = cast.cluster.masters.iter().map(crate::master::MasterProcess::starts).sum();
        self.lines.push(format!(
            "- masters were started {starts} times: {} of them because one had ended by itself, as the database went away while \
             it started; {} times one was killed that had not left 20 s after it was asked to.",
            cast.revived, cast.stayed
        ));
    }

    pub(super) fn news(&mut self, group: &[Subscriber], events: usize, missing: usize, strict: usize) {
        let sum = |count: fn(&Subscriber) -> u64| group.iter().map(count).sum::<u64>();
        let resets: usize = group.iter().map(|outsider| outsider.resets().len()).sum();
        self.lines.push(format!(
            "- outside, over {} connections: {} of {events} events heard at least once, {missing} covered by one of {resets} \
             resets ({strict} events happened at times for which no reset could stand); {} deliveries of all kinds.",
            sum(Subscriber::connections),
            events - missing,
            sum(Subscriber::total)
        ));
    }

    pub(super) fn afterwards(&mut self, took: Duration) {
        self.lines.push(format!(
            "- afterwards all masters were ready and heard the broker, each worker was connected once, and one more change was \
             built and heard of everywhere within {took:.1?}."
        ));
    }

    pub(super) fn is_good(&mut self) {
        self.is_good = true;
    }

    /// How many faults of a kind there were.
    pub fn count(&self, kind: &str) -> usize {
        self.faults.iter().filter(|committed| committed.fault.kind() == kind).count()
    }

    /// All but the table of faults.
    pub fn summary(&self) -> String {
        let size = self.run.size;
        let mut text = format!(
            "- seed {}, {} masters, {} workers, broker {:?}, a master expires after {:?}\n",
            self.run.seed, size.masters, size.workers, size.broker, size.expire
        );
        let kinds = KINDS.into_iter().filter(|kind| self.count(kind) > 0);
        let counts: Vec<String> = kinds.map(|kind| format!("{} × {kind}", self.count(kind))).collect();
        let _ = writeln!(text, "- {} faults in {:.0?}: {}", self.faults.len(), self.run.duration, counts.join(", "));
        if let (Some(published), Some(built)) = (self.published, self.built) {
            let took = built.saturating_sub(published);
            let _ = writeln!(
                text,
                "- all was built {took:.1?} after the last change was published and the last fault ended"
            );
        }
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        let verdict = if self.is_good { "nothing differs from the calm run, nothing is stuck" } else { "FAILED" };
        let _ = writeln!(text, "- verdict: {verdict}");
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        writeln!(f, "| at | until | fault |\n|---|---|---|")?;
        for Committed { from, until, fault } in &self.faults {
            let until = until.map_or_else(|| "-".to_owned(), |until| format!("{:.1}", until.as_secs_f64()));
            writeln!(f, "| {:.1} | {until} | {fault} |", from.as_secs_f64())?;
        }
        Ok(())
    }
}
