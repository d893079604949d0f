//! The running poller: when to look, what to make of what is found, and how to remember it.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use buildguild_config::CallError;
use buildguild_data::StateKey;
use buildguild_db::{DbError, Owner, changes::NewChange};
use buildguild_types::{
    farm::{BranchSelection, GitPollerConfig, OrCallable},
    ids::ChangeSourceId,
    properties::Properties,
    render::Renderable,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    command::{Git, GitError},
    history::Commit,
    mirror::{Listing, Mirror, RemoteRef, branch_name},
    poll::{Findings, Heads, poll},
};
use crate::{change_sources::revlink::default_revlink, functions::Functions, parts::Parts};

/// The limit for one call of git. The first fetch of a large repository takes its time.
const GIT_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How many changes are added in one transaction.
const BATCH: usize = 200;
/// So many polls in a row that fail are taken for a trouble of this replica (a full disk, no credentials), which another one
/// may not have. One or two happen when a server is restarted, and to move costs the other one a fetch of everything.
const FAILURES_TO_GIVE_UP: u32 = 3;

/// Why a poll failed. The next one tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the repository's address needs a secret or a property, which is not possible here")]
    Address,
    #[error("the function for '{argument}' gave {value}, not a text")]
    NotText { argument: &'static str, value: Value },
    #[error("{FAILURES_TO_GIVE_UP} polls in a row failed")]
    GivenUp,
}

impl PollError {
    /// Whether the poller may not go on: its lease is lost.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_fenced())
    }

    /// Whether another replica is to try: this one failed again and again.
    pub(crate) const fn is_given_up(&self) -> bool {
        matches!(self, Self::GivenUp)
    }

    /// Whether it may be this replica's trouble. What is wrong with the database or the configuration is so everywhere.
    const fn may_be_local(&self) -> bool {
        match self {
            Self::Git(_) => true,
            Self::Db(_) | Self::Call(_) | Self::Address | Self::NotText { .. } | Self::GivenUp => false,
        }
    }
}

/// A Git poller on the replica that holds its lease.
pub(crate) struct GitPoller {
    parts: Arc<Parts>,
    id: ChangeSourceId,
    owner: Owner,
    name: String,
    config: GitPollerConfig,
}

/// What a poller remembers in memory only.
#[derive(Default)]
struct Memory {
    mirror: Option<Mirror>,
    /// What the last poll saw at the remote; the same again means that there is nothing to do.
    seen: Option<Vec<RemoteRef>>,
    /// What the function said about each reference, so that it is asked once.
    selected: HashMap<String, bool>,
}

impl GitPoller {
    pub(crate) fn new(
        parts: Arc<Parts>,
        id: ChangeSourceId,
        owner: Owner,
        name: String,
        config: GitPollerConfig,
    ) -> Self {
        Self { parts, id, owner, name, config }
    }

