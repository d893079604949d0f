//! The SSE streams that this replica serves, by their uuid.
//!
//! Their filters are in the database too ([`EventStreams`]), so that any replica can change or resume them: a change is
//! written down first, then the stream is brought in line with what is written. Changes made elsewhere arrive as hints,
//! with a periodic look behind them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Duration,
};

use actix_web::web;
use broker_adapters::{EventHub, FilterHandle, Gone, TopicFilter};
use buildguild_data::event_streams::{EventStreams, HINT, StreamChange};
use futures::task::AtomicWaker;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::websocket::MAX_PATHS;
use crate::state::AppState;

/// How often the database is asked for changed filters when no hint came.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the database is told that our streams are alive.
const TIDY_EVERY: Duration = Duration::from_secs(5 * 60);
/// How many new streams are written down at a time.
const RECORDED_AT_ONCE: usize = 16;

/// Has a stream name itself in its ids, now that its path no longer says what it listens to.
#[derive(Debug, Default)]
pub(super) struct Named {
    is_named: AtomicBool,
    is_due: AtomicBool,
    waker: AtomicWaker,
}

impl Named {
    /// Whether the stream's ids have to name it.
    pub(super) fn get(&self) -> bool {
        self.is_named.load(Ordering::Acquire)
    }

    /// Whether an id with the name is due at once: the client may be gone before the next event.
    pub(super) fn take_due(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.is_due.swap(false, Ordering::AcqRel)
    }

    fn set(&self) {
        self.is_named.store(true, Ordering::Release);
        self.is_due.store(true, Ordering::Release);
        self.waker.wake();
    }
}

#[derive(Debug)]
struct Session {
    handle: FilterHandle,
    filters: Vec<String>,
    /// The version of the filters.
    version: i64,
    named: Arc<Named>,
}

/// The streams of this replica.
#[derive(Debug)]
pub(crate) struct SseSessions {
    store: EventStreams,
    sessions: Mutex<HashMap<Uuid, Session>>,
    /// Places for those that are being written down.
    recording: Semaphore,
}

/// How a filter was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Done,
    /// The stream does not listen to that.
    NotListening,
    TooMany,
    UnknownSession,
    /// The database cannot be reached.
    Unavailable,
}

/// A stream that is taken up again: its filters and their version.
pub(super) type Resumed = (Vec<TopicFilter>, i64);

impl SseSessions {
    pub(crate) fn new(store: EventStreams) -> Self {
        Self { store, sessions: Mutex::default(), recording: Semaphore::new(RECORDED_AT_ONCE) }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Uuid, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a stream that was served here or elsewhere; `None` if it is not known any more.
    pub(super) async fn take(state: &web::Data<AppState>, id: Uuid) -> Result<Option<Resumed>, ()> {
        let store = state.sse.store.clone();
        let taken = state.on_runtime(async move { store.take(id).await }).await;
        match taken {
            Some(Ok(Some((filters, version)))) => {
                let filters = filters.iter().filter_map(|filter| filter.parse().ok()).collect();
                Ok(Some((filters, version)))
            }
            Some(Ok(None)) => Ok(None),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot look up the filters of a stream");
                Err(())
            }
            None => Err(()),
        }
    }

    /// Begins to serve a stream; `resumed` is the version of the filters of one that was taken up again. A new one has to be
    /// recorded ([`SseSessions::record`]).
    pub(super) fn begin(
        state: &web::Data<AppState>,
        id: Uuid,
        handle: FilterHandle,
        filters: &[TopicFilter],
        resumed: Option<i64>,
    ) -> Arc<Named> {
        let named = Arc::<Named>::default();
        named.is_named.store(resumed.is_some(), Ordering::Release);
        let filters = filters.iter().map(ToString::to_string).collect();
        let session = Session { handle, filters, version: resumed.unwrap_or(0), named: Arc::clone(&named) };
        state.sse.sessions().insert(id, session);
        named
    }

    /// Writes a new stream down, so that other replicas know it. Without that it is served as well, and written down when
    /// its filters are changed.
    pub(super) async fn record(state: web::Data<AppState>, id: Uuid) {
        // When a thousand clients come back at once, only what is being written has its memory.
        let Ok(_place) = state.sse.recording.acquire().await else { return };
        let Some(filters) = state.sse.sessions().get(&id).map(|session| session.filters.clone()) else { return };
        let recording = state.clone().into_inner();
        let recorded = state.tasks.spawn_on(
            async move {
                let store = &recording.sse.store;
                store.begin(id, &filters).await?;
                // Its client may have left meanwhile, before there was anything to end.
                let has_ended = !recording.sse.sessions().contains_key(&id);
                if has_ended { store.end(id, 0, false).await } else { Ok(()) }
            },
            &state.runtime,
        );
        if let Ok(Err(error)) = recorded.await {
            tracing::warn!(%error, "a stream is known to this replica only");
        }
    }

