//! The event log that the settings name, and its figures.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use broker_adapters::{BrokerOptions, EventHub, EventLog, Outside};
use buildguild_config::Settings;
use buildguild_data::DbGenerations;
use buildguild_data::forwarder::ForwarderFigures;
use buildguild_data::membership::Membership;
use buildguild_data::relay::RelayBell;
use buildguild_db::{Db, event_log};
use buildguild_types::time::{Clock, SystemClock};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};
use tokio_util::sync::CancellationToken;

/// The broker that the settings name. Its parts connect when they are first used.
pub(super) struct Broker {
    /// The event log.
    pub(super) log: Arc<dyn EventLog>,
    /// The way to outsiders, if it has one.
    pub(super) outside: Option<Arc<dyn Outside>>,
    /// What kind it is.
    pub(super) kind: &'static str,
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
    let kind = broker_adapters::kind(&options).context("broker.url: failed to")?;
    Ok(Broker { log, outside, kind })
}

/// Between two looks at which log the cluster's is.
const LOOK: Duration = Duration::from_secs(15);

/// Says so when this master reads another log than the one that the cluster has agreed on, twice in a row: each time readers
/// change to a new log it takes them a moment. It then has another broker than the others, of the same kind.
pub(super) struct LogWatch {
    db: Db,
    hub: EventHub,
    differs: IntGauge,
}

impl LogWatch {
    /// # Errors
    /// If there is a figure of this name already.
    pub(super) fn register(registry: &Registry, db: &Db, hub: &EventHub) -> Result<Self> {
        let differs = IntGauge::new(
            "buildguild_event_log_differs",
            "1 if this replica reads another event log than the cluster has agreed on: not all have the same broker.",
        )?;
        registry.register(Box::new(differs.clone()))?;
        Ok(Self { db: db.clone(), hub: hub.clone(), differs })
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let mut before = None;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let is_connected = *self.hub.connected().borrow();
            let agreed = if is_connected { event_log::generation(self.db.read()).await.ok().flatten() } else { None };
            let Some(agreed) = agreed else {
                // Two looks with an outage between them are not in a row.
                before = None;
                continue;
            };
            let newest = self.hub.newest();
            let differs = (**newest.generation() != *agreed).then_some(agreed);
            let again = differs.as_ref().filter(|agreed| before.as_ref() == Some(*agreed));
            if let Some(agreed) = again {
                tracing::error!(
                    "the cluster's event log is {agreed}, but this master reads {}: it has another broker than the others",
                    newest.generation()
                );
            }
            // One look that differs says nothing yet.
            if again.is_some() || differs.is_none() {
                self.differs.set(i64::from(again.is_some()));
            }
            before = differs;
        }
    }
}

/// What `/metrics` says of the broker and of the outbox.
pub(super) struct Figures {
    hub: EventHub,
    bell: RelayBell,
    forwarder: Arc<ForwarderFigures>,
    membership: Arc<Membership>,
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
    pub(super) fn register(
        registry: &Registry,
        hub: &EventHub,
        bell: &RelayBell,
        forwarder: &Arc<ForwarderFigures>,
        membership: &Arc<Membership>,
    ) -> Result<()> {
        let figures = Self {
            hub: hub.clone(),
            bell: bell.clone(),
            forwarder: Arc::clone(forwarder),
            membership: Arc::clone(membership),
            connected: IntGauge::new("buildguild_broker_connected", "Whether this replica can read the event log.")?,
            published: IntCounter::new("buildguild_events_published_total", "Events that the broker confirmed.")?,
            failures: IntCounter::new(
                "buildguild_event_publish_failures_total",
                "Attempts to publish that failed; each is made again.",
            )?,
            rows: IntGauge::new(
                "buildguild_outbox_rows",
                "Transactions of this replica whose events wait to be published; counted up to 10,000.",
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
        registry.register(Box::new(figures))?;
        Ok(())
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [&self.connected, &self.published, &self.failures, &self.rows, &self.oldest, &self.forwarded, &self.refused]
    }
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
        let (rows, oldest) = self.membership.backlog();
        self.rows.set(rows);
        // Clocks differ: an event may seem to come from the future, and is of age zero then.
        let age = oldest.map(|written| SystemClock.now().since(written)).unwrap_or_default();
        self.oldest.set(age.as_secs_f64());
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}
