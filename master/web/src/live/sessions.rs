//! The SSE streams of this replica by their uuid, for the requests that change their filters, and for resuming with the
//! filters that were added.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use broker_adapters::{FilterChange, FilterHandle, TopicFilter};
use uuid::Uuid;

/// How long the filters of a stream that ended are kept for its client to come back.
const KEPT_FOR: Duration = Duration::from_secs(10 * 60);
/// How many streams that ended are kept at most.
const MAX_ENDED: usize = 10_000;

#[derive(Debug)]
struct Session {
    handle: FilterHandle,
    filters: Vec<TopicFilter>,
    /// Whether filters were changed after the start.
    is_changed: bool,
    ended: Option<Instant>,
}

/// All streams of this replica.
#[derive(Debug, Default)]
pub(crate) struct SseSessions {
    sessions: Mutex<HashMap<Uuid, Session>>,
}

/// How a filter was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Done,
    /// The stream does not listen to that.
    NotListening,
    TooMany,
    UnknownSession,
}

impl SseSessions {
    fn sessions(&self) -> MutexGuard<'_, HashMap<Uuid, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stream; one that resumes keeps its uuid.
    pub(super) fn begin(&self, id: Uuid, handle: FilterHandle, filters: Vec<TopicFilter>, is_resumed: bool) {
        let session = Session { handle, filters, is_changed: is_resumed, ended: None };
        self.sessions().insert(id, session);
    }

    /// The filters of a stream that has ended or whose client thinks so; they are taken from it.
    pub(super) fn take(&self, id: &Uuid) -> Option<Vec<TopicFilter>> {
        self.sessions().remove(id).map(|session| session.filters)
    }

    /// Whether the stream's filters were changed after its start, so that a resume needs to know which stream it was.
    pub(super) fn is_changed(&self, id: &Uuid) -> bool {
        self.sessions().get(id).is_some_and(|session| session.is_changed)
    }

    /// Ends a stream. Its filters are kept for a while if they cannot be told from its path.
    pub(super) fn end(&self, id: &Uuid, handle: &FilterHandle) {
        let mut sessions = self.sessions();
        let now = Instant::now();
        let Some(session) = sessions.get_mut(id).filter(|session| session.handle.is_same(handle)) else { return };
        if !session.is_changed {
            sessions.remove(id);
            return;
        }
        session.ended = Some(now);
        let ended = sessions.values().filter(|session| session.ended.is_some()).count();
        if ended > MAX_ENDED {
            let oldest = sessions.iter().filter_map(|(id, session)| Some((session.ended?, *id))).min();
            if let Some((_, oldest)) = oldest {
                sessions.remove(&oldest);
            }
        }
        sessions.retain(|_, session| session.ended.is_none_or(|ended| now.duration_since(ended) < KEPT_FOR));
    }

    /// Adds a filter to an open stream.
    pub(super) fn add(&self, id: &Uuid, filter: TopicFilter) -> Change {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(id).filter(|session| session.ended.is_none()) else {
            return Change::UnknownSession;
        };
        match session.handle.add(filter.clone()) {
            FilterChange::Done => {
                session.filters.push(filter);
                session.is_changed = true;
                Change::Done
            }
            FilterChange::Unchanged => Change::Done,
            FilterChange::TooMany => Change::TooMany,
            FilterChange::Ended => Change::UnknownSession,
        }
    }

    /// Removes a filter from an open stream.
    pub(super) fn remove(&self, id: &Uuid, filter: &TopicFilter) -> Change {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(id).filter(|session| session.ended.is_none()) else {
            return Change::UnknownSession;
        };
        match session.handle.remove(filter) {
            FilterChange::Done => {
                session.filters.retain(|known| known != filter);
                session.is_changed = true;
                Change::Done
            }
            FilterChange::Unchanged | FilterChange::TooMany => Change::NotListening,
            FilterChange::Ended => Change::UnknownSession,
        }
    }
}
