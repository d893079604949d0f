//! Resuming from further back than the hub remembers: the log itself is read, from the client's cursor to where the
//! ring begins.
//!
//! What is found waits in memory for its client, so it is bounded, and so is the number of clients for whom something
//! waits: one that has missed more than that, or finds no place in time, is served faster by fetching the state again.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Delivery, Gone, HubOptions, Shared, TopicFilter, collect_matches, dedup::RecentIds};
use crate::{Cursor, EventLog, SubscribeError};

/// Clients for whom something is read, or has been read and waits to be sent; others wait for their turn.
const AT_ONCE: usize = 8;
/// How long a replay may take, waiting included: for its turn, and for a broker that is away or was not there yet when
/// this replica started.
const MAX_DURATION: Duration = Duration::from_secs(30);
/// How often a broker that is away is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What was read for one who resumes, and its place among those for whom something waits.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    deliveries: VecDeque<Delivery>,
    place: Option<OwnedSemaphorePermit>,
}

impl Replayed {
    pub(super) fn deliveries(&mut self) -> &mut VecDeque<Delivery> {
        &mut self.deliveries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// The next delivery. After the last one the memory and the place are free for others.
    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let next = self.deliveries.pop_front();
        if next.is_none() && (self.place.is_some() || self.deliveries.capacity() > 0) {
            *self = Self::default();
        }
        next
    }
}

/// Reads the log for those who resume.
pub(super) struct Replays {
    log: Arc<dyn EventLog>,
    places: Arc<Semaphore>,
    max_deliveries: usize,
    max_bytes: usize,
    remembered_ids: usize,
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays").finish_non_exhaustive()
    }
}

impl Replays {
    pub(super) fn new(log: Arc<dyn EventLog>, options: &HubOptions) -> Self {
        Self {
            log,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            max_deliveries: options.replay_deliveries,
            max_bytes: options.replay_bytes,
            remembered_ids: options.remembered_ids,
        }
    }

    /// Appends what matches after `seen` to `replayed`, and moves `seen` to a place from which the ring goes on.
    ///
    /// # Errors
    /// [`Gone::NotRetained`] if the log does not go back so far, or cannot be read in time, or it would be too much.
    pub(super) async fn run(
        &self,
        shared: &Shared,
        seen: &mut Cursor,
        filters: &[TopicFilter],
        replayed: &mut Replayed,
    ) -> Result<(), Gone> {
        let reading = async {
            loop {
                while !*shared.is_connected.borrow() {
                    if shared.state().is_shut_down() {
                        return Err(Gone::ShutDown);
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                // Of another generation nothing can be read.
                if !seen.is_same_generation(&shared.state().newest()) {
                    return Err(Gone::NotRetained);
                }
                if replayed.place.is_none() {
                    let place = Arc::clone(&self.places).acquire_owned().await;
                    replayed.place = Some(place.map_err(|_closed| Gone::ShutDown)?);
                }
                match self.read(shared, seen, filters, &mut replayed.deliveries).await {
                    Ok(()) => return Ok(()),
                    Err(Unread::Gone(gone)) => return Err(gone),
                    // It goes on behind what it has got so far.
                    Err(Unread::Later(error)) => {
                        tracing::warn!(%error, "cannot read the event log for a client that resumes; trying again");
                        replayed.place = None;
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
            }
        };
        tokio::time::timeout(MAX_DURATION, reading).await.unwrap_or(Err(Gone::NotRetained))
    }

    async fn read(
        &self,
        shared: &Shared,
        seen: &mut Cursor,
        filters: &[TopicFilter],
        backlog: &mut VecDeque<Delivery>,
    ) -> Result<(), Unread> {
        let mut reading = self.log.subscribe(Some(seen.clone())).await?;
        let mut recent = RecentIds::new(self.remembered_ids);
        let mut bytes = 0;
        while shared.state().check_resume(seen).is_err() {
            let Some(batch) = reading.events.next().await else { return Err(Unread::Gone(Gone::NotRetained)) };
            let mut batch = batch?;
            let Some(last) = batch.last() else { continue };
            let next = last.cursor.clone();
            batch.retain(|received| {
                received.cursor.position() > seen.position() && recent.is_new(received.event.event_id)
            });
            *seen = next;
            let before = backlog.len();
            collect_matches(batch, filters, backlog);
            bytes += backlog.range(before..).map(|delivery| delivery.event().body.get().len()).sum::<usize>();
            if backlog.len() > self.max_deliveries || bytes > self.max_bytes {
                return Err(Unread::Gone(Gone::NotRetained));
            }
        }
        Ok(())
    }
}

/// Why the log was not read to where the ring begins.
enum Unread {
    /// It cannot be.
    Gone(Gone),
    /// The broker is away.
    Later(Box<dyn std::error::Error + Send + Sync>),
}

impl From<SubscribeError> for Unread {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::NotRetained => Self::Gone(Gone::NotRetained),
            SubscribeError::Unavailable(error) => Self::Later(error),
        }
    }
}
