//! Health checks for load balancers and orchestrators.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::state::AppState;

/// `GET /health/live`: this process answers.
pub(crate) async fn health_live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// `GET /health/ready`: it can serve, because the database answers, its farm config is in force and it is not about to
/// end. A lost broker is an incident, not an outage: it is shown, and does not take the replica out of service.
pub(crate) async fn health_ready(state: web::Data<AppState>) -> HttpResponse {
    let has_database = !state.shutdown.is_cancelled() && state.backend.is_ready().await;
    let has_events = *state.hub.connected().borrow();
    let body = json!({ "status": if has_database { "ok" } else { "unavailable" }, "database": has_database, "events": has_events });
    if has_database { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}