    /// Ends a stream. Its filters are remembered for a while if they cannot be told from its path.
    pub(super) fn end(state: &web::Data<AppState>, id: Uuid, handle: &FilterHandle) {
        let mut sessions = state.sse.sessions();
        // Its client may have taken it up again already.
        if !sessions.get(&id).is_some_and(|session| session.handle.is_same(handle)) {
            return;
        }
        let ended = sessions.remove(&id);
        drop(sessions);
        if let Some(session) = ended {
            Self::record_end(state, id, session.version, session.named.get());
        }
    }

    fn record_end(state: &web::Data<AppState>, id: Uuid, version: i64, keep: bool) {
        let store = state.sse.store.clone();
        let ending = async move {
            if let Err(error) = store.end(id, version, keep).await {
                tracing::debug!(%error, "a stream that ended stays recorded for an hour");
            }
        };
        state.tasks.spawn_on(ending, &state.runtime);
    }

    /// Adds a filter to a stream or removes one, wherever it is served.
    pub(super) async fn change(state: &web::Data<AppState>, id: Uuid, filter: &TopicFilter, is_add: bool) -> Change {
        let known = state.sse.sessions().get(&id).map(|session| session.filters.clone());
        let (store, text) = (state.sse.store.clone(), filter.to_string());
        let changing = async move {
            let mut outcome = store.change(id, &text, is_add, MAX_PATHS).await?;
            if let (StreamChange::Unknown, Some(filters)) = (&outcome, known) {
                store.begin(id, &filters).await?;
                outcome = store.change(id, &text, is_add, MAX_PATHS).await?;
            }
            Ok::<_, buildguild_data::DataError>(outcome)
        };
        match state.on_runtime(changing).await {
            Some(Ok(StreamChange::Own(filters, version))) => {
                if state.sse.follow(id, filters, version) {
                    Change::Done
                } else {
                    // It ended meanwhile, and its end did not know of this version.
                    Self::record_end(state, id, version, true);
                    Change::UnknownSession
                }
            }
            Some(Ok(StreamChange::Elsewhere)) => Change::Done,
            Some(Ok(StreamChange::NotListening)) => Change::NotListening,
            Some(Ok(StreamChange::TooMany)) => Change::TooMany,
            Some(Ok(StreamChange::Unknown)) => Change::UnknownSession,
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot write down the filters of a stream");
                Change::Unavailable
            }
            None => Change::Unavailable,
        }
    }

    /// Has a stream listen by a version of its filters. `false` if it is not served here.
    fn follow(&self, id: Uuid, filters: Vec<String>, version: i64) -> bool {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(&id) else { return false };
        if session.version >= version {
            return true;
        }
        for filter in session.filters.iter().filter(|filter| !filters.contains(filter)) {
            if let Ok(filter) = filter.parse() {
                session.handle.remove(&filter);
            }
        }
        for filter in filters.iter().filter(|filter| !session.filters.contains(filter)) {
            if let Ok(filter) = filter.parse() {
                session.handle.add(filter);
            }
        }
        session.filters = filters;
        session.version = version;
        session.named.set();
        true
    }

    /// Applies what other replicas have changed.
    async fn follow_changes(&self) {
        if self.sessions().is_empty() {
            return;
        }
        let changed = match self.store.changed().await {
            Ok(changed) => changed,
            Err(error) => {
                tracing::debug!(%error, "cannot look for changed filters; trying again");
                return;
            }
        };
        for (id, filters, version) in changed {
            if self.follow(id, filters, version)
                && let Err(error) = self.store.applied(id, version).await
            {
                tracing::debug!(%error, "cannot tell that a stream has its new filters");
            }
        }
    }

    /// Follows what other replicas change, and keeps the database's list of streams tidy, until the server stops.
    pub(crate) async fn watch(state: web::Data<AppState>) {
        let hub: EventHub = state.hub.clone();
        let Ok(hints) = format!("{HINT}/*").parse::<TopicFilter>() else { return };
        let (mut look, mut tidy) = (interval(LOOK_EVERY), interval(TIDY_EVERY));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Ok(mut rung) = hub.listen(vec![hints.clone()]) {
            loop {
                tokio::select! {
                    () = state.shutdown.cancelled() => return,
                    hint = rung.recv() => match hint {
                        Ok(hint) => {
                            let id = hint.key().parts().nth(1).and_then(|id| Uuid::try_parse(id).ok());
                            if !id.is_some_and(|id| state.sse.sessions().contains_key(&id)) {
                                continue;
                            }
                        }
                        Err(Gone::ShutDown) => return,
                        Err(Gone::TooSlow | Gone::NotRetained) => break,
                    },
                    _ = look.tick() => {}
                    _ = tidy.tick() => {
                        if let Err(error) = state.sse.store.tidy().await {
                            tracing::debug!(%error, "cannot tidy the list of streams");
                        }
                        continue;
                    }
                }
                state.sse.follow_changes().await;
            }
        }
    }
}
