//! `/sse/add/<uuid>/<path>` and `/sse/remove/<uuid>/<path>`: changing the filters of an open stream.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web,
};
use uuid::Uuid;

use super::{
    sessions::{Change, SseSessions},
    sse::filter_of,
};
use crate::{
    auth::{access, user_of},
    state::AppState,
};

fn answer(status: StatusCode, text: &'static str) -> HttpResponse {
    HttpResponseBuilder::new(status).content_type("text/plain; charset=utf-8").body(text)
}

/// Changes a stream's filters, whichever replica serves it.
pub(crate) async fn change_filters(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    if let Err(denied) = access::check(&state, &request, &user_of(&request, &state), access::Request::Read).await {
        return HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(denied.to_string());
    }
    let mut parts = request.uri().path().splitn(5, '/').skip(2);
    let is_add = parts.next() == Some("add");
    let id = parts.next().unwrap_or_default();
    if id.is_empty() {
        return answer(StatusCode::BAD_REQUEST, "need uuid");
    }
    let Ok(id) = Uuid::try_parse(id) else { return answer(StatusCode::BAD_REQUEST, "unknown uuid") };
    let Some(filter) = filter_of(parts.next().unwrap_or_default()) else {
        return answer(StatusCode::BAD_REQUEST, "invalid path");
    };
    match SseSessions::change(&state, id, &filter, is_add).await {
        Change::Done => answer(StatusCode::OK, "ok"),
        Change::NotListening => answer(StatusCode::NOT_FOUND, "consumer is not listening to this event"),
        Change::TooMany => answer(StatusCode::BAD_REQUEST, "too many paths"),
        Change::UnknownSession => answer(StatusCode::BAD_REQUEST, "unknown uuid"),
        Change::Unavailable => {
            let mut response =
                answer(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be reached; try again later");
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
            response
        }
    }
}
