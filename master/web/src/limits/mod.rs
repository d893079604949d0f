//! Limits per client address: requests per second, connections, open streams. They are far above what the pages and
//! dashboards of a farm need, and keep a crawler or a broken script from taking the server for itself.
//!
//! Loopback is not limited, except for clients that a trusted proxy speaks for.

mod client;
mod connections;
mod rate;

use actix_web::{
    HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{ConnectionType, Method, StatusCode, header},
    middleware::Next,
    web,
};

pub use self::client::{ProxyRange, ProxyRangeError};
pub(crate) use self::{
    client::{client_of, comes_from_elsewhere, forwarded_host},
    connections::{Connection, Hold, Holders},
    rate::{FORGET_EVERY, RateLimits},
};
use crate::{api::refuse_too_many, handover::Socket, state::AppState};

/// Paths that are never limited: whoever watches over the server has to get through when it is busy.
const EXEMPT: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

/// Refuses what is too much, before anything else is done for it.
pub(crate) async fn enforce<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    if let Some(refusal) = refusal(&state, &request) {
        state.metrics.refused.with_label_values(&[refusal.reason]).inc();
        let is_call = request.method() == Method::POST && request.path().starts_with("/api/");
        let response = if is_call { refusal.respond_to_call() } else { refusal.respond() };
        return Ok(request.into_response(response).map_into_right_body());
    }
    let mut response = next.call(request).await?.map_into_left_body();
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Why a request is refused.
pub(crate) struct Refusal {
    reason: &'static str,
    text: &'static str,
    retry_after_secs: u64,
    closes: bool,
}

impl Refusal {
    /// The answer.
    pub(crate) fn respond(&self) -> HttpResponse {
        let body = serde_json::json!({ "error": self.text }).to_string();
        let mut response = HttpResponse::build(StatusCode::TOO_MANY_REQUESTS);
        self.come_back_later(response.content_type("text/plain; charset=utf-8").body(body))
    }

    /// The answer to a control call, in its form.
    fn respond_to_call(&self) -> HttpResponse {
        self.come_back_later(refuse_too_many(self.text))
    }

    fn come_back_later(&self, mut response: HttpResponse) -> HttpResponse {
        response.headers_mut().insert(header::RETRY_AFTER, self.retry_after_secs.into());
        if self.closes {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }
}

fn refusal(state: &AppState, request: &ServiceRequest) -> Option<Refusal> {
    if EXEMPT.contains(&request.path()) {
        return None;
    }
    // A proxy's own connections are as many as its clients need.
    let client = client_of(request.request(), &state.options.trusted_proxies);
    let is_crowded = request.conn_data::<Socket>().is_some_and(Socket::is_too_many);
    if is_crowded && client.is_limited && !client.is_proxied {
        return Some(Refusal {
            reason: "connections",
            text: "too many connections from this address",
            retry_after_secs: 5,
            closes: true,
        });
    }
    if !client.is_limited {
        return None;
    }
    let wait = state.rates.check(client.address)?;
    Some(Refusal {
        reason: "rate",
        text: "too many requests from this address",
        retry_after_secs: wait.as_secs() + 1,
        closes: false,
    })
}

/// Counts an open event stream for its client, unless that has too many.
pub(crate) fn hold_stream(state: &AppState, request: &actix_web::HttpRequest) -> Result<Hold, Refusal> {
    let client = client_of(request, &state.options.trusted_proxies);
    let limit = if client.is_limited { state.options.max_connections_per_address } else { 0 };
    state.streams.hold(client.address, limit).ok_or_else(|| {
        state.metrics.refused.with_label_values(&["streams"]).inc();
        Refusal {
            reason: "streams",
            text: "too many event streams for this address",
            retry_after_secs: 5,
            closes: false,
        }
    })
}
