//! Hands the event log on to outsiders, where the broker has a way to them.
//!
//! One replica does it, under a lease in the database; where it is in the log is stored there too, at most once a second,
//! so that whoever comes next goes on there: outsiders get each event at least once, with its id. What was not retained
//! for as long as nobody forwarded is left out, and said in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_adapters::{Cursor, Outside, Received, SubscribeError, Subscription};
use buildguild_db::leases::{self, Lease};
use buildguild_db::{DbError, Owner, state};
use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Data;

/// The lease, and the object whose state the place is.
const NAME: &str = "event-forwarder";
/// How often the place is stored, at most.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// How often the lease is looked at when there is nothing to store.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The first pause after the broker failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What was handed on since the start, for metrics.
#[derive(Debug, Default)]
pub struct ForwarderFigures {
    messages: AtomicU64,
    refused: AtomicU64,
}

impl ForwarderFigures {
    /// Messages that were handed on: one for each key of each event.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages that some outsider's queue refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Hands on what the log gets whenever this replica holds the lease, until `stop`. The others look every `interval`
/// whether it has become free.
pub async fn run(
    data: Data,
    outside: Arc<dyn Outside>,
    figures: Arc<ForwarderFigures>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut forwarder = Forwarder { data, outside, figures, pause: PAUSE.0 };
    let working = async {
        loop {
            match forwarder.serve().await {
                Ok(()) => tokio::time::sleep(interval).await,
                Err(error) => {
                    tracing::warn!(error = %error, "failed to hand on events to outsiders; it is tried again");
                    tokio::time::sleep(forwarder.pause).await;
                    forwarder.pause = (forwarder.pause * 2).min(PAUSE.1);
                }
            }
        }
    };
    // Wherever it is cut off, the place that is stored is before what was not handed on.
    let _: Option<()> = stop.run_until_cancelled(working).await;
    if let Some(owner) = forwarder.data.owner() {
        let release =
            forwarder.data.db().write(|tx| async move { leases::release(&tx, Lease::Named(NAME), owner).await });
        if let Err(error) = release.await {
            tracing::debug!(%error, "failed to release the forwarder's lease; housekeeping does");
        }
    }
}

struct Forwarder {
    data: Data,
    outside: Arc<dyn Outside>,
    figures: Arc<ForwarderFigures>,
    pause: Duration,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Forwarder {
    /// Hands on as long as the lease is ours; at once `Ok` if it is somebody else's.
    async fn serve(&mut self) -> Result<(), Failure> {
        let Some(owner) = self.data.owner() else { return Ok(()) };
        if !self.store(owner, None).await? {
            return Ok(());
        }
        let Subscription { start, mut events } = self.subscribe().await?;
        let (mut place, mut stored) = (start, None);
        let (mut store_at, mut looked_at) = (Instant::now(), None::<Instant>);
        loop {
            tokio::select! {
                batch = events.next() => {
                    let batch = batch.ok_or("the stream of events ended")??;
                    place = batch.last().map_or(place, |last| last.cursor.clone());
                    self.hand_on(batch).await?;
                    self.pause = PAUSE.0;
                }
                () = tokio::time::sleep_until(store_at) => {}
            }
            let now = Instant::now();
            if now >= store_at {
                store_at = now + STORE_EVERY;
                let news = (stored.as_ref() != Some(&place)).then_some(&place);
                if news.is_none() && looked_at.is_some_and(|at| now < at + LOOK_EVERY) {
                    continue;
                }
                if !self.store(owner, news).await? {
                    return Ok(());
                }
                (stored, looked_at) = (Some(place.clone()), Some(now));
            }
        }
    }

    /// The log from the stored place on; from now on if there is none, or what comes after it is gone.
    async fn subscribe(&self) -> Result<Subscription, Failure> {
        let (db, log) = (self.data.db(), self.data.log());
        let object = db.write(|tx| async move { state::object_id(&tx, NAME, "buildguild.Forwarder").await }).await?;
        let stored = state::get(db.read(), object, "place").await?;
        if let Some(place) =
            stored.as_ref().and_then(|value| value.as_str()).and_then(|text| text.parse::<Cursor>().ok())
        {
            match log.subscribe(Some(place)).await {
                Err(SubscribeError::NotRetained) => {
                    tracing::warn!("outsiders miss events: the log no longer has what comes next for them");
                }
                other => return Ok(other?),
            }
        }
        Ok(log.subscribe(None).await?)
    }

    async fn hand_on(&self, batch: Vec<Received>) -> Result<(), Failure> {
        // Keys that begin with `_` are the replicas' own hints.
        let events: Vec<_> = batch
            .into_iter()
            .map(|received| received.event)
            .filter(|event| event.keys.first().is_some_and(|key| !key.as_str().starts_with('_')))
            .collect();
        if !events.is_empty() {
            let forwarded = self.outside.forward(&events).await?;
            self.figures.messages.fetch_add(forwarded.messages, Ordering::Relaxed);
            self.figures.refused.fetch_add(forwarded.refused, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes or keeps the lease and stores the place, in one transaction. `false` if the lease is somebody else's.
    async fn store(&self, owner: Owner, place: Option<&Cursor>) -> Result<bool, DbError> {
        let text = place.map(ToString::to_string);
        let text = text.as_deref();
        self.data
            .db()
            .write(|tx| async move {
                if !leases::acquire(&tx, Lease::Named(NAME), owner).await? {
                    return Ok(false);
                }
                if let Some(text) = text {
                    let object = state::object_id(&tx, NAME, "buildguild.Forwarder").await?;
                    state::set(&tx, object, "place", &text.into()).await?;
                }
                Ok(true)
            })
            .await
    }
}
