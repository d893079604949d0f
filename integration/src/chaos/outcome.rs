//! What a run came to, as REST shows it, and the comparison of two runs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rest::Rest;

/// A request in the words of a user: which revision on which builder.
type What = (String, String);

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The results of each request; more than one for the same is a doubled request.
    pub results: BTreeMap<What, Vec<i64>>,
    /// Per revision, the buildsets.
    pub buildsets: BTreeMap<String, usize>,
    /// Per revision, the changes.
    pub changes: BTreeMap<String, usize>,
    /// How many builds ended as RETRY.
    pub retries: usize,
    /// The keys of the events that told of all this, and about when it happened, in seconds since 1970.
    pub events: BTreeMap<String, i64>,
    /// Builds whose result counts, with their revision.
    pub final_builds: Vec<(i64, String)>,
}

impl Outcome {
    /// Reads it.
    ///
    /// # Errors
    /// If a master does not answer, or something is broken in itself: a build without an end, a request that was
    /// completed without a build that ended with the same result, or after it.
    pub async fn read(rest: &Rest) -> Result<Self> {
        let mut outcome = Self::default();
        let mut revisions = BTreeMap::new();
        let mut submitted: BTreeMap<String, i64> = BTreeMap::new();
        for set in rest.list("buildsets").await? {
            let revision = text(&set["sourcestamps"][0]["revision"]);
            ensure!(set["complete"] == json!(true), "an open buildset: {set}");
            outcome.tell(
                "buildsets",
                &set["bsid"],
                &[("new", &set["submitted_at"]), ("complete", &set["complete_at"])],
            )?;
            let first = submitted.entry(revision.clone()).or_insert(i64::MAX);
            *first = number(&set["submitted_at"])?.min(*first);
            *outcome.buildsets.entry(revision.clone()).or_default() += 1;
            revisions.insert(number(&set["bsid"])?, revision);
        }
        for change in rest.list("changes").await? {
            let revision = text(&change["revision"]);
            // A change shows when it was committed; it came shortly before its buildset.
            let at = submitted.get(&revision).with_context(|| format!("no buildset of {change}"))?;
            outcome.tell("changes", &change["changeid"], &[("new", &json!(at))])?;
            *outcome.changes.entry(revision).or_default() += 1;
        }
        let mut builders = BTreeMap::new();
        for builder in rest.list("builders").await? {
            builders.insert(number(&builder["builderid"])?, text(&builder["name"]));
        }
        let mut builds: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for build in rest.list("builds?order=buildid").await? {
            ensure!(build["complete"] == json!(true), "a zombie: {build}");
            let times = [("new", &build["started_at"]), ("finished", &build["complete_at"])];
            outcome.tell("builds", &build["buildid"], &times)?;
            builds.entry(number(&build["buildrequestid"])?).or_default().push(build);
        }
        for request in rest.list("buildrequests").await? {
            ensure!(request["complete"] == json!(true), "a request that nobody did: {request}");
            let times = [("new", "submitted_at"), ("claimed", "claimed_at"), ("complete", "complete_at")];
            let times = times.map(|(what, at)| (what, &request[at]));
            outcome.tell("buildrequests", &request["buildrequestid"], &times)?;
            let builds = builds.remove(&number(&request["buildrequestid"])?).unwrap_or_default();
            let (last, before) = builds.split_last().with_context(|| format!("no build of {request}"))?;
            ensure!(last["results"] == request["results"], "the last build is not what counts: {last} of {request}");
            ensure!(before.iter().all(|build| build["results"] == json!(5)), "done twice: {builds:?}");
            outcome.retries += before.len();
            let revision = revisions.get(&number(&request["buildsetid"])?).cloned().unwrap_or_default();
            let builder = builders.get(&number(&request["builderid"])?).cloned().unwrap_or_default();
            outcome.final_builds.push((number(&last["buildid"])?, revision.clone()));
            outcome.results.entry((revision, builder)).or_default().push(number(&request["results"])?);
        }
        ensure!(builds.is_empty(), "builds without a request: {builds:?}");
        Ok(outcome)
    }

    fn tell(&mut self, kind: &str, id: &Value, whats: &[(&str, &Value)]) -> Result<()> {
        for (what, at) in whats {
            self.events.insert(format!("{kind}/{id}/{what}"), number(at)?);
        }
        Ok(())
    }

    /// Whether it is what has to come of so many changes: everything once, and nothing left out by how it is read.
    ///
    /// # Errors
    /// What is not.
    pub fn is_whole(&self, changes: usize, builders: usize) -> Result<()> {
        let counts = (self.changes.len(), self.buildsets.len(), self.results.len(), self.final_builds.len());
        ensure!(
            counts == (changes, changes, changes * builders, changes * builders),
            "of {changes} changes: {counts:?}"
        );
        let once = self.changes.values().chain(self.buildsets.values()).all(|count| *count == 1);
        ensure!(once && self.results.values().all(|results| results.len() == 1), "something is there twice");
        let kinds: BTreeSet<&i64> = self.results.values().flatten().collect();
        ensure!(changes < 20 || kinds.len() == 2, "all builds ended alike, so that results tell little: {kinds:?}");
        Ok(())
    }

    /// Compares with what a calm run of the same came to.
    ///
    /// # Errors
    /// All differences.
    pub fn compare(&self, calm: &Self) -> Result<()> {
        let mut differences = Vec::new();
        difference("changes", &calm.changes, &self.changes, &mut differences);
        difference("buildsets", &calm.buildsets, &self.buildsets, &mut differences);
        difference("results", &calm.results, &self.results, &mut differences);
        ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
        Ok(())
    }
}

fn difference<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    calm: &BTreeMap<K, V>,
    this: &BTreeMap<K, V>,
    differences: &mut Vec<String>,
) {
    for key in calm.keys().chain(this.keys()).collect::<BTreeSet<_>>() {
        let (wanted, found) = (calm.get(key), this.get(key));
        if wanted != found {
            differences.push(format!("{what} of {key:?}: {found:?}, in a calm run {wanted:?}"));
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> Result<i64> {
    value.as_i64().with_context(|| format!("{value} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let results =
            [(("r1".to_owned(), "quick".to_owned()), vec![0]), (("r2".to_owned(), "quick".to_owned()), vec![2])];
        let once = BTreeMap::from([("r1".to_owned(), 1), ("r2".to_owned(), 1)]);
        Outcome { results: results.into(), buildsets: once.clone(), changes: once, ..Outcome::default() }
    }

    #[test]
    fn whatever_differs_from_the_calm_run_is_told() {
        let calm = outcome();
        assert!(outcome().compare(&calm).is_ok());
        let key = || ("r2".to_owned(), "quick".to_owned());
        let break_it: [fn(&mut Outcome); 5] = [
            |outcome| outcome.results.clear(),
            |outcome| _ = outcome.changes.insert("r3".to_owned(), 1),
            |outcome| _ = outcome.buildsets.insert("r1".to_owned(), 2),
            |outcome| _ = outcome.buildsets.remove("r1"),
            |outcome| outcome.results.values_mut().for_each(|results| results.push(0)),
        ];
        for broken in break_it {
            let mut this = outcome();
            broken(&mut this);
            assert!(this.compare(&calm).is_err(), "{this:?}");
        }
        let mut other = outcome();
        other.results.insert(key(), vec![0]);
        assert!(other.compare(&calm).is_err());
    }
}
