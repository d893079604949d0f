//! The engine's figures for `/metrics`.

use std::time::Duration;

use buildguild_data::Data;
use buildguild_db::{buildrequests, masters};
use buildguild_types::results::Results;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio_util::sync::CancellationToken;

use crate::workers::Workers;

/// The engine's figures. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Builds that run here.
    builds_running: IntGauge,
    /// Builds that ended here, by result.
    builds_finished: IntCounterVec,
    /// How long they took.
    build_duration: Histogram,
    /// Requests that this master wanted and got.
    pub(crate) claims_won: IntCounter,
    /// Requests that this master wanted and another one got.
    pub(crate) claims_lost: IntCounter,
    workers_connected: IntGauge,
    requests_pending: IntGauge,
    configs_in_force: IntGauge,
    is_active: IntGauge,
}

impl Metrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// If they are registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            builds_running: IntGauge::new("buildguild_builds_running", "Builds that run on this master.")?,
            builds_finished: IntCounterVec::new(
                Opts::new("buildguild_builds_finished_total", "Builds that ended on this master, by result."),
                &["results"],
            )?,
            build_duration: Histogram::with_opts(
                HistogramOpts::new("buildguild_build_duration_seconds", "From a build's start to its end.")
                    .buckets(prometheus::exponential_buckets(0.1, 4.0, 10)?),
            )?,
            claims_won: IntCounter::new("buildguild_claims_won_total", "Build requests that this master claimed.")?,
            claims_lost: IntCounter::new(
                "buildguild_claims_lost_total",
                "Build requests that this master wanted to claim, but another one was faster.",
            )?,
            workers_connected: IntGauge::new(
                "buildguild_workers_connected",
                "Workers that are connected to this master.",
            )?,
            requests_pending: IntGauge::new(
                "buildguild_build_requests_pending",
                "Build requests of the whole cluster that nobody has claimed.",
            )?,
            configs_in_force: IntGauge::new(
                "buildguild_configs_in_force",
                "Versions of the farm config that are in force on active masters: more than 1 while these differ.",
            )?,
            is_active: IntGauge::new(
                "buildguild_master_active",
                "1 while this master is a member of the cluster, 0 while it is fenced.",
            )?,
        };
        // Each result is there from the start, so that a rate over it is.
        for results in Results::ALL {
            metrics.builds_finished.with_label_values(&[results.name()]);
        }
        registry.register(Box::new(metrics.builds_running.clone()))?;
        registry.register(Box::new(metrics.builds_finished.clone()))?;
        registry.register(Box::new(metrics.build_duration.clone()))?;
        registry.register(Box::new(metrics.claims_won.clone()))?;
        registry.register(Box::new(metrics.claims_lost.clone()))?;
        registry.register(Box::new(metrics.workers_connected.clone()))?;
        registry.register(Box::new(metrics.requests_pending.clone()))?;
        registry.register(Box::new(metrics.configs_in_force.clone()))?;
        registry.register(Box::new(metrics.is_active.clone()))?;
        Ok(metrics)
    }

    /// Counts a build until the value is dropped.
    pub(crate) fn build(&self) -> RunningBuild {
        self.builds_running.inc();
        RunningBuild { metrics: self.clone() }
    }

    /// Notes how a build ended, and how long it took.
    pub(crate) fn build_ended(&self, results: Results, took: Duration) {
        self.builds_finished.with_label_values(&[results.name()]).inc();
        self.build_duration.observe(took.as_secs_f64());
    }

    /// Looks up what only the database and the sessions know, every `interval` until `stop`.
    pub(crate) async fn sample(self, data: Data, workers: Workers, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.workers_connected.set(i64::try_from(workers.all().len()).unwrap_or(i64::MAX));
            self.is_active.set(i64::from(data.owner().is_some()));
            // A figure that cannot be had keeps its last value; the check-in says that the database is away.
            if let Ok(pending) = buildrequests::count_pending(data.db().read()).await {
                self.requests_pending.set(pending);
            }
            if let Ok(configs) = masters::configs_in_force(data.db().read()).await {
                self.configs_in_force.set(i64::try_from(configs.len()).unwrap_or(i64::MAX));
            }
        }
    }
}

/// A build that is counted as running.
#[derive(Debug)]
pub(crate) struct RunningBuild {
    metrics: Metrics,
}

impl Drop for RunningBuild {
    fn drop(&mut self) {
        self.metrics.builds_running.dec();
    }
}
