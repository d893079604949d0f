//! One look at the remote: which references moved, and which commits are new because of that.
//!
//! The rules are those that Buildbot's GitPoller shows from outside. The first poll records the heads and reports
//! nothing. Later, a commit is new if no head that was known before the poll has it, and it is reported once, for the
//! first reference (by name) that brings it. A reference that moved without new commits is a change of its own only
//! with `buildPushesWithNoCommits`. A reference that disappeared is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    command::GitError,
    mirror::{Mirror, RemoteRef},
};

/// The last seen head of every polled reference, by full name. It is kept in the database.
pub(crate) type Heads = BTreeMap<String, String>;

/// New commits of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    /// The reference.
    pub(crate) reference: String,
    /// The commits to report, oldest first; never empty.
    pub(crate) revisions: Vec<String>,
}

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The heads to remember once the pushes are reported.
    pub(crate) heads: Heads,
    /// What is new, in the order in which to report it.
    pub(crate) pushes: Vec<Push>,
}

impl Findings {
    /// What to remember when the pushes before `push` and the first `count` revisions of it are reported, so that a
    /// later poll goes on exactly there.
    pub(crate) fn heads_after(&self, before: &Heads, push: usize, count: usize) -> Heads {
        let mut heads: Heads = before.clone();
        heads.retain(|name, _| self.heads.contains_key(name));
        for (i, p) in self.pushes.iter().enumerate() {
            if i < push || (i == push && count == p.revisions.len()) {
                if let Some(head) = self.heads.get(&p.reference) {
                    heads.insert(p.reference.clone(), head.clone());
                }
            } else if i == push && count > 0 {
                heads.insert(p.reference.clone(), p.revisions[count - 1].clone());
            }
        }
        heads
    }
}

/// Fetches the selected references and compares them with what was known. `before` is `None` at the first poll ever.
///
/// # Errors
/// If git fails. Nothing is remembered then, and the next poll sees the same again.
pub(crate) async fn poll(
    mirror: &Mirror,
    selected: &[RemoteRef],
    before: Option<&Heads>,
    report_pushes_without_commits: bool,
) -> Result<Findings, GitError> {
    let now = mirror.fetch(selected).await?;
    let heads: Heads = now.iter().map(|r| (r.name.clone(), r.revision.clone())).collect();
    let Some(before) = before else {
        return Ok(Findings { heads, pushes: Vec::new() });
    };
    let mut known: BTreeSet<String> = before.values().cloned().collect();
    let mut pushes = Vec::new();
    for remote in &now {
        let last = before.get(&remote.name);
        if last == Some(&remote.revision) {
            continue;
        }
        let orphaned = match last {
            Some(last) => !mirror.ensure_commit(last).await,
            None => false,
        };
        let mut revisions = if orphaned {
            // The old head is gone here and there, so what is new cannot be told. Reporting all of the history would
            // flood the farm; the head is what matters.
            tracing::warn!(reference = remote.name, "the last seen head is gone, only the new head is reported");
            if known.contains(&remote.revision) { Vec::new() } else { vec![remote.revision.clone()] }
        } else {
            mirror.new_commits(&remote.revision, &known).await?
        };
        if revisions.is_empty() && report_pushes_without_commits {
            revisions.push(remote.revision.clone());
        }
        known.insert(remote.revision.clone());
        if !revisions.is_empty() {
            pushes.push(Push { reference: remote.name.clone(), revisions });
        }
    }
    Ok(Findings { heads, pushes })
}
