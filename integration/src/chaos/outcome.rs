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
    /// The keys of the events that told of all this.
    pub events: BTreeSet<String>,
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
        for change in rest.list("changes").await? {
            outcome.tell("changes", &change["changeid"], &["new"]);
            *outcome.changes.entry(text(&change["revision"])).or_default() += 1;
        }
        let mut revisions = BTreeMap::new();
        for set in rest.list("buildsets").await? {
            let revision = text(&set["sourcestamps"][0]["revision"]);
            ensure!(set["complete"] == json!(true), "an open buildset: {set}");
            outcome.tell("buildsets", &set["bsid"], &["new", "complete"]);
            *outcome.buildsets.entry(revision.clone()).or_default() += 1;
            revisions.insert(number(&set["bsid"])?, revision);
        }
        let mut builders = BTreeMap::new();
        for builder in rest.list("builders").await? {
            builders.insert(number(&builder["builderid"])?, text(&builder["name"]));
        }
        let mut builds: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for build in rest.list("builds?order=buildid").await? {
            ensure!(build["complete"] == json!(true), "a zombie: {build}");
            outcome.tell("builds", &build["buildid"], &["new", "finished"]);
            builds.entry(number(&build["buildrequestid"])?).or_default().push(build);
        }
        for request in rest.list("buildrequests").await? {
            ensure!(request["complete"] == json!(true), "a request that nobody did: {request}");
            outcome.tell("buildrequests", &request["buildrequestid"], &["new", "claimed", "complete"]);
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

    fn tell(&mut self, kind: &str, id: &Value, whats: &[&str]) {
        self.events.extend(whats.iter().map(|what| format!("{kind}/{id}/{what}")));
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
