//! Collapsing waiting requests of a builder, as its policy says.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use buildguild_types::{
    farm::{BuilderConfig, CollapsePolicy, FarmConfig},
    ids::{BuildRequestId, BuilderId},
    resources::BuildRequest,
};

use super::{
    choose::{ChooseError, HEAD},
    collapse::groups,
    views,
};
use crate::{functions::Functions, parts::Parts};

/// How many requests a function compares with the newest one in one wake-up.
const MAX_QUESTIONS: usize = 20;
/// How many answers are remembered.
const MAX_ANSWERS: usize = 10_000;

/// The policy in force for a builder.
pub(crate) fn policy<'a>(farm: &'a FarmConfig, builder: &'a BuilderConfig) -> &'a CollapsePolicy {
    match &builder.collapse_requests {
        CollapsePolicy::Inherit => match &farm.collapse_requests {
            CollapsePolicy::Inherit => &CollapsePolicy::Always,
            policy => policy,
        },
        policy => policy,
    }
}

/// Collapses requests. It sees the head of a queue only; those further behind come to the head in time.
#[derive(Debug, Default)]
pub(crate) struct Collapser {
    /// What a function said about a pair, so that it is asked once.
    answers: Mutex<HashMap<(BuildRequestId, BuildRequestId), bool>>,
    /// The newest request of each builder that was compared with the others; without a newer one there is nothing to do.
    seen: Mutex<HashMap<BuilderId, BuildRequestId>>,
    /// The first and the newest request of each builder at the last look.
    looked: Mutex<HashMap<BuilderId, (BuildRequestId, BuildRequestId)>>,
}

impl Collapser {
    /// Collapses what can be in the head of a builder's queue. Returns that head as it is then, in the order of the
    /// queue.
    ///
    /// # Errors
    /// If the database or a function fails.
    pub(crate) async fn collapse(
        &self,
        parts: &Parts,
        functions: &Functions,
        id: BuilderId,
        builder: &BuilderConfig,
        policy: &CollapsePolicy,
    ) -> Result<Vec<BuildRequest>, ChooseError> {
        let queue = parts.store.claimable(id, HEAD).await?;
        let Some(newest) = queue.iter().map(|r| r.buildrequestid).max().filter(|newest| self.is_new(id, *newest))
        else {
            return Ok(queue);
        };
        let mut head = queue.clone();
        head.sort_by_key(|r| r.buildrequestid);
        let groups = match policy {
            CollapsePolicy::Never => return Ok(queue),
            _ if head.len() < 2 => Vec::new(),
            CollapsePolicy::Always | CollapsePolicy::Inherit => {
                let ids: Vec<_> = head.iter().map(|r| r.buildrequestid).collect();
                let candidates = super::collapse::candidates(parts.store.request_stamps(&ids).await?);
                groups(&candidates)
            }
            CollapsePolicy::Callable(function) => self.ask(parts, functions, id, builder, function, &head).await?,
        };
        let mut gone = BTreeSet::new();
        for (keep, replaced) in groups {
            gone.extend(parts.store.collapse(keep, &replaced).await?.into_iter().map(|r| r.buildrequestid));
        }
        parts.figures.collapsed.inc_by(gone.len() as u64);
        self.seen().insert(id, newest);
        Ok(queue.into_iter().filter(|r| !gone.contains(&r.buildrequestid)).collect())
    }

    /// Asks a function about the newest request and each older one.
    async fn ask(
        &self,
        parts: &Parts,
        functions: &Functions,
        id: BuilderId,
        builder: &BuilderConfig,
        function: &buildguild_types::render::CallableRef,
        head: &[BuildRequest],
    ) -> Result<Vec<(BuildRequestId, Vec<BuildRequestId>)>, ChooseError> {
        let Some((newest, older)) = head.split_last() else { return Ok(Vec::new()) };
        let mut replaced = Vec::new();
        let mut asked = 0;
        for candidate in older.iter().rev() {
            let pair = (newest.buildrequestid, candidate.buildrequestid);
            let known = self.answers().get(&pair).copied();
            let answer = match known {
                Some(answer) => answer,
                None if asked == MAX_QUESTIONS => break,
                None => {
                    asked += 1;
                    let mut both = Vec::new();
                    for request in [newest, candidate] {
                        let properties = parts.store.buildset_properties(request.buildsetid).await?;
                        both.push(views::request(request, Some(&properties)));
                    }
                    let mut args = vec![serde_json::Value::Null, views::builder(id, builder)];
                    args.append(&mut both);
                    let answer = functions.is_true(function, args).await?;
                    let mut answers = self.answers();
                    if answers.len() >= MAX_ANSWERS {
                        answers.clear();
                    }
                    answers.insert(pair, answer);
                    answer
                }
            };
            if answer {
                replaced.push(candidate.buildrequestid);
            }
        }
        Ok(if replaced.is_empty() { Vec::new() } else { vec![(newest.buildrequestid, replaced)] })
    }

    /// Whether a builder's queue is another one than at the last look: only then there can be something to do.
    pub(crate) fn is_changed(&self, builder: BuilderId, first: BuildRequestId, newest: BuildRequestId) -> bool {
        self.looked().get(&builder) != Some(&(first, newest))
    }

    /// Notes that a builder's queue was looked at.
    pub(crate) fn has_looked(&self, builder: BuilderId, first: BuildRequestId, newest: BuildRequestId) {
        self.looked().insert(builder, (first, newest));
    }

    fn looked(&self) -> std::sync::MutexGuard<'_, HashMap<BuilderId, (BuildRequestId, BuildRequestId)>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a builder has a request that was not compared yet.
    fn is_new(&self, builder: BuilderId, newest: BuildRequestId) -> bool {
        self.seen().get(&builder).is_none_or(|seen| newest > *seen)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<BuilderId, BuildRequestId>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, HashMap<(BuildRequestId, BuildRequestId), bool>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