    /// Polls until it is cancelled. A poll that fails is reported and does not end the loop, unless several do in a row and
    /// there are other masters.
    ///
    /// # Errors
    /// If the lease is lost, or is to be given up.
    pub(crate) async fn run(&self, cancel: &CancellationToken) -> Result<(), PollError> {
        let interval = Duration::from_secs(self.config.poll_interval_secs);
        let mut memory = Memory::default();
        let mut failures = 0_u32;
        let mut next = Instant::now() + if self.config.poll_at_launch { Duration::ZERO } else { interval };
        if self.config.poll_interval_secs == 0 && !self.config.poll_at_launch {
            // Only asked for from outside, which change hooks bring.
            cancel.cancelled().await;
            return Ok(());
        }
        next += self.random_delay();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(next) => {}
            }
            let polled = tokio::select! {
                // Dropping the poll kills its git; what was not committed is found again.
                () = cancel.cancelled() => return Ok(()),
                polled = self.poll(&mut memory) => polled,
            };
            let outcome = if polled.is_ok() { "ok" } else { "failed" };
            self.parts.figures.polls.with_label_values(&[outcome]).inc();
            if polled.is_ok() {
                failures = 0;
            }
            if let Err(error) = polled {
                memory.seen = None;
                if error.is_fatal() {
                    return Err(error);
                }
                let (name, cause) = (self.name.as_str(), describe(&error));
                failures = if error.may_be_local() { failures.saturating_add(1) } else { 0 };
                if failures >= FAILURES_TO_GIVE_UP && self.parts.store.has_others(self.owner).await {
                    tracing::warn!(
                        changesource.name = name,
                        error = cause,
                        "{failures} polls of {name} in a row failed here; it is left to another master: {cause}"
                    );
                    return Err(PollError::GivenUp);
                }
                tracing::warn!(changesource.name = name, error = cause, "poll of {name} failed");
            }
            if self.config.poll_interval_secs == 0 {
                cancel.cancelled().await;
                return Ok(());
            }
            // Late polls are not made up for; a slow remote must not be polled in a row.
            let now = Instant::now();
            while next <= now {
                next += interval;
            }
            next += self.random_delay();
        }
    }

    fn random_delay(&self) -> Duration {
        let low = self.config.poll_random_delay_min_secs;
        let high = self.config.poll_random_delay_max_secs.max(low);
        if high == 0 {
            return Duration::ZERO;
        }
        let span_ms = (high - low) * 1000 + 1;
        Duration::from_millis(low * 1000 + (uuid::Uuid::new_v4().as_u64_pair().0 % span_ms))
    }

    fn key(&self) -> StateKey {
        StateKey { object: self.name.clone(), class_name: "GitPoller".to_owned(), name: "lastRev".to_owned() }
    }

    fn address(&self) -> Result<String, PollError> {
        match &self.config.repourl {
            Renderable::Literal { value: Value::String(url) } => Ok(url.clone()),
            _ => Err(PollError::Address),
        }
    }

    /// The directory of the local copy: one per poller, below the configured one.
    fn directory(&self) -> PathBuf {
        let base = self.parts.basedir.join(self.config.workdir.as_deref().unwrap_or("gitpoller-work"));
        base.join(format!("{}-{}.git", self.id, buildguild_types::identifier::force_identifier(50, &self.name)))
    }

    async fn mirror(&self) -> Result<Mirror, PollError> {
        let mut env = Vec::new();
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            env.push(("GIT_SSH_COMMAND".to_owned(), "ssh -o BatchMode=yes".into()));
        }
        let git = Git { program: self.config.gitbin.clone().into(), dir: self.directory(), env, limit: GIT_LIMIT };
        Ok(Mirror::open(git, self.address()?).await?)
    }

    async fn poll(&self, memory: &mut Memory) -> Result<(), PollError> {
        let functions = self.parts.functions();
        let mirror = match memory.mirror.take() {
            Some(mirror) => mirror,
            None => self.mirror().await?,
        };
        let refs = self.select(&mirror, &functions, &mut memory.selected).await?;
        memory.mirror = Some(mirror.clone());
        if memory.seen.as_ref() == Some(&refs) {
            return Ok(());
        }
        let stored = self.parts.store.state(&self.key()).await?;
        let before: Option<Heads> = stored.and_then(|value| serde_json::from_value(value).ok());
        let findings = poll(&mirror, &refs, before.as_ref(), self.config.build_pushes_with_no_commits).await?;
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        self.report(&mirror, &functions, &before, &findings).await?;
        if is_first {
            let (name, heads) = (self.name.as_str(), refs.len());
            tracing::info!(changesource.name = name, "first poll of {name}: {heads} heads noted, changes from now on");
        }
        memory.seen = Some(refs);
        Ok(())
    }

    /// The references to poll, as the remote has them now.
    async fn select(
        &self,
        mirror: &Mirror,
        functions: &Functions,
        known: &mut HashMap<String, bool>,
    ) -> Result<Vec<RemoteRef>, PollError> {
        if self.config.only_tags {
            return Ok(mirror.ls_remote(Listing::Tags).await?);
        }
        match &self.config.branches {
            BranchSelection::All => Ok(mirror.ls_remote(Listing::Heads).await?),
            BranchSelection::Default => {
                let Some(default) = mirror.default_branch().await? else { return Ok(Vec::new()) };
                let mut refs = mirror.ls_remote(Listing::Heads).await?;
                refs.retain(|r| r.name == default);
                Ok(refs)
            }
            BranchSelection::List(names) => {
                let wanted = |r: &RemoteRef| names.iter().any(|n| *n == r.name || n == branch_name(&r.name));
                let others = names.iter().any(|n| n.starts_with("refs/") && !n.starts_with("refs/heads/"));
                let mut refs = mirror.ls_remote(if others { Listing::All } else { Listing::Heads }).await?;
                refs.retain(wanted);
                Ok(refs)
            }
            BranchSelection::Callable(function) => {
                let mut selected = Vec::new();
                for reference in mirror.ls_remote(Listing::All).await? {
                    let wanted = match known.get(&reference.name) {
                        Some(wanted) => *wanted,
                        None => {
                            let wanted = functions.is_true(function, vec![json!(reference.name)]).await?;
                            known.insert(reference.name.clone(), wanted);
                            wanted
                        }
                    };
                    if wanted {
                        selected.push(reference);
                    }
                }
                Ok(selected)
            }
        }
    }

    /// Adds the changes, oldest first, in batches; each transaction also stores how far it came.
    async fn report(
        &self,
        mirror: &Mirror,
        functions: &Functions,
        before: &Heads,
        findings: &Findings,
    ) -> Result<(), PollError> {
        let store = &self.parts.store;
        let key = self.key();
        let decode = |bytes: &[u8]| decode(&self.config.encoding, bytes);
        let mut stored = before.clone();
        for (number, push) in findings.pushes.iter().enumerate() {
            let mut done = 0;
            for revisions in push.revisions.chunks(BATCH) {
                let commits = mirror.commits(revisions, &decode).await?;
                let mut changes = Vec::with_capacity(commits.len());
                for commit in commits {
                    changes.push(self.change(functions, branch_name(&push.reference), commit).await?);
                }
                done += revisions.len();
                stored = findings.heads_after(before, number, done);
                store.add_polled_changes(self.owner, self.id, &changes, &key, &json!(stored)).await?;
                self.parts.figures.changes.inc_by(changes.len() as u64);
            }
        }
        if stored != findings.heads || (before.is_empty() && findings.pushes.is_empty()) {
            store.add_polled_changes(self.owner, self.id, &[], &key, &json!(findings.heads)).await?;
        }
        Ok(())
    }

    async fn change(&self, functions: &Functions, branch: &str, commit: Commit) -> Result<NewChange, PollError> {
        let repository = self.address()?;
        let farm = self.parts.farm();
        let revlink = match &farm.farm.revlink {
            None => default_revlink(&commit.revision, &repository),
            Some(function) => {
                let args = vec![json!(commit.revision), json!(repository)];
                text("revlink", functions.call(function, args).await?)?.unwrap_or_default()
            }
        };
        let mut change = NewChange {
            author: commit.author,
            committer: Some(commit.committer),
            comments: commit.comments,
            files: commit.files,
            revision: Some(commit.revision),
            when_micros: self.config.use_timestamps.then(|| commit.committed_at.saturating_mul(1_000_000)),
            branch: Some(branch.to_owned()),
            category: None,
            revlink: Some(revlink),
            properties: Properties::new(),
            repository,
            project: self.config.project.clone(),
            codebase: String::new(),
            user: None,
        };
        change.category = match &self.config.category {
            None => None,
            Some(OrCallable::Value(category)) => Some(category.clone()),
            Some(OrCallable::Callable(function)) => {
                text("category", functions.call(function, vec![json!(change)]).await?)?
            }
        };
        change.codebase = match (&self.config.codebase, &farm.farm.codebase_generator) {
            (Some(codebase), _) => codebase.clone(),
            (None, Some(function)) => {
                text("codebaseGenerator", functions.call(function, vec![json!(change)]).await?)?.unwrap_or_default()
            }
            (None, None) => String::new(),
        };
        Ok(change)
    }
}

fn text(argument: &'static str, value: Value) -> Result<Option<String>, PollError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        value => Err(PollError::NotText { argument, value }),
    }
}

/// Bytes of the repository as text. git has already brought messages into UTF-8 if the commit says what it is in.
fn decode(encoding: &str, bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if matches!(encoding.to_ascii_lowercase().as_str(), "latin-1" | "latin1" | "iso-8859-1" | "cp1252") => {
            bytes.iter().map(|b| char::from(*b)).collect()
        }
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// An error with its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_encodings_do_not_lose_letters() {
        assert_eq!(decode("utf-8", "ü".as_bytes()), "ü");
        assert_eq!(decode("latin-1", b"\xfc"), "ü");
        assert_eq!(decode("utf-8", b"\xfc"), "\u{fffd}");
    }
}
