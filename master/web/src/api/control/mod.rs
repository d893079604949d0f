//! `POST`: control calls by JSON-RPC 2.0, in the simplified form of the API (no batches, no positional parameters).

mod dispatch;
mod jsonrpc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use buildguild_types::control::{ControlCall, ControlError};
use serde_json::{Value, json};

use self::jsonrpc::{Call, RpcError};
use crate::{
    auth::{access, user_of},
    state::AppState,
};

/// The answer to a call from a page of another site.
pub(super) fn refuse_origin() -> HttpResponse {
    let body = json!({ "error": { "message": "invalid origin" } }).to_string();
    HttpResponse::BadRequest().content_type("text/plain; charset=utf-8").body(body)
}

/// The answer to a call that the limits of its client refuse. What was called is not known: nothing of it was read.
pub(crate) fn refuse_too_many(text: &str) -> HttpResponse {
    RpcError::too_many(text).respond(Some(&Value::Null))
}

/// Decodes a body, for nothing.
#[cfg(feature = "fuzzing")]
pub(crate) fn decode(body: &[u8]) {
    let _ = Call::decode(body);
}

/// Answers a control call.
pub(super) async fn handle(
    request: &HttpRequest,
    payload: web::Payload,
    state: &AppState,
    path: &[&str],
) -> HttpResponse {
    let call = match receive(request, payload, state).await {
        Ok(call) => call,
        Err(error) => return error.respond(None),
    };
    match carry_out(request, state, path, &call).await {
        Ok(result) => HttpResponse::Ok()
            .content_type("application/json")
            .body(json!({ "jsonrpc": "2.0", "id": call.id, "result": result }).to_string()),
        Err(error) => error.respond(Some(&call.id)),
    }
}

async fn receive(request: &HttpRequest, payload: web::Payload, state: &AppState) -> Result<Call, RpcError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(RpcError::invalid_request("Invalid content-type (use application/json)"));
    }
    let receiving = payload.to_bytes_limited(state.options.max_body_bytes);
    let Ok(received) = tokio::time::timeout(state.options.body_timeout, receiving).await else {
        return Err(RpcError::parse("the body took too long"));
    };
    let body = match received {
        Ok(Ok(body)) => body,
        Ok(Err(_broken_off)) => return Err(RpcError::parse("the body broke off")),
        Err(_too_large) => return Err(RpcError::too_large(state.options.max_body_bytes)),
    };
    Call::decode(&body)
}

async fn carry_out(request: &HttpRequest, state: &AppState, path: &[&str], call: &Call) -> Result<Value, RpcError> {
    let user = user_of(request, state);
    // Judged before anything else about the path or the method.
    let asked = access::Request::Control { path, method: &call.method, params: Some(&call.params) };
    access::check(state, request, &user, asked).await?;
    let action = dispatch::action(path, &call.method, &call.params)?;
    tracing::info!(path = %path.join("/"), method = %call.method, user = ?user.to_caller().owner(), "control call");
    let call = ControlCall { caller: user.to_caller(), action };
    // A web thread may end, or its client may leave, while the call is half done: it runs on the main runtime.
    let backend = std::sync::Arc::clone(&state.backend);
    let running = state.tasks.spawn_on(async move { backend.control(call).await }, &state.runtime);
    match running.await {
        Ok(result) => result.map_err(RpcError::from),
        Err(error) => Err(RpcError::from(ControlError::Internal(error.into()))),
    }
}
