//! The event log that the settings name, and its figures.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use broker_adapters::{BrokerOptions, EventHub, EventLog, Outside};
use buildguild_config::Settings;
use buildguild_data::DbGenerations;
use buildguild_data::forwarder::ForwarderFigures;
use buildguild_data::relay::RelayBell;
use buildguild_db::{Db, Owner, event_log, outbox::OutboxRow};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the outbox is counted. A count reads the table, which is short unless the broker is away.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// The broker that the settings name. Its parts connect when they are first used.
pub(super) struct Broker {
    /// The event log.
    pub(super) log: Arc<dyn EventLog>,
    /// The way to outsiders, if it has one.
    pub(super) outside: Option<Arc<dyn Outside>>,
}

/// Opens what the settings name.
///
/// # Errors
/// If the URL or the certificates cannot be used.
pub(super) fn open(settings: &Settings, db: &Db) -> Result<Broker> {
    let broker = &settings.broker;
    let mut options = BrokerOptions::new(broker.url.expose().to_owned());
    options.retained_events = broker.retained_events;
    options.retained_bytes = broker.retained_bytes;
    if let Some(path) = &broker.ca_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("broker.ca_file: read {}", path.display()))?;
        options.authorities = Some(text);
    }
    let log =
        broker_adapters::open(&options, Arc::new(DbGenerations::new(db.clone()))).context("broker.url: failed to")?;
    let outside = broker_adapters::outside(&options).context("broker.url: failed to")?;
    Ok(Broker { log, outside })
}

/// What `/metrics` says of the broker and of the outbox.
#[derive(Clone)]
pub(super) struct Figures {
    hub: EventHub,
    bell: RelayBell,
    forwarder: Arc<ForwarderFigures>,
    connected: IntGauge,
    published: IntCounter,
    failures: IntCounter,
    rows: IntGauge,
    oldest: Gauge,
    forwarded: IntCounter,
    refused: IntCounter,
}

impl Figures {
    /// # Errors
    /// If there are figures of these names already.
    pub(super) fn new(
        registry: &Registry,
        hub: &EventHub,
        bell: &RelayBell,
        forwarder: &Arc<ForwarderFigures>,
    ) -> Result<Self> {
        let figures = Self {
            hub: hub.clone(),
            bell: bell.clone(),
            forwarder: Arc::clone(forwarder),
            connected: IntGauge::new("buildguild_broker_connected", "Whether this replica can read the event log.")?,
            published: IntCounter::new("buildguild_events_published_total", "Events that the broker confirmed.")?,
            failures: IntCounter::new(
                "buildguild_event_publish_failures_total",
                "Attempts to publish that failed; each is made again.",
            )?,
            rows: IntGauge::new(
                "buildguild_outbox_rows",
                "Transactions of this replica whose events wait to be published.",
            )?,
            oldest: Gauge::new(
                "buildguild_outbox_oldest_seconds",
                "Age of the oldest event of this replica that waits to be published; 0 if none does.",
            )?,
            forwarded: IntCounter::new(
                "buildguild_events_forwarded_total",
                "Messages that this replica handed on to outsiders, one for each key of each event.",
            )?,
            refused: IntCounter::new(
                "buildguild_events_refused_total",
                "Messages that an outsider's full queue refused.",
            )?,
        };
        registry.register(Box::new(figures.clone()))?;
        Ok(figures)
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [&self.connected, &self.published, &self.failures, &self.rows, &self.oldest, &self.forwarded, &self.refused]
    }

    /// Counts this replica's outbox now and then, until `stop`.
    pub(super) async fn follow_outbox(&self, db: Db, owner: watch::Receiver<Option<Owner>>, stop: CancellationToken) {
        loop {
            let owner = *owner.borrow();
            if let Some(owner) = owner {
                match event_log::backlog(db.read(), owner).await {
                    Ok(backlog) => {
                        self.rows.set(backlog.rows);
                        self.oldest.set(backlog.oldest.as_ref().and_then(age).unwrap_or_default().as_secs_f64());
                    }
                    // What does not answer is told by those who need it.
                    Err(error) => tracing::debug!(%error, "failed to count the outbox"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(COUNT_EVERY) => {}
            }
        }
    }
}

/// How long ago a row was written: an event's id holds the time.
fn age(row: &OutboxRow) -> Option<Duration> {
    let (seconds, nanos) = row.events.first()?.event_id.get_timestamp()?.to_unix();
    let written = UNIX_EPOCH + Duration::new(seconds, nanos);
    // The writer's clock may be ahead of ours.
    Some(SystemTime::now().duration_since(written).unwrap_or_default())
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.connected.set(i64::from(*self.hub.connected().borrow()));
        let figures = self.bell.figures();
        self.published.inc_by(figures.published.saturating_sub(self.published.get()));
        self.failures.inc_by(figures.failures.saturating_sub(self.failures.get()));
        self.forwarded.inc_by(self.forwarder.messages().saturating_sub(self.forwarded.get()));
        self.refused.inc_by(self.forwarder.refused().saturating_sub(self.refused.get()));
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use buildguild_types::event::Event;

    use super::*;

    #[test]
    fn a_row_is_as_old_as_its_first_event() {
        let event = Event::new(vec!["a/1/new".into()], &1).unwrap();
        let young = age(&OutboxRow { id: 1, events: vec![event.clone()] }).unwrap();
        assert!(young < Duration::from_secs(60), "{young:?}");
        let mut old = event;
        old.event_id = uuid::Uuid::from_u128(old.event_id.as_u128() - (3_600_000_u128 << 80));
        let old = age(&OutboxRow { id: 1, events: vec![old] }).unwrap();
        assert!((3600..3700).contains(&old.as_secs()), "{old:?}");
    }
}
