//! The port for workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker_protocol::WorkerAcceptor;
use worker_protocol::socket::PingOptions;
use worker_protocol::socket::server::{ServeError, serve};

/// How many connections may be open at once, attached or not.
const MAX_CONNECTIONS: usize = 10_000;

/// A failed accept (out of file descriptors) is not repeated at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts workers until this master leaves, and serves them until `shutdown`. From when it leaves the port is closed, so
/// that a balancer that knows nothing of workers finds another master for them.
pub(crate) async fn listen(
    listener: TcpListener,
    acceptor: Arc<dyn WorkerAcceptor>,
    leaving: CancellationToken,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = leaving.cancelled() => break,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if connections.len() >= MAX_CONNECTIONS {
                    tracing::warn!(%peer, "a worker's connection was dropped: there are {MAX_CONNECTIONS}");
                    continue;
                }
                // Commands and their answers are small messages that somebody waits for.
                let _ = stream.set_nodelay(true);
                let acceptor = Arc::clone(&acceptor);
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    let served = serve(stream, peer.to_string(), acceptor, PingOptions::default());
                    let result = tokio::select! {
                        result = served => result,
                        () = shutdown.cancelled() => return,
                    };
                    match result {
                        Ok(()) => {}
                        Err(ServeError::Refused(_)) => {}
                        Err(error) => tracing::info!(%peer, %error, "connection of a worker ended: {error}"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a worker's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}
