//! The publisher of this master's events: one task, first in, first out.
//!
//! An update commits its events to the outbox and then hands them over in memory, so that publishing costs no query. The
//! outbox is read only when the hand-over cannot be relied upon: at the start, when rows of a dead master were taken over,
//! when the queue was full (a broker that is down for an hour), and when an update's future was dropped at the wrong
//! moment. Published rows are removed in batches; a crash before that publishes them again, and consumers drop the
//! duplicates by the events' ids.
//!
//! Notices that a log has grown are never stored; only the latest of each log is kept. They are published before the
//! log's `finished`, and after everything that was committed before them.

mod lost;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker_adapters::{Cursor, EventLog};
use buildguild_db::outbox::{self, OutboxRow};
use buildguild_db::{Db, DbError, Owner};
use buildguild_types::event::Event;
use buildguild_types::ids::LogId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// So many transactions' events wait in memory; more are found in the outbox.
const QUEUE_ROWS: usize = 10_000;
/// So many rows are published together.
const BATCH_ROWS: usize = 256;
/// Published rows are removed when there are so many, or after [`REMOVE_AFTER`].
const REMOVE_ROWS: usize = 500;
const REMOVE_AFTER: Duration = Duration::from_millis(500);
/// The outbox is looked through this often, whatever the memory says.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long the last pass may take.
const LAST_PASS: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
    /// The outbox may hold rows that are not in the queue.
    look: AtomicBool,
    published: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    rows: VecDeque<OutboxRow>,
    notices: HashMap<LogId, Event>,
}

impl Shared {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_into_outbox(&self) {
        self.look.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Where updates hand over their events, and how the publisher is woken. Clones are the same.
#[derive(Clone, Default)]
pub struct RelayBell(Arc<Shared>);

impl std::fmt::Debug for RelayBell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayBell").finish_non_exhaustive()
    }
}

/// The promise of an update to hand over its events. Dropped without that, the publisher looks for them itself.
pub(crate) struct Ticket(Option<Arc<Shared>>);

/// What the publisher has done since the start, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFigures {
    /// Events that the broker confirmed.
    pub published: u64,
    /// Attempts to publish that failed, and were or will be made again.
    pub failures: u64,
}

impl RelayBell {
    /// What the publisher has done.
    pub fn figures(&self) -> RelayFigures {
        RelayFigures {
            published: self.0.published.load(Ordering::Relaxed),
            failures: self.0.failures.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(Some(Arc::clone(&self.0)))
    }

    /// Says that rows were committed to the outbox that were not handed over: the publisher looks. Never blocks; several
    /// rings before it does are one.
    pub fn ring(&self) {
        self.0.look_into_outbox();
    }
}

impl Ticket {
    /// Hands over what was committed.
    pub(crate) fn deliver(mut self, row: Option<OutboxRow>, notices: HashMap<LogId, Event>) {
        let Some(shared) = self.0.take() else { return };
        let overflow = {
            let mut queue = shared.queue();
            // Bounded by the number of logs that are being written.
            queue.notices.extend(notices);
            match row {
                Some(row) if queue.rows.len() < QUEUE_ROWS => {
                    queue.rows.push_back(row);
                    false
                }
                row => row.is_some(),
            }
        };
        if overflow {
            shared.look_into_outbox();
        } else {
            shared.wake.notify_one();
        }
    }

    /// Nothing was committed.
    pub(crate) fn void(mut self) {
        self.0 = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.look_into_outbox();
        }
    }
}

