//! `/worker`, and a WebSocket at `/`: workers connect over the web port, so that one ingress is enough for a cluster. The connection is handed
//! to the same acceptor as those of the worker port.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    guard::GuardContext,
    http::{StatusCode, header},
    web,
};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use worker_protocol::{FrameSocket, Refusal};

use crate::{auth::basic_credentials, state::AppState};

/// Frames on their way between the socket and the session, in each direction. When the session does not take them, the
/// socket is not read, and the worker's sends wait.
const QUEUE_LEN: usize = 16;

/// Whether a request wants a WebSocket.
pub(crate) fn is_upgrade(context: &GuardContext<'_>) -> bool {
    let upgrade = context.head().headers().get(header::UPGRADE);
    upgrade.and_then(|value| value.to_str().ok()).is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// `GET /worker`: the WebSocket handshake with basic authentication.
pub(crate) async fn connect(request: HttpRequest, body: web::Payload, state: web::Data<AppState>) -> HttpResponse {
    let Some(acceptor) = state.workers.clone() else { return refuse(&Refusal::Unavailable) };
    let Some((name, password)) = basic_credentials(&request) else {
        let has_header = request.headers().contains_key(header::AUTHORIZATION);
        return refuse(if has_header { &Refusal::MalformedCredentials } else { &Refusal::NoCredentials });
    };
    let admission = match acceptor.authenticate(&name, &password).await {
        Ok(admission) => admission,
        Err(refusal) => {
            tracing::info!(worker.name = %name, reason = %refusal, "refused a worker on the web port");
            return refuse(&refusal);
        }
    };
    let (response, session, messages) = match actix_ws::handle(&request, body) {
        Ok(parts) => parts,
        Err(error) => return error.error_response(),
    };
    let max = state.options.max_worker_frame_bytes;
    let messages = messages.max_frame_size(max).aggregate_continuations().max_continuation_size(max);
    let (to_session, incoming) = mpsc::channel(QUEUE_LEN);
    let (outgoing, from_session) = mpsc::channel(QUEUE_LEN);
    let peer = request.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let socket = FrameSocket { incoming, outgoing, peer };
    // The session outlives this web thread if it must; the socket is tied to it.
    state.tasks.spawn_on(async move { acceptor.serve(admission, socket).await }, &state.runtime);
    actix_web::rt::spawn(pump(session, messages, to_session, from_session, state.shutdown.clone()));
    response
}

fn refuse(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = HttpResponseBuilder::new(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "basic realm=\"buildguild workers\""));
    }
    response.content_type("text/plain; charset=utf-8").body(refusal.to_string())
}

/// Moves frames both ways until either side has gone. It ends with its connection, or with the session, or on shutdown.
async fn pump(
    session: Session,
    mut messages: AggregatedMessageStream,
    to_session: mpsc::Sender<Bytes>,
    mut from_session: mpsc::Receiver<Bytes>,
    shutdown: tokio_util::sync::CancellationToken,
) {
    let mut writer = session.clone();
    let write = async move {
        while let Some(frame) = from_session.recv().await {
            if writer.binary(frame).await.is_err() {
                return;
            }
        }
    };
    let mut answerer = session.clone();
    let read = async move {
        while let Some(message) = messages.next().await {
            let frame = match message {
                Ok(AggregatedMessage::Binary(frame)) => frame,
                Ok(AggregatedMessage::Ping(payload)) => {
                    if answerer.pong(&payload).await.is_err() {
                        return;
                    }
                    continue;
                }
                Ok(AggregatedMessage::Pong(_)) => continue,
                // The protocol has no texts.
                Ok(AggregatedMessage::Text(_) | AggregatedMessage::Close(_)) => return,
                Err(error) => {
                    tracing::info!(%error, "a worker's connection broke off");
                    return;
                }
            };
            if to_session.send(frame).await.is_err() {
                return;
            }
        }
    };
    // Both are dropped when one ends, and with them the channels, which the session sees.
    tokio::select! {
        () = write => {}
        () = read => {}
        () = shutdown.cancelled() => {}
    }
    // If the worker has gone already there is nobody to tell.
    let _ = session.close(Some(CloseReason::from(CloseCode::Normal))).await;
}
