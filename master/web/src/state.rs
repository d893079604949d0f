//! What all handlers share.

use std::sync::Arc;

use broker_adapters::EventHub;
use buildguild_types::farm::FarmConfig;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker_protocol::WorkerAcceptor;

use crate::{Backend, WebOptions, auth::SessionKey, live::SseSessions, metrics::WebMetrics};

/// Shared by all handlers of all web threads.
pub(crate) struct AppState {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hub: EventHub,
    pub(crate) farm: watch::Receiver<Arc<FarmConfig>>,
    pub(crate) workers: Option<Arc<dyn WorkerAcceptor>>,
    pub(crate) options: WebOptions,
    pub(crate) session_key: SessionKey,
    /// Whether every listener is a loopback address.
    pub(crate) is_loopback_only: bool,
    pub(crate) metrics: WebMetrics,
    pub(crate) sse: SseSessions,
    /// The main runtime: writes and worker sessions run there, because a web thread may end before they do.
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl AppState {
    /// The farm's configuration as it is now.
    pub(crate) fn farm(&self) -> Arc<FarmConfig> {
        Arc::clone(&self.farm.borrow())
    }
}
