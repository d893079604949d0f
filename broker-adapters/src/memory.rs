//! The event log of a single master: a bounded ring in memory. Each process start is a new generation, so a cursor from
//! before a restart is answered with "no longer retained".

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use buildguild_types::event::Event;
use futures::{StreamExt, stream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{BrokerError, Cursor, EventLog, Position, Received, SubscribeError, Subscription};

/// How many events one read takes at most, so that the lock is held briefly.
const READ_BATCH: usize = 256;

/// An event log in this process's memory. Cheap to clone; clones share the log.
///
/// When the ring is full the oldest events are dropped; a reader that had not got to them is told so.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    generation: Arc<str>,
    capacity: usize,
    capacity_bytes: usize,
    ring: Mutex<Ring>,
    /// The position of the newest event; readers wait on it.
    newest: watch::Sender<u64>,
}

/// Positions count from 1; `dropped` is the position of the newest event that is gone, 0 if none is.
#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Of their bodies, which are nearly all of it.
    bytes: usize,
    dropped: u64,
}

impl Ring {
    fn push(&mut self, event: Event) {
        self.bytes += event.body.get().len();
        self.events.push_back(Arc::new(event));
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.bytes -= oldest.body.get().len();
            self.dropped += 1;
        }
    }

    fn newest(&self) -> u64 {
        self.dropped + self.events.len() as u64
    }
}

impl MemoryLog {
    /// A log that retains the last `capacity` events (at least one).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::bounded(capacity, usize::MAX)
    }

    /// A log that retains the last `capacity` events, and fewer if they are larger than `bytes` together (at least one).
    #[must_use]
    pub fn bounded(capacity: usize, bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                generation: Uuid::now_v7().simple().to_string().into(),
                capacity: capacity.max(1),
                capacity_bytes: bytes,
                ring: Mutex::default(),
                newest: watch::Sender::new(0),
            }),
        }
    }
}

impl Default for MemoryLog {
    /// 65,536 events: some minutes of a busy master, some tens of megabytes.
    fn default() -> Self {
        Self::new(65_536)
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // The ring is changed in single steps, so that it is whole even if a holder panicked.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cursor(&self, position: u64) -> Cursor {
        Cursor::new(Arc::clone(&self.generation), Position::at(position))
    }

    /// The events after `seen`; empty at the end of the log, `None` if the next one is gone.
    fn read_after(&self, seen: u64) -> Option<Vec<Received>> {
        let ring = self.ring();
        let skip = usize::try_from(seen.checked_sub(ring.dropped)?).ok()?;
        let numbered = (seen + 1..).zip(ring.events.iter().skip(skip)).take(READ_BATCH);
        Some(numbered.map(|(n, event)| Received { cursor: self.cursor(n), event: Arc::clone(event) }).collect())
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError> {
        if batch.is_empty() {
            return Ok(None);
        }
        let newest = {
            let mut ring = self.shared.ring();
            for event in batch {
                ring.push(event);
                while ring.events.len() > self.shared.capacity
                    || (ring.bytes > self.shared.capacity_bytes && ring.events.len() > 1)
                {
                    ring.drop_oldest();
                }
            }
            ring.newest()
        };
        // Two publishers may get here in either order.
        self.shared.newest.send_if_modified(|known| {
            let grew = *known < newest;
            *known = newest.max(*known);
            grew
        });
        Ok(Some(self.shared.cursor(newest)))
    }

    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
        let mut wake = self.shared.newest.subscribe();
        wake.mark_changed();
        let start = {
            let ring = self.shared.ring();
            match from {
                None => self.shared.cursor(ring.newest()),
                Some(cursor) => {
                    let position = cursor.position();
                    let readable = cursor.generation() == &self.shared.generation
                        && position.minor == 0
                        && (ring.dropped..=ring.newest()).contains(&position.major);
                    if !readable {
                        return Err(SubscribeError::NotRetained);
                    }
                    cursor
                }
            }
        };
        let reader = Some((Arc::clone(&self.shared), wake, start.position().major));
        let events = stream::unfold(reader, |reader| async {
            let (shared, mut wake, seen) = reader?;
            loop {
                match shared.read_after(seen) {
                    None => return Some((Err(SubscribeError::NotRetained), None)),
                    Some(batch) if batch.is_empty() => {
                        // The sender lives in `shared`, which this stream holds: it cannot be gone.
                        wake.changed().await.ok()?;
                    }
                    Some(batch) => {
                        let seen = seen + batch.len() as u64;
                        return Some((Ok(batch), Some((shared, wake, seen))));
                    }
                }
            }
        });
        Ok(Subscription { start, events: events.boxed() })
    }
}
