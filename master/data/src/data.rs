//! The handle of the Data API, and how an update runs.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use broker_adapters::EventLog;
use buildguild_db::{Db, DbError, Owner, Tx, outbox};
use buildguild_types::event::Event;
use buildguild_types::ids::{BuildId, BuilderId, LogId, StepId};
use buildguild_types::resources::Build;
use buildguild_types::time::{Clock, Timestamp};
use tokio::sync::watch;

use crate::relay::RelayBell;

/// What a [`Data`] is made of.
#[derive(Clone)]
pub struct DataParts {
    /// The database.
    pub db: Db,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// Where the current time comes from.
    pub clock: Arc<dyn Clock>,
    /// This process's owner, see [`crate::membership::Membership::owner`].
    pub owner: watch::Receiver<Option<Owner>>,
    /// Where events go when they are committed, see [`crate::relay::run`].
    pub bell: RelayBell,
}

/// The Data API. Clones are the same.
#[derive(Clone)]
pub struct Data(Arc<Inner>);

struct Inner {
    db: Db,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    owner: watch::Receiver<Option<Owner>>,
    bell: RelayBell,
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Data").field("owner", &*self.0.owner.borrow()).finish_non_exhaustive()
    }
}

impl Data {
    /// Puts the parts together.
    pub fn new(parts: DataParts) -> Self {
        let DataParts { db, log, clock, owner, bell } = parts;
        Self(Arc::new(Inner { db, log, clock, owner, bell }))
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// The event log.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.0.log
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// This process's owner, while its epoch is active as far as it knows.
    pub fn owner(&self) -> Option<Owner> {
        *self.0.owner.borrow()
    }

    /// Follows the owner: nothing before the master has registered and after it has been declared dead.
    pub fn watch_owner(&self) -> watch::Receiver<Option<Owner>> {
        self.0.owner.clone()
    }

    /// Takes a builder's next build number before the update that adds the build, where that pays
    /// (see [`buildguild_db::builds::reserve_number`]).
    ///
    /// # Errors
    /// What the database reported.
    pub async fn reserve_build_number(&self, builder: BuilderId) -> Result<Option<i64>, DbError> {
        buildguild_db::builds::reserve_number(&self.0.db, builder).await
    }

    /// Runs one update: a short transaction of any number of the verbs of [`Update`], all or none, with their events.
    /// The closure may run several times (see [`Db::write`]); it must not do anything else.
    ///
    /// ```no_run
    /// # async fn f(data: buildguild_data::Data, build: buildguild_types::ids::BuildId) -> Result<(), buildguild_db::DbError> {
    /// data.update(|u| async move { u.set_build_state_string(build, "building").await }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the closure returned; [`DbError::EpochEnded`] if this process is not an active master.
    pub async fn update<T, F, Fut>(&self, f: F) -> Result<T, DbError>
    where
        F: Fn(Update) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        let owner = self.owner().ok_or(DbError::EpochEnded)?;
        self.update_as(owner, f).await
    }

    /// Runs an update as a given owner: for what goes on under a claim that was taken earlier.
    ///
    /// # Errors
    /// What the closure returned.
    pub async fn update_as<T, F, Fut>(&self, owner: Owner, f: F) -> Result<T, DbError>
    where
        F: Fn(Update) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        // If this future is dropped between the commit and the hand-over, the publisher looks into the outbox.
        let ticket = self.0.bell.ticket();
        let f = &f;
        let result = self
            .0
            .db
            .write_as(std::any::type_name::<F>(), |tx| async move {
                let update = Update::new(tx, owner, self.now());
                let value = f(update.clone()).await?;
                let through_outbox = update.news().through_outbox;
                let (events, notices) = update.take_news();
                let row = outbox::insert(&update.0.tx, owner, &events).await?;
                Ok((value, row.map(|id| outbox::OutboxRow { id, events }), notices, through_outbox))
            })
            .await;
        match result {
            // Dropping the ticket makes the publisher look into the outbox.
            Ok((value, _, _, true)) => Ok(value),
            Ok((value, row, notices, false)) => {
                ticket.deliver(row, notices);
                Ok(value)
            }
            // It may have been committed: the publisher looks then, too.
            Err(error @ DbError::Uncertain(_)) => Err(error),
            Err(error) => {
                ticket.void();
                Err(error)
            }
        }
    }
}

/// An update that is under way: its verbs are in the modules of `updates`. Clones are the same update.
#[derive(Clone)]
pub struct Update(pub(crate) Arc<UpdateState>);

pub(crate) struct UpdateState {
    pub(crate) tx: Tx,
    pub(crate) owner: Owner,
    pub(crate) now: Timestamp,
    news: Mutex<News>,
}

#[derive(Default)]
struct News {
    events: Vec<Event>,
    notices: HashMap<LogId, Event>,
    builds: HashMap<BuildId, Build>,
    steps: HashSet<StepId>,
    through_outbox: bool,
}

impl Update {
    fn new(tx: Tx, owner: Owner, now: Timestamp) -> Self {
        Self(Arc::new(UpdateState { tx, owner, now, news: Mutex::default() }))
    }

    /// The transaction, for connectors that need no event.
    pub fn tx(&self) -> &Tx {
        &self.0.tx
    }

    /// On whose behalf this is done.
    pub fn owner(&self) -> Owner {
        self.0.owner
    }

    /// The time of this update: the same for everything that it writes.
    pub fn now(&self) -> Timestamp {
        self.0.now
    }

    /// Announces something when the update has been committed.
    pub fn emit(&self, event: Event) {
        self.news().events.push(event);
    }

    /// Announces that a log has grown: a hint that is never stored, and of which only the latest counts.
    pub(crate) fn notice(&self, log: LogId, event: Event) {
        self.news().notices.insert(log, event);
    }

    /// A build that this update has locked, as the update has left it.
    pub(crate) fn known_build(&self, build: BuildId) -> Option<Build> {
        self.news().builds.get(&build).cloned()
    }

    pub(crate) fn remember_build(&self, build: &Build) {
        self.news().builds.insert(build.buildid, build.clone());
    }

    pub(crate) fn forget_build(&self, build: BuildId) {
        self.news().builds.remove(&build);
    }

    /// Whether this update has locked the build of a step.
    pub(crate) fn knows_step(&self, step: StepId) -> bool {
        self.news().steps.contains(&step)
    }

    pub(crate) fn remember_step(&self, step: StepId) {
        self.news().steps.insert(step);
    }

    /// Has the publisher read this update's events from the outbox, because older ones of somebody else are there.
    pub(crate) fn publish_through_outbox(&self) {
        self.news().through_outbox = true;
    }

    fn take_news(&self) -> (Vec<Event>, HashMap<LogId, Event>) {
        let mut news = self.news();
        (std::mem::take(&mut news.events), std::mem::take(&mut news.notices))
    }

    /// The lock is only ever held for a push or a take, so it cannot be poisoned half-way.
    fn news(&self) -> std::sync::MutexGuard<'_, News> {
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
