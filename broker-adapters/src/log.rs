//! The trait that every broker adapter implements.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use buildguild_types::event::Event;
use futures::stream::BoxStream;

use crate::Cursor;

/// The cluster's event log: ordered, bounded, replayable.
///
/// - *Lifecycle*: an adapter connects lazily and reconnects on its own; an outage shows as `Unavailable` from
///   [`EventLog::publish`] and as an ended [`Subscription`]. Dropping a subscription releases what it held.
/// - *Concurrency*: all methods may be called from any number of tasks. Events of one `publish` call keep their order
///   in the log; calls that overlap may land in either order.
/// - *Delivery*: at least once. A publisher that got an error may publish the batch again, so that a reader can see an
///   event twice, with the same `event_id` and another cursor.
/// - *Retention*: bounded by the adapter. A reader that is too far behind learns it by [`SubscribeError::NotRetained`];
///   events are never left out silently.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends `batch`, and returns when it is as durable as the broker makes it: where its last event stands, if the
    /// broker tells. An empty batch is a no-op.
    ///
    /// # Errors
    /// [`BrokerError`]: none, some or all of the batch may have been appended; publish all of it again.
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError>;

    /// Reads the log from now on (`None`) or everything after a cursor.
    ///
    /// Everything whose publication begins after this returned is delivered.
    ///
    /// # Errors
    /// [`SubscribeError::NotRetained`] if an event after `from` may be gone, or `from` is of another generation or beyond
    /// the end of the log; [`SubscribeError::Unavailable`] if the broker cannot be reached.
    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError>;

    /// Whether the broker can lose what it has confirmed, as a Redis does whose replica takes over before it has copied
    /// everything. Publishers then keep for a while what they published, and ask [`EventLog::holds`].
    fn can_lose_confirmed(&self) -> bool {
        false
    }

    /// Whether everything up to a place that [`EventLog::publish`] gave is still there (or has left by retention).
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    async fn holds(&self, _place: &Cursor) -> Result<bool, BrokerError> {
        Ok(true)
    }
}

/// An ordered stream of the log's events.
pub struct Subscription {
    /// Where reading starts: the cursor asked for, or the end of the log at the time of the call.
    pub start: Cursor,
    /// The events after `start`, in batches of what is there. It ends with an error; the reader subscribes again,
    /// from the last cursor it saw. Never yields an empty batch.
    pub events: BoxStream<'static, Result<Vec<Received>, SubscribeError>>,
}

/// An event as read from the log.
#[derive(Debug, Clone)]
pub struct Received {
    /// Where it stands in the log.
    pub cursor: Cursor,
    /// The event; shared, because adapters in this process hand the same one to every reader.
    pub event: Arc<Event>,
}

/// Why a batch was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker cannot be reached, or did not confirm in time. Try again later.
    #[error("reach the message broker")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The broker answered that it does not take this batch, and will not later.
    #[error("have the message broker accept a batch of events")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

impl BrokerError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused(_) => false,
        }
    }
}

/// Why reading the log did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// What comes after the cursor is no longer retained: look at the state and read from now.
    #[error("read events that are no longer retained")]
    NotRetained,
    /// The broker cannot be reached. Try again later, from the last cursor.
    #[error("reach the message broker")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}
