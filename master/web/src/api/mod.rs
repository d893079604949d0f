//! REST: `GET` reads, `POST` makes control calls, `OPTIONS` asks whether a page of another origin may.

mod control;
mod cors;
mod error;
mod follow;
mod openapi;
mod read;
mod respond;
mod shared;

use actix_web::{HttpRequest, HttpResponse, http::Method, web};

#[cfg(feature = "fuzzing")]
pub(crate) use self::control::decode as decode_control_call;
pub(crate) use self::control::refuse_too_many;
pub(crate) use self::openapi::openapi;
pub(crate) use self::read::Reads;
use self::{cors::Origin, error::ApiError};
use crate::{conditional, query::decode_path_part, state::AppState};

/// The version of the API, and its alias.
const VERSIONS: [&str; 2] = ["v2", "latest"];

/// `/api`: the versions there are.
pub(crate) async fn versions(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::Method.respond();
    }
    let base = state.farm().buildbot_url.trim_end_matches('/').to_owned();
    let body = serde_json::json!({ "api_versions": { "v2": format!("{base}/api/v2") } });
    conditional::answer(&request, respond::json(&request, &body))
}

/// Everything below `/api/<version>`.
pub(crate) async fn handle(request: HttpRequest, payload: web::Payload, state: web::Data<AppState>) -> HttpResponse {
    // The path is taken from the request as sent: parts are decoded one by one, so that an escaped slash stays in its
    // part.
    let path = request.uri().path().to_owned();
    let mut parts = path.split('/').skip(2);
    if !parts.next().is_some_and(|version| VERSIONS.contains(&version)) {
        return ApiError::NotFound("Invalid API version".to_owned()).respond();
    }
    let parts: Vec<_> = parts.map(decode_path_part).collect();
    let mut parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    if parts == [""] {
        parts.clear();
    }
    let farm = state.farm();
    let origin = cors::check(&request, &farm, &state.options.trusted_proxies);
    let mut response = match *request.method() {
        Method::OPTIONS => return cors::preflight(&request, &origin),
        Method::GET | Method::HEAD if origin == Origin::Foreign => ApiError::InvalidOrigin.respond(),
        Method::GET | Method::HEAD => conditional::answer(&request, read::handle(&request, &state, &parts).await),
        Method::POST if origin == Origin::Foreign => control::refuse_origin(),
        Method::POST => control::handle(&request, payload, &state, &parts).await,
        _ => ApiError::Method.respond(),
    };
    cors::add_headers(response.headers_mut(), &origin);
    response
}
