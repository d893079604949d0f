//! Starting and stopping the web server.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use actix_web::{dev::Server, web};
use broker_adapters::EventHub;
use buildguild_data::event_streams::EventStreams;
use buildguild_types::farm::FarmConfig;
use thiserror::Error;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker_protocol::WorkerAcceptor;

use crate::{
    Backend,
    auth::SessionKey,
    http,
    limits::{FORGET_EVERY, Holders, ProxyRange, RateLimits},
    live::SseSessions,
    metrics::WebMetrics,
    state::AppState,
};

/// How long requests in flight may take after the server was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the web server is made of.
pub struct WebParts {
    /// Where to listen. Port 0 takes a free one, see [`WebServer::addresses`].
    pub listen: Vec<SocketAddr>,
    /// Reads and control calls.
    pub backend: Arc<dyn Backend>,
    /// Events.
    pub hub: EventHub,
    /// The SSE streams of all replicas.
    pub streams: EventStreams,
    /// The farm's configuration, as it changes.
    pub farm: watch::Receiver<Arc<FarmConfig>>,
    /// Takes workers that connect to `/worker`; without it they are refused.
    pub workers: Option<Arc<dyn WorkerAcceptor>>,
    /// The registry that `/metrics` shows, and where the web server's own figures go.
    pub metrics: prometheus::Registry,
    /// Signs session cookies; the same for all replicas of a cluster.
    pub session_key: Vec<u8>,
    /// Bounds and intervals.
    pub options: WebOptions,
    /// Stops the server: open streams are ended, requests in flight get some seconds.
    pub shutdown: CancellationToken,
}

/// Bounds and intervals.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebOptions {
    /// Web threads; one per core if 0.
    pub threads: usize,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// The largest message of a WebSocket client, in bytes.
    pub max_frame_bytes: usize,
    /// The largest message of a worker, in bytes.
    pub max_worker_frame_bytes: usize,
    /// Connections per web thread at most; more wait.
    pub max_connections_per_thread: usize,
    /// Connections, and besides event streams, per client address at most; 0: any number.
    pub max_connections_per_address: usize,
    /// Requests per second and client address, in the mean over ten seconds; 0: any number.
    pub requests_per_second: u32,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Host` are believed.
    pub trusted_proxies: Vec<ProxyRange>,
    /// How long a client may take to send a request's head.
    pub request_timeout: Duration,
    /// How long a client may take to send a request's body.
    pub body_timeout: Duration,
    /// How often a quiet SSE stream gets its cursor.
    pub sse_heartbeat: Duration,
    /// How long a read may take.
    pub read_timeout: Duration,
    /// Serves the user interface's files from this directory instead of those in the binary.
    pub static_dir: Option<PathBuf>,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            max_body_bytes: 8 * 1024 * 1024,
            max_frame_bytes: 64 * 1024,
            max_worker_frame_bytes: 16 * 1024 * 1024,
            max_connections_per_thread: 25_000,
            max_connections_per_address: 1_024,
            requests_per_second: 200,
            trusted_proxies: Vec::new(),
            request_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            sse_heartbeat: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
            static_dir: None,
        }
    }
}

/// Keeps the list of client addresses short.
async fn forget_quiet(state: web::Data<AppState>) {
    let mut due = tokio::time::interval(FORGET_EVERY);
    while state.shutdown.run_until_cancelled(due.tick()).await.is_some() {
        state.rates.forget_quiet();
    }
}

/// Why the server did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The web server's figures are already registered.
    #[error("register the web server's metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A running web server.
#[derive(Debug)]
pub struct WebServer {
    addresses: Vec<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl WebServer {
    /// Listens and serves until `parts.shutdown` is cancelled. To be called in the main runtime.
    ///
    /// # Errors
    /// [`StartError`] if an address cannot be listened on.
    pub fn start(parts: WebParts) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for address in parts.listen {
            let listen = || -> io::Result<(TcpListener, SocketAddr)> {
                let listener = TcpListener::bind(address)?;
                let actual = listener.local_addr()?;
                Ok((listener, actual))
            };
            let (listener, actual) = listen().map_err(|source| StartError::Listen { address, source })?;
            listeners.push(listener);
            addresses.push(actual);
        }
        let options = parts.options;
        let metrics = WebMetrics::new(parts.metrics, &parts.hub)?;
        let state = web::Data::new(AppState {
            backend: parts.backend,
            hub: parts.hub,
            farm: parts.farm,
            workers: parts.workers,
            options: options.clone(),
            session_key: SessionKey::new(&parts.session_key),
            is_loopback_only: addresses.iter().all(|address| address.ip().is_loopback()),
            metrics,
            rates: RateLimits::new(options.requests_per_second),
            streams: Holders::default(),
            sse: SseSessions::new(parts.streams),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            shutdown: parts.shutdown,
            parsed_rules: std::sync::Mutex::new(None),
        });
        let mut server = Server::build()
            .disable_signals()
            .shutdown_timeout(STOP_TIMEOUT.as_secs())
            .max_concurrent_connections(options.max_connections_per_thread);
        if options.threads > 0 {
            server = server.workers(options.threads);
        }
        let connections = Holders::default();
        for (listener, address) in listeners.into_iter().zip(&addresses) {
            let (address, state, connections) = (*address, state.clone(), connections.clone());
            server = server
                .listen(address.to_string(), listener, move || {
                    http::service(state.clone(), connections.clone(), address)
                })
                .map_err(|source| StartError::Listen { address, source })?;
            tracing::info!(%address, "web server listens");
        }
        state.tasks.spawn(SseSessions::watch(state.clone()));
        state.tasks.spawn(forget_quiet(state.clone()));
        let server = server.run();
        let task = tokio::spawn(async move {
            let handle = server.handle();
            let mut serving = std::pin::pin!(server);
            tokio::select! {
                // It does not end by itself unless a thread failed.
                ended = &mut serving => return ended,
                () = state.shutdown.cancelled() => {}
            }
            let ((), ended) = tokio::join!(handle.stop(true), serving);
            state.tasks.close();
            if tokio::time::timeout(STOP_TIMEOUT, state.tasks.wait()).await.is_err() {
                tracing::warn!(tasks = state.tasks.len(), "some worker sessions did not end in time");
            }
            ended
        });
        Ok(Self { addresses, task })
    }

    /// The addresses it listens on, in the order asked for, with real port numbers.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// If a web thread failed.
    pub async fn stopped(self) -> io::Result<()> {
        self.task.await.map_err(io::Error::other)?
    }
}
