//! Counts an open stream for as long as it lives.

use prometheus::IntGauge;

use crate::metrics::WebMetrics;

#[derive(Debug)]
pub(super) struct StreamGuard(IntGauge);

impl StreamGuard {
    pub(super) fn new(metrics: &WebMetrics, kind: &str) -> Self {
        let gauge = metrics.streams.with_label_values(&[kind]);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
