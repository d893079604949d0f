//! Services of which the cluster has one each: schedulers and change sources.
//!
//! Each has a lease in the database, taken by the first active master that sees it free, given back when that master
//! stops or fails again and again, and free again when the epoch that holds it has ended. Whoever holds the lease
//! runs the service; everything that the service writes locks the lease first, so that a master that lost it can do
//! no harm before it notices.

mod service;

pub(crate) use service::Singletons;

use std::{sync::Arc, time::Duration};

use buildguild_db::{Owner, leases::Lease};
use buildguild_types::{
    farm::{ChangeSourceConfig, ChangeSourceKind, FarmConfig, SchedulerConfig, SchedulerKind},
    ids::{ChangeSourceId, SchedulerId},
};
use tokio_util::sync::CancellationToken;

use crate::{
    change_sources::git::poller::{GitPoller, PollError},
    parts::Parts,
    schedulers::{SchedulerError, tree::TreeScheduler},
};

/// The first pause after a failure; it doubles up to the largest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LARGEST_PAUSE: Duration = Duration::from_secs(30);

/// A service that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    Scheduler(Arc<SchedulerConfig>),
    ChangeSource(Arc<ChangeSourceConfig>),
}

/// Which service: what counts as the same across configurations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Scheduler(String),
    ChangeSource(String),
}

/// The row of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Scheduler(SchedulerId),
    ChangeSource(ChangeSourceId),
}

impl Row {
    pub(crate) fn lease(self) -> Lease<'static> {
        match self {
            Self::Scheduler(id) => Lease::Scheduler(id),
            Self::ChangeSource(id) => Lease::ChangeSource(id),
        }
    }
}

impl Wanted {
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Scheduler(config) => Key::Scheduler(config.name.clone()),
            Self::ChangeSource(config) => Key::ChangeSource(config.name.clone()),
        }
    }

    /// Everything that a configuration wants.
    pub(crate) fn of(farm: &FarmConfig) -> Vec<Self> {
        let schedulers = farm.schedulers.iter().cloned().map(|config| Self::Scheduler(Arc::new(config)));
        let sources = farm.change_sources.iter().cloned().map(|config| Self::ChangeSource(Arc::new(config)));
        schedulers.chain(sources).collect()
    }

    /// Runs it under its lease until it is cancelled, again and again if it fails. Returns early if the lease is lost or is
    /// to be given up.
    pub(crate) async fn run(&self, parts: Arc<Parts>, row: Row, owner: Owner, cancel: CancellationToken) -> Outcome {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = match self.run_once(Arc::clone(&parts), row, owner, &cancel).await {
                Ok(()) => return Outcome::Done,
                Err(ended) => ended,
            };
            match ended.then {
                Then::Again => {}
                Then::LeaseLost => {
                    tracing::info!(service = ?self.key(), "lost the lease of {:?}", self.key());
                    return Outcome::Done;
                }
                Then::GiveUp => return Outcome::GivenUp,
            }
            tracing::warn!(service = ?self.key(), error = ended.text, "{:?} failed, starting again", self.key());
            tokio::select! {
                () = cancel.cancelled() => return Outcome::Done,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LARGEST_PAUSE),
            }
        }
    }

    async fn run_once(
        &self,
        parts: Arc<Parts>,
        row: Row,
        owner: Owner,
        cancel: &CancellationToken,
    ) -> Result<(), Ended> {
        match (self, row) {
            (Self::Scheduler(config), Row::Scheduler(id)) => {
                let (tree, per_branch) = match &config.kind {
                    SchedulerKind::SingleBranch(tree) => (tree, false),
                    SchedulerKind::AnyBranch(tree) => (tree, true),
                    // A force scheduler acts where it is asked; the others are declared only.
                    SchedulerKind::Force(_)
                    | SchedulerKind::Triggerable
                    | SchedulerKind::Dependent { .. }
                    | SchedulerKind::Periodic { .. }
                    | SchedulerKind::Nightly { .. } => {
                        cancel.cancelled().await;
                        return Ok(());
                    }
                };
                let tree = tree.as_ref().clone();
                let scheduler = TreeScheduler::new(parts, id, owner, Arc::clone(config), tree, per_branch)?;
                Ok(scheduler.run(cancel).await?)
            }
            (Self::ChangeSource(config), Row::ChangeSource(id)) => match &config.kind {
                ChangeSourceKind::Git(git) => {
                    let git = git.as_ref().clone();
                    let poller = GitPoller::new(parts, id, owner, config.name.clone(), git);
                    poller.run(cancel).await.map_err(Ended::from)
                }
            },
            (Self::Scheduler(_), Row::ChangeSource(_)) | (Self::ChangeSource(_), Row::Scheduler(_)) => Ok(()),
        }
    }
}

/// Why a service ended by itself.
#[derive(Debug)]
struct Ended {
    then: Then,
    text: String,
}

/// What is to be done after that.
#[derive(Debug)]
enum Then {
    Again,
    LeaseLost,
    GiveUp,
}

/// How the run of a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was cancelled, or its lease is lost.
    Done,
    /// It fails here, and another master is to try.
    GivenUp,
}

impl From<PollError> for Ended {
    fn from(error: PollError) -> Self {
        let then = if error.is_given_up() {
            Then::GiveUp
        } else if error.is_fatal() {
            Then::LeaseLost
        } else {
            Then::Again
        };
        Self { then, text: error.to_string() }
    }
}

impl From<SchedulerError> for Ended {
    fn from(error: SchedulerError) -> Self {
        let lease_lost = matches!(&error, SchedulerError::Db(error) if error.is_fenced());
        Self { then: if lease_lost { Then::LeaseLost } else { Then::Again }, text: error.to_string() }
    }
}
