//! `/metrics`, and the web server's own figures.

use std::time::Instant;

use actix_web::{
    HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use broker_adapters::EventHub;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::state::AppState;

/// The web server's figures, and the registry that `/metrics` shows.
pub(crate) struct WebMetrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    /// Open streams by kind.
    pub(crate) streams: IntGaugeVec,
    /// Streams that were ended because their client did not keep up, by kind.
    pub(crate) resets: IntCounterVec,
    /// Requests refused because there were too many, by what there were too many of.
    pub(crate) refused: IntCounterVec,
}

/// The number of the hub's subscribers, read when it is asked for.
struct Subscribers {
    hub: EventHub,
    gauge: IntGauge,
}

impl Collector for Subscribers {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from(self.hub.subscriber_count()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

impl WebMetrics {
    pub(crate) fn new(registry: Registry, hub: &EventHub) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("buildguild_http_requests_total", "HTTP requests answered, by kind of path and status class."),
            &["route", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "buildguild_http_request_duration_seconds",
                "Time until the head of the answer was ready, by kind of path.",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]),
            &["route"],
        )?;
        let streams =
            IntGaugeVec::new(Opts::new("buildguild_event_streams", "Open event streams, by kind."), &["kind"])?;
        let resets = IntCounterVec::new(
            Opts::new("buildguild_event_stream_resets_total", "Event streams told to look again, by kind."),
            &["kind"],
        )?;
        let refused = IntCounterVec::new(
            Opts::new("buildguild_http_refused_total", "Requests refused by the limits per client address, by limit."),
            &["limit"],
        )?;
        registry.register(Box::new(refused.clone()))?;
        let gauge = IntGauge::new("buildguild_event_subscribers", "Subscribers of this replica's event hub.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(streams.clone()))?;
        registry.register(Box::new(resets.clone()))?;
        registry.register(Box::new(Subscribers { hub: hub.clone(), gauge }))?;
        Ok(Self { registry, requests, durations, streams, resets, refused })
    }
}

/// The kind of path, of which there are few: labels must not grow with what clients ask for.
fn route_of(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "api" => "api",
        "ws" => "ws",
        "sse" => "sse",
        "worker" => "worker",
        "auth" => "auth",
        "health" => "health",
        "metrics" => "metrics",
        _ => "page",
    }
}

/// Counts and times every request.
pub(crate) async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let route = route_of(request.path());
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let response = next.call(request).await?;
    if let Some(state) = state {
        let status = match response.status().as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        state.metrics.requests.with_label_values(&[route, status]).inc();
        state.metrics.durations.with_label_values(&[route]).observe(started.elapsed().as_secs_f64());
    }
    Ok(response)
}

/// `GET /metrics`, in Prometheus's text format.
pub(crate) async fn show(state: web::Data<AppState>) -> HttpResponse {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&state.metrics.registry.gather(), &mut text) {
        Ok(()) => HttpResponse::Ok().content_type(encoder.format_type()).body(text),
        Err(error) => {
            tracing::error!(%error, "could not write the metrics");
            HttpResponse::InternalServerError().finish()
        }
    }
}
