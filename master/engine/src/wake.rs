//! Wake-ups: events as hints, with a periodic re-scan behind them.
//!
//! Interest is registered before the first look at the database, so nothing that happens after a look is missed; what a
//! broker loses, or another master with a broker of its own never sends, is found by the re-scan.

use std::time::Duration;

use broker_adapters::{Delivery, EventHub, Gone, HubSubscription, TopicFilter};
use tokio::time::{Instant, sleep_until};

/// Waits for events or the time of the next re-scan.
#[derive(Debug)]
pub(crate) struct Wakeups {
    hub: EventHub,
    filters: Vec<TopicFilter>,
    subscription: Option<HubSubscription>,
    rescan_interval: Duration,
    next_rescan: Instant,
}

/// What woke a waiter up.
#[derive(Debug)]
pub(crate) enum Woken {
    /// These events came.
    Events(Vec<Delivery>),
    /// It is time to look at everything: events may have been missed.
    Rescan,
    /// The given time has come.
    Due,
}

/// How many queued events are taken at once.
const BATCH: usize = 1024;

impl Wakeups {
    /// Listens for events under these keys (`*` for any part).
    pub(crate) fn new(hub: &EventHub, filters: &[&str], rescan_interval: Duration) -> Self {
        let filters = filters
            .iter()
            .filter_map(|filter| {
                let parsed: Result<TopicFilter, _> = filter.parse();
                debug_assert!(parsed.is_ok(), "the engine's filters are well-formed");
                parsed.ok()
            })
            .collect::<Vec<_>>();
        let subscription = hub.listen(filters.clone()).ok();
        Self { hub: hub.clone(), filters, subscription, rescan_interval, next_rescan: Instant::now() + rescan_interval }
    }

    /// Waits for the next reason to look at the database; `due` is a time of the caller's own.
    ///
    /// Cancel safe: yes; events that were not returned stay queued.
    pub(crate) async fn next(&mut self, due: Option<Instant>) -> Woken {
        let rescan = sleep_until(self.next_rescan);
        let own = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            first = receive(&mut self.subscription) => match first {
                Ok(first) => self.drain(first),
                Err(_) => self.listen_again(),
            },
            () = own => Woken::Due,
            () = rescan => {
                self.next_rescan = Instant::now() + self.rescan_interval;
                if self.subscription.is_none() {
                    return self.listen_again();
                }
                Woken::Rescan
            }
        }
    }

    fn drain(&mut self, first: Delivery) -> Woken {
        let mut events = vec![first];
        while let Some(subscription) = &mut self.subscription
            && events.len() < BATCH
        {
            match subscription.try_recv() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return self.listen_again(),
            }
        }
        Woken::Events(events)
    }

    fn listen_again(&mut self) -> Woken {
        self.subscription = self.hub.listen(self.filters.clone()).ok();
        Woken::Rescan
    }
}

/// Without a subscription (the hub is shutting down) only the re-scans are left.
async fn receive(subscription: &mut Option<HubSubscription>) -> Result<Delivery, Gone> {
    match subscription {
        Some(subscription) => subscription.recv().await,
        None => std::future::pending().await,
    }
}
