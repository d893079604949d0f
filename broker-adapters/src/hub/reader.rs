//! The task that reads the log for the hub, and reconnects.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{EventLog, SubscribeError, Subscription};

/// The first pause after the broker was lost, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Reads until `shutdown`, then puts all subscribers out.
pub(super) async fn run(
    log: Arc<dyn EventLog>,
    first: Result<Subscription, SubscribeError>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    // Nothing is held across an await that cancelling could leave half done.
    let _ = shutdown.run_until_cancelled(read(log, first, &shared)).await;
    shared.state().shut_down();
}

async fn read(log: Arc<dyn EventLog>, first: Result<Subscription, SubscribeError>, shared: &Shared) {
    let mut attempt = first;
    // Without a first subscription there is no place to go on from.
    let mut has_place = attempt.is_ok();
    let mut pause = PAUSE.0;
    loop {
        match attempt {
            Ok(subscription) => {
                if !has_place {
                    shared.state().reset(subscription.start.clone());
                    has_place = true;
                }
                pause = PAUSE.0;
                shared.is_connected.send_replace(true);
                let end = forward(subscription, shared).await;
                shared.is_connected.send_replace(false);
                match end {
                    SubscribeError::NotRetained => {
                        tracing::warn!("fell behind the event log; subscribers are told to look again");
                        has_place = false;
                    }
                    SubscribeError::Unavailable(error) => {
                        tracing::warn!(error = %error, "lost the event log; trying again");
                    }
                }
            }
            Err(SubscribeError::NotRetained) => {
                tracing::warn!("the event log no longer has what comes next; subscribers are told to look again");
                has_place = false;
            }
            Err(SubscribeError::Unavailable(error)) => {
                tracing::warn!(
                    error = &*error as &dyn std::error::Error,
                    retry_in = ?pause,
                    "could not reach the event log in the broker"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
        let from = has_place.then(|| shared.state().newest());
        attempt = log.subscribe(from).await;
    }
}

/// Dispatches until the stream ends, and returns why.
async fn forward(mut subscription: Subscription, shared: &Shared) -> SubscribeError {
    while let Some(batch) = subscription.events.next().await {
        match batch {
            Ok(batch) => {
                // One critical section per event, so that subscribing is not held up by a long batch.
                for received in batch {
                    if received.event.keys.is_empty() {
                        tracing::warn!(event_id = %received.event.event_id, "dropped an event without a key");
                        continue;
                    }
                    shared.state().dispatch(received);
                }
                tokio::task::yield_now().await;
            }
            Err(error) => return error,
        }
    }
    SubscribeError::Unavailable("the stream of events ended".into())
}
