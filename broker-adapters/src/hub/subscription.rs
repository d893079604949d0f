//! A subscriber's end of its queue.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::mpsc;

use super::{
    Delivery, FilterChange, Gone, RESUME_STEP, Shared, TopicFilter, collect_matches,
    replay::Replayed,
    state::{Behind, CatchUp, Fate, Joined},
};
use crate::{Cursor, Received};

/// A stream of deliveries. Dropping it ends the subscription.
#[derive(Debug)]
pub struct HubSubscription {
    handle: FilterHandle,
    /// What it gets before what is in the queue: from the log, or a step from the ring.
    backlog: Replayed,
    /// What is to be taken from the ring after the backlog, and before the queue.
    behind: Option<Box<Behind>>,
    queue: mpsc::Receiver<Delivery>,
    fate: Arc<Fate>,
    start: Cursor,
}

/// Changes a subscription's filters from elsewhere. It does not keep the subscription alive.
#[derive(Debug, Clone)]
pub struct FilterHandle {
    shared: Arc<Shared>,
    id: u64,
}

impl FilterHandle {
    /// Adds a filter, from now on.
    pub fn add(&self, filter: TopicFilter) -> FilterChange {
        self.shared.state().add_filter(self.id, filter)
    }

    /// Whether both belong to one subscription.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Removes a filter.
    pub fn remove(&self, filter: &TopicFilter) -> FilterChange {
        self.shared.state().remove_filter(self.id, filter)
    }
}

impl HubSubscription {
    pub(super) fn new(
        shared: Arc<Shared>,
        joined: Joined,
        start: Cursor,
        backlog: Replayed,
        behind: Option<CatchUp>,
    ) -> Self {
        let Joined { id, queue, fate } = joined;
        let mut subscription = Self { handle: FilterHandle { shared, id }, backlog, behind: None, queue, fate, start };
        if let Some((behind, step)) = behind {
            subscription.behind = Some(Box::new(behind));
            subscription.take_step(step);
        }
        subscription
    }

    /// Where it starts: everything after this cursor will be delivered.
    #[must_use]
    pub fn start(&self) -> &Cursor {
        &self.start
    }

    /// The handle that changes its filters.
    #[must_use]
    pub fn filters(&self) -> &FilterHandle {
        &self.handle
    }

    /// The next delivery, in the log's order.
    ///
    /// Cancel safe: yes, a delivery is taken only when it is returned.
    ///
    /// # Errors
    /// [`Gone`]: the subscription has ended, and says why.
    pub async fn recv(&mut self) -> Result<Delivery, Gone> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next delivery, as [`HubSubscription::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Gone>> {
        // What is still queued is of no use to one who has to look at the state again anyway.
        if let Some(gone) = self.fate.get() {
            return Poll::Ready(Err(gone));
        }
        if let Some(delivery) = self.backlog.pop() {
            return Poll::Ready(Ok(delivery));
        }
        if self.behind.is_some() {
            self.catch_up()?;
            return match self.backlog.pop() {
                Some(delivery) => Poll::Ready(Ok(delivery)),
                // Others get their turn before the next step.
                None => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            };
        }
        self.queue.poll_recv(cx).map(|next| next.ok_or_else(|| self.fate.get().unwrap_or(Gone::ShutDown)))
    }

    /// Takes a step of what it is behind.
    fn catch_up(&mut self) -> Result<(), Gone> {
        let Some(behind) = &self.behind else { return Ok(()) };
        let step = self.handle.shared.state().ring_step(behind, RESUME_STEP)?;
        self.take_step(step);
        Ok(())
    }

    fn take_step(&mut self, step: Vec<Received>) {
        let Some(mut behind) = self.behind.take() else { return };
        let is_last = step.len() < RESUME_STEP;
        if let Some(last) = step.last() {
            behind.seen = last.cursor.clone();
            collect_matches(step, &behind.filters, self.backlog.deliveries());
        }
        // Nothing more is asked of the ring, which may have moved on by then.
        if !is_last {
            self.behind = Some(behind);
        }
    }

    /// A delivery if one is waiting.
    ///
    /// # Errors
    /// [`Gone`]: the subscription has ended, and says why.
    pub fn try_recv(&mut self) -> Result<Option<Delivery>, Gone> {
        if let Some(gone) = self.fate.get() {
            return Err(gone);
        }
        loop {
            if let Some(delivery) = self.backlog.pop() {
                return Ok(Some(delivery));
            }
            if self.behind.is_none() {
                break;
            }
            self.catch_up()?;
        }
        match self.queue.try_recv() {
            Ok(delivery) => Ok(Some(delivery)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(self.fate.get().unwrap_or(Gone::ShutDown)),
        }
    }

    /// If nothing is waiting: the cursor up to which this subscriber has got everything meant for it. With it a client
    /// whose filters are quiet can resume later.
    #[must_use]
    pub fn caught_up_at(&self) -> Option<Cursor> {
        // The cursor is read first: what it covers was queued before.
        let newest = self.handle.shared.state().newest();
        (self.backlog.is_empty() && self.behind.is_none() && self.queue.is_empty()).then_some(newest)
    }
}

impl Drop for HubSubscription {
    fn drop(&mut self) {
        self.handle.shared.state().remove(self.handle.id, None);
    }
}
