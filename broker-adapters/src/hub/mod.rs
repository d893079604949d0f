//! The fan-out of one replica: it reads the log once, drops duplicates by `event_id`, and hands each event to the
//! subscribers whose filters match one of its keys.
//!
//! A subscriber has a bounded queue. One that does not keep up is put out ([`Gone::TooSlow`]) and has to look at the
//! state again; it never slows the others. Recent events are kept, bounded by number and bytes, so that a client can
//! resume after a cursor without the broker: it catches up step by step, so that what waits in memory for it is little. For
//! those who come from further back the log itself is read.

mod dedup;
mod delivery;
mod reader;
mod replay;
mod state;
mod subscription;
mod topic;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::{
    delivery::Outbound,
    replay::{Replayed, Replays},
    state::State,
};
pub use self::{
    delivery::{Delivery, Form},
    state::FilterChange,
    subscription::{FilterHandle, HubSubscription},
    topic::{TopicFilter, TopicFilterError},
};
use crate::{Cursor, EventLog};

/// The hub's bounds.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HubOptions {
    /// Deliveries that wait for one subscriber at most; one more, and it is put out.
    pub queue_len: usize,
    /// Filters of one subscriber at most.
    pub max_filters: usize,
    /// Events kept for resumes at most.
    pub ring_events: usize,
    /// Bytes of event bodies kept for resumes at most.
    pub ring_bytes: usize,
    /// Deliveries at most that a resume from further back reads from the log.
    pub replay_deliveries: usize,
    /// Bytes of event bodies at most that a resume from further back reads from the log.
    pub replay_bytes: usize,
    /// How many event ids are remembered to drop duplicates.
    pub remembered_ids: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            queue_len: 4096,
            max_filters: 256,
            ring_events: 65_536,
            ring_bytes: 64 * 1024 * 1024,
            replay_deliveries: 65_536,
            replay_bytes: 32 * 1024 * 1024,
            remembered_ids: 65_536,
        }
    }
}

/// Why a subscription ended, or could not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// The subscriber did not take its events in time: look at the state and subscribe again.
    #[error("keep up with the events")]
    TooSlow,
    /// Events after the cursor are no longer retained: look at the state and subscribe again.
    #[error("read events that are no longer retained")]
    NotRetained,
    /// This replica is shutting down.
    #[error("read events of a replica that is shutting down")]
    ShutDown,
}

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeFrom {
    /// With what is dispatched after the call.
    Now,
    /// With what comes after a cursor.
    After(Cursor),
}

/// How many events of the ring are matched per step of a resume, so that the hub's lock is held briefly, and little
/// waits for a client that resumes.
const RESUME_STEP: usize = 512;

/// The fan-out. Cheap to clone; clones share the hub.
#[derive(Debug, Clone)]
pub struct EventHub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    replays: Replays,
    /// Whether the log can be read at present.
    is_connected: watch::Sender<bool>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it is held could at worst lose a delivery, which the periodic re-scans make good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventHub {
    /// Starts reading `log` in a task that ends when `shutdown` is cancelled.
    ///
    /// When this returns, everything published from now on is dispatched; if the broker cannot be reached yet, reading
    /// starts as soon as it can ([`EventHub::connected`]).
    pub async fn start(
        log: Arc<dyn EventLog>,
        options: HubOptions,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let first = log.subscribe(None).await;
        let start = match &first {
            Ok(subscription) => subscription.start.clone(),
            // No client can hold a cursor of this generation, so that a resume waits for the first contact.
            Err(_) => Cursor::new("none".into(), crate::Position::default()),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(options, start)),
            replays: Replays::new(Arc::clone(&log), &options),
            is_connected: watch::Sender::new(first.is_ok()),
        });
        let task = tokio::spawn(reader::run(log, first, Arc::clone(&shared), shutdown));
        (Self { shared }, task)
    }

    /// Subscribes to the events that match `filters`, which may be changed later.
    ///
    /// # Errors
    /// [`Gone::NotRetained`] if the events after the cursor are not all in the log, or too many; [`Gone::ShutDown`].
    pub async fn subscribe(&self, filters: Vec<TopicFilter>, from: SubscribeFrom) -> Result<HubSubscription, Gone> {
        let SubscribeFrom::After(start) = from else { return self.listen(filters) };
        let mut replayed = Replayed::default();
        let mut seen = start.clone();
        loop {
            let joined = self.shared.state().join_after(&filters, &seen, RESUME_STEP);
            match joined {
                Ok((joined, behind)) => {
                    return Ok(HubSubscription::new(Arc::clone(&self.shared), joined, start, replayed, behind));
                }
                Err(Gone::NotRetained) => {
                    self.shared.replays.run(&self.shared, &mut seen, &filters, &mut replayed).await?;
                }
                Err(gone) => return Err(gone),
            }
        }
    }

    /// Subscribes from now on, as the engine's wake-ups do.
    ///
    /// # Errors
    /// [`Gone::ShutDown`].
    pub fn listen(&self, filters: Vec<TopicFilter>) -> Result<HubSubscription, Gone> {
        let (joined, start) = self.shared.state().join(filters)?;
        Ok(HubSubscription::new(Arc::clone(&self.shared), joined, start, Replayed::default(), None))
    }

    /// Everything up to this cursor has been queued for its subscribers.
    #[must_use]
    pub fn newest(&self) -> Cursor {
        self.shared.state().newest()
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        self.shared.state().member_count()
    }

    /// Whether the log can be read at present, as a watch.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.shared.is_connected.subscribe()
    }
}

/// Appends the deliveries that `filters` select, in order, once per matching filter.
fn collect_matches(events: Vec<crate::Received>, filters: &[TopicFilter], backlog: &mut VecDeque<Delivery>) {
    for received in events {
        let mut outbound: Option<Arc<Outbound>> = None;
        for n in 0..received.event.keys.len() {
            let key = received.event.keys[n].as_str();
            for _ in filters.iter().filter(|f| f.matches(key)) {
                let outbound = outbound.get_or_insert_with(|| Outbound::new(received.clone()));
                backlog.push_back(Delivery::new(Arc::clone(outbound), n));
            }
        }
    }
}
