//! What was heard outside: everything, or a reset for it.
//!
//! A reset says: fetch again. It stands for what happened before it, and it is told only where the log was lost. So
//! each reset has to follow a wipe, and an event may be missing only if it was published after the last one that was heard
//! before the reset, or about the time of the wipe. While the broker is away events wait, so one may be published much
//! later than it happened.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::Run;
use super::cast::Cast;
use super::faults::Fault;
use super::outcome::Outcome;
use super::report::Report;
use crate::broker::Broker;
use crate::subscriber::{Reset, Subscriber};
use crate::waiting::wait_for;

/// An event waits for so long, at most, until it is published when the broker is there: its master, or the database, or
/// the link to the broker was away.
const LAG_SECS: i64 = 20;

/// So long after the broker is back, all that waited for it is published, unless it ends again before.
const CATCH_UP_SECS: i64 = 8;

/// How soon a reset is told, at the latest, after the broker is back without the log.
const TOLD_SECS: i64 = 45;

/// How long outsiders may take to hear the last events.
const PATIENCE: Duration = Duration::from_secs(120);

/// A time in seconds since 1970, as REST shows times.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Every event was heard outside, or a reset was told instead.
pub(super) async fn judge_news(run: &Run, cast: &Cast, report: &mut Report, outcome: &Outcome) -> Result<()> {
    let (wipes, outages) = (report.times(Fault::is_wipe), report.times(Fault::ends_broker));
    // Where each master hears only itself, an event is heard at one of them.
    let groups: Vec<&[Subscriber]> = match run.size.broker {
        Broker::Memory => vec![&cast.subscribers],
        Broker::Redis | Broker::RabbitMq => cast.subscribers.chunks(1).collect(),
    };
    // Whether one of them misses something or all do tells whether it was lost on its way in or on its way out.
    let mut deaf = Vec::new();
    for (number, group) in groups.into_iter().enumerate() {
        let who = format!("outsider {number}");
        let windows = || -> Result<Vec<(i64, i64)>> {
            let resets: Vec<Gap> = group.iter().flat_map(Subscriber::resets).map(Gap::from).collect();
            match run.size.broker {
                // A master's log ends with it, and it may end by itself when the database is away.
                Broker::Memory => Ok(resets.into_iter().map(|gap| (gap.told - LAG_SECS, gap.told)).collect()),
                Broker::Redis | Broker::RabbitMq => covered(&wipes, &outages, &resets).with_context(|| who.clone()),
            }
        };
        let count = |key: &str| group.iter().map(|outsider| outsider.count(key)).sum();
        let heard = wait_for("all events are heard", PATIENCE, async || {
            Ok(never_heard(&outcome.events, count, &windows()?).is_empty().then_some(()))
        })
        .await;
        let lost = never_heard(&outcome.events, count, &windows()?);
        if heard.is_err() {
            let resets: Vec<Reset> = group.iter().flat_map(Subscriber::resets).collect();
            let (excused, lost, some) = (windows()?, lost.len(), first(&lost));
            deaf.push(format!("{who} never heard {lost} events, among them {some:?}; {resets:?} excuse {excused:?}"));
        }
        let missing = never_heard(&outcome.events, count, &[]);
        let strict = never_heard(&outcome.events, |_| 0, &windows()?);
        report.news(group, outcome.events.len(), missing.len(), strict.len());
    }
    ensure!(deaf.is_empty(), "{}", deaf.join("\n"));
    Ok(())
}

fn first(keys: &[(String, i64)]) -> &[(String, i64)] {
    keys.get(..keys.len().min(20)).unwrap_or_default()
}

/// What one reset stands for, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// When the last event before it was heard.
    heard: i64,
    told: i64,
}

impl From<Reset> for Gap {
    fn from(reset: Reset) -> Self {
        Self { heard: seconds(reset.last_event.unwrap_or(UNIX_EPOCH)), told: seconds(reset.told) }
    }
}

/// The times of which events may be missing, as resets were told for them.
fn covered(wipes: &[(i64, i64)], outages: &[(i64, i64)], resets: &[Gap]) -> Result<Vec<(i64, i64)>> {
    ensure!(wipes.is_empty() || !resets.is_empty(), "the broker was wiped, but no reset was told");
    let mut windows = Vec::new();
    for Gap { heard, told } in resets {
        let mut cause =
            wipes.iter().filter(|(begin, end)| begin <= told && *told <= told_until(*end, outages)).peekable();
        ensure!(cause.peek().is_some(), "a reset was told at {told}, but wipes were only at {wipes:?}");
        windows.extend(cause.map(|(begin, _)| (happened_since(*begin.min(heard), outages), *told)));
    }
    Ok(windows)
}

