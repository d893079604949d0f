//! The figures of scheduling and distribution.

use prometheus::{Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The figures of scheduling and distribution. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Builders with requests that could not start yet, as far as this replica knows.
    pub(crate) builders_waiting: IntGauge,
    /// What one look for requests to start takes.
    pub(crate) distribution_secs: Histogram,
    /// Requests that were skipped because a newer one does their work.
    pub(crate) collapsed: IntCounter,
    /// Schedulers and change sources that run here.
    pub(crate) singletons: IntGauge,
    /// Buildsets submitted by schedulers that run here, by scheduler.
    pub(crate) buildsets: IntCounterVec,
    /// Polls of change sources, by outcome: `ok` or `failed`.
    pub(crate) polls: IntCounterVec,
    /// Failed calls of the functions that decide what a builder starts, by builder.
    pub(crate) function_failures: IntCounterVec,
    /// Changes added by change sources that run here.
    pub(crate) changes: IntCounter,
}

impl Figures {
    /// Registers the figures.
    ///
    /// # Errors
    /// If they are registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let labelled = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let figures = Self {
            builders_waiting: IntGauge::new(
                "buildguild_builders_waiting",
                "Builders with requests that could not start yet.",
            )?,
            distribution_secs: Histogram::with_opts(
                HistogramOpts::new("buildguild_distribution_seconds", "The time to look for requests to start.")
                    .buckets(prometheus::exponential_buckets(0.000_5, 2.0, 12)?),
            )?,
            collapsed: IntCounter::new("buildguild_requests_collapsed_total", "Requests skipped for a newer one.")?,
            singletons: IntGauge::new(
                "buildguild_singletons_running",
                "Schedulers and change sources that run on this master.",
            )?,
            buildsets: labelled("buildguild_buildsets_total", "Buildsets submitted, by scheduler.", "scheduler")?,
            polls: labelled("buildguild_polls_total", "Polls of change sources, by outcome.", "outcome")?,
            function_failures: labelled(
                "buildguild_builder_function_failures_total",
                "Failed calls of nextBuild, nextWorker, canStartBuild and collapseRequests, by builder.",
                "builder",
            )?,
            changes: IntCounter::new("buildguild_changes_total", "Changes added by this master's change sources.")?,
        };
        registry.register(Box::new(figures.builders_waiting.clone()))?;
        registry.register(Box::new(figures.distribution_secs.clone()))?;
        registry.register(Box::new(figures.collapsed.clone()))?;
        registry.register(Box::new(figures.singletons.clone()))?;
        registry.register(Box::new(figures.buildsets.clone()))?;
        registry.register(Box::new(figures.polls.clone()))?;
        registry.register(Box::new(figures.function_failures.clone()))?;
        registry.register(Box::new(figures.changes.clone()))?;
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_figures_are_shown() {
        let registry = Registry::new();
        let figures = Figures::register(&registry).expect("the names are good");
        figures.buildsets.with_label_values(&["s"]).inc();
        figures.polls.with_label_values(&["ok"]).inc();
        figures.function_failures.with_label_values(&["b"]).inc();
        assert_eq!(registry.gather().len(), 8);
        assert!(Figures::register(&registry).is_err());
    }
}
