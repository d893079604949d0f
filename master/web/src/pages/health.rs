//! Health checks for load balancers and orchestrators.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::state::AppState;

/// `GET /health/live`: this process answers.
pub(crate) async fn health_live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// `GET /health/ready`: it can serve, because the database answers and lets it write, its farm config is in force, and it is
/// not about to end. A lost broker is an incident, not an outage: it is shown, and does not take the replica out of service.
pub(crate) async fn health_ready(state: web::Data<AppState>) -> HttpResponse {
    let in_service = !state.shutdown.is_cancelled() && state.backend.is_in_service();
    let database = state.backend.has_database().await;
    let events = *state.hub.connected().borrow();
    let status = match (in_service, database) {
        (true, true) => "ok",
        (false, true) => "out of service",
        (_, false) => "unavailable",
    };
    let body = json!({ "status": status, "database": database, "events": events });
    if status == "ok" { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}