/// Until when a reset is told, at the latest, for a log that was lost until `end`. What ends the broker once more before all
/// have noticed gives them time until it is back again.
fn told_until(end: i64, outages: &[(i64, i64)]) -> i64 {
    let until = end + TOLD_SECS;
    let again = outages.iter().filter(|(begin, back)| end < *back && *begin <= until);
    again.map(|(_, back)| told_until(*back, outages)).max().unwrap_or(until).max(until)
}

/// When the earliest of the events can have happened that were published at `published` or later.
fn happened_since(published: i64, outages: &[(i64, i64)]) -> i64 {
    let since = published - LAG_SECS;
    let waited = outages.iter().filter(|(begin, end)| *begin < published && published - CATCH_UP_SECS <= *end);
    // One outage may follow the other before all that waited is published.
    waited.map(|(begin, _)| happened_since(*begin, outages)).min().unwrap_or(since).min(since)
}

/// Events that were not heard, with their times, except for those within the windows.
fn never_heard(
    events: &BTreeMap<String, i64>,
    count: impl Fn(&str) -> u64,
    windows: &[(i64, i64)],
) -> Vec<(String, i64)> {
    // A change is known to have come before its buildset only, from which a crash of the database may part it.
    let earliest = |key: &str, at: i64| if key.starts_with("changes/") { at - LAG_SECS } else { at };
    let is_covered = |key: &str, at: i64| windows.iter().any(|(from, to)| *from <= at && earliest(key, at) <= *to);
    let lost = events.iter().filter(|(key, at)| count(key) == 0 && !is_covered(key, **at));
    lost.map(|(key, at)| (key.clone(), *at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_covers_what_happened_about_the_wipe_and_nothing_else() -> Result<()> {
        let windows = covered(&[(1000, 1005)], &[], &[Gap { heard: 1000, told: 1010 }])?;
        let events = [("builds/1/new", 900), ("builds/2/new", 1003), ("builds/3/new", 1011), ("builds/4/new", 1300)];
        let events = events.map(|(key, at)| (key.to_owned(), at)).into();
        let lost = never_heard(&events, |key| u64::from(key == "builds/4/new"), &windows);
        assert_eq!(lost, [("builds/1/new".to_owned(), 900), ("builds/3/new".to_owned(), 1011)]);
        Ok(())
    }

    #[test]
    fn one_who_was_behind_loses_what_it_had_not_heard_when_the_log_was_wiped() -> Result<()> {
        let windows = covered(&[(1000, 1005)], &[], &[Gap { heard: 950, told: 1010 }])?;
        let events = [("builds/1/new", 920), ("builds/2/new", 951)].map(|(key, at)| (key.to_owned(), at)).into();
        assert_eq!(never_heard(&events, |_| 0, &windows), [("builds/1/new".to_owned(), 920)]);
        Ok(())
    }

    #[test]
    fn what_waited_while_the_broker_was_away_is_lost_with_what_came_after_it() {
        let outages = [(700, 720), (900, 932), (940, 970)];
        assert_eq!(
            happened_since(978, &outages),
            880,
            "in time neither for the last outage's end nor for the one before"
        );
        assert_eq!(happened_since(979, &outages), 959);
        assert_eq!(happened_since(899, &outages), 879);
    }

    #[test]
    fn a_change_may_have_come_some_time_before_its_buildset() {
        let events = [("buildsets/1/new", 1020), ("changes/1/new", 1020), ("changes/2/new", 1060)];
        let events = events.map(|(key, at)| (key.to_owned(), at)).into();
        let lost = never_heard(&events, |_| 0, &[(990, 1010)]);
        assert_eq!(lost, [("buildsets/1/new".to_owned(), 1020), ("changes/2/new".to_owned(), 1060)]);
    }

    #[test]
    fn a_broker_that_ends_again_gives_time_until_it_is_back() {
        let outages = [(880, 900), (914, 934), (979, 999), (1060, 1080)];
        assert_eq!(told_until(900, &outages), 999 + TOLD_SECS);
        assert_eq!(told_until(900, &outages[..1]), 900 + TOLD_SECS);
    }

    #[test]
    fn resets_without_a_wipe_and_wipes_without_a_reset_are_wrong() {
        let told = |told| Gap { heard: told - 5, told };
        assert!(covered(&[], &[], &[told(1010)]).is_err());
        assert!(covered(&[(1000, 1005)], &[], &[told(990)]).is_err());
        assert!(covered(&[(1000, 1005)], &[], &[]).is_err());
        assert!(covered(&[], &[], &[]).is_ok());
    }
}