/// Publishes the events of this master until `stop`, whatever happens to the broker meanwhile; then what is left, for
/// which it waits a few seconds at most.
pub async fn run(
    db: Db,
    log: Arc<dyn EventLog>,
    mut owner: watch::Receiver<Option<Owner>>,
    bell: RelayBell,
    stop: CancellationToken,
) {
    owner.mark_unchanged();
    let mut relay = Relay {
        db,
        log,
        owner: owner.clone(),
        shared: bell.0,
        published: Vec::new(),
        generation: None,
        pending: HashMap::new(),
        remove_at: None,
        sweep_at: Instant::now() + SWEEP_EVERY,
    };
    relay.shared.look.store(true, Ordering::Release);
    while !stop.is_cancelled() {
        let worked = tokio::select! {
            worked = relay.round() => worked,
            () = stop.cancelled() => break,
        };
        if !worked {
            let deadline = relay.remove_at.map_or(relay.sweep_at, |at| at.min(relay.sweep_at));
            tokio::select! {
                () = relay.shared.wake.notified() => {}
                Ok(()) = owner.changed() => relay.shared.look.store(true, Ordering::Release),
                () = tokio::time::sleep_until(deadline) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    // The round that was cut off may have taken rows out of the queue.
    relay.shared.look.store(true, Ordering::Release);
    let last = async {
        while relay.round().await {}
        relay.remove_published().await
    };
    match tokio::time::timeout(LAST_PASS, last).await {
        Ok(Ok(())) => {}
        // The rows are in the outbox: whoever comes next publishes them.
        Ok(Err(error)) => tracing::warn!(%error, "failed to tidy the outbox while stopping"),
        Err(_) => tracing::warn!("stopped before all events were published; they wait in the outbox"),
    }
}

struct Relay {
    db: Db,
    log: Arc<dyn EventLog>,
    owner: watch::Receiver<Option<Owner>>,
    shared: Arc<Shared>,
    /// Rows that are published and not yet removed.
    published: Vec<Leaving>,
    /// The generation of the log in which the last batch was published.
    generation: Option<Arc<str>>,
    /// Notices that are due at the end of the round.
    pending: HashMap<LogId, Event>,
    remove_at: Option<Instant>,
    sweep_at: Instant,
}

/// Rows of the outbox that were published together, up to `place`, and are to leave it.
struct Leaving {
    ids: Vec<i64>,
    place: Option<Cursor>,
}

impl Relay {
    /// Publishes what there is, in batches; tells whether there was anything. Cancel safe: what was taken out of the
    /// queue and not published is still in the outbox, which is read at the next start.
    async fn round(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            self.forget_old().await;
            self.shared.look.store(true, Ordering::Release);
        }
        if self.shared.look.swap(false, Ordering::AcqRel)
            && let Err(error) = self.read_outbox().await
        {
            tracing::warn!(%error, "failed to read the outbox; it is tried again");
            self.shared.look.store(true, Ordering::Release);
            tokio::time::sleep(Duration::from_millis(500)).await;
            return true;
        }
        if (self.remove_at.is_some_and(|at| now >= at) || self.published_rows() >= REMOVE_ROWS)
            && let Err(error) = self.remove_published().await
        {
            tracing::warn!(%error, "failed to remove published events from the outbox; it is tried again");
            self.remove_at = Some(Instant::now() + REMOVE_AFTER);
        }
        let (rows, due) = {
            let mut queue = self.shared.queue();
            let due = std::mem::take(&mut queue.notices);
            let count = queue.rows.len().min(BATCH_ROWS);
            (queue.rows.drain(..count).collect::<Vec<_>>(), due)
        };
        self.pending.extend(due);
        if rows.is_empty() && self.pending.is_empty() {
            return false;
        }
        // All that was committed before a notice is in the queue by then; so notices wait until it is empty.
        let all = self.shared.queue().rows.is_empty();
        self.publish(rows, all).await;
        true
    }

    /// Publishes rows, with the notices that have to come before a log's end, and at the end the others if `all`.
    async fn publish(&mut self, rows: Vec<OutboxRow>, all: bool) {
        let mut events = Vec::new();
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            ids.push(row.id);
            for event in row.events {
                if let Some(log) = finished_log(&event)
                    && let Some(notice) = self.pending.remove(&log).or_else(|| self.shared.queue().notices.remove(&log))
                {
                    events.push(notice);
                }
                events.push(event);
            }
        }
        if all {
            events.extend(self.pending.drain().map(|(_, notice)| notice));
        }
        let place = self.publish_all(events).await;
        if !ids.is_empty() {
            self.published.push(Leaving { ids, place: place.clone() });
            self.remove_at.get_or_insert_with(|| Instant::now() + REMOVE_AFTER);
        }
        self.notice_generation(place.as_ref()).await;
    }

    fn published_rows(&self) -> usize {
        self.published.iter().map(|batch| batch.ids.len()).sum()
    }

    /// Publishes a batch, however long the broker is away. Meanwhile the queue fills up to its bound. Returns where the
    /// last event stands.
    async fn publish_all(&self, events: Vec<Event>) -> Option<Cursor> {
        if events.is_empty() {
            return None;
        }
        let count = events.len();
        let mut wait = Duration::from_millis(50);
        loop {
            self.db.hooks().at("data::relay::publish:before");
            match self.log.publish(events.clone()).await {
                Ok(place) => {
                    self.db.hooks().at("data::relay::publish:after");
                    self.shared.published.fetch_add(count as u64, Ordering::Relaxed);
                    return place;
                }
                Err(error) if error.is_transient() => {
                    self.shared.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to publish events to the broker; it is tried again"
                    );
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    tracing::error!(%error, count, "the broker refuses events; they are dropped");
                    return None;
                }
            }
        }
    }

    /// Publishes the owner's rows of the outbox, oldest first. What is in the queue is among them.
    async fn read_outbox(&mut self) -> Result<(), DbError> {
        let Some(owner) = *self.owner.borrow() else { return Ok(()) };
        self.remove_published().await?;
        loop {
            let rows = outbox::take_batch(self.db.read(), owner, BATCH_ROWS as u64).await?;
            let full = rows.len() == BATCH_ROWS;
            let ids: HashSet<i64> = rows.iter().map(|row| row.id).collect();
            self.shared.queue().rows.retain(|row| !ids.contains(&row.id));
            self.publish(rows, false).await;
            self.remove_published().await?;
            if !full {
                return Ok(());
            }
        }
    }
}

/// The log whose end an event tells.
fn finished_log(event: &Event) -> Option<LogId> {
    let mut parts = event.keys.first()?.parts();
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("logs"), Some(id), Some("finished"), None) => id.parse().ok().map(LogId),
        _ => None,
    }
}
