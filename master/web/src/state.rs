//! What all handlers share.

use std::sync::{Arc, Mutex, PoisonError};

use broker_adapters::EventHub;
use buildguild_types::farm::FarmConfig;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker_protocol::WorkerAcceptor;

use crate::{
    Backend, WebOptions,
    auth::{Rules, SessionKey},
    limits::{Holders, RateLimits},
    live::SseSessions,
    metrics::WebMetrics,
};

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
    pub(crate) rates: RateLimits,
    /// Open event streams by client.
    pub(crate) streams: Holders,
    /// The main runtime: writes and worker sessions run there, because a web thread may end before they do.
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) parsed_rules: Mutex<Option<ParsedRules>>,
}

/// The rules of a version of the farm's configuration, or why they cannot be understood.
pub(crate) struct ParsedRules {
    farm: Arc<FarmConfig>,
    rules: Result<Arc<Rules>, String>,
}

impl AppState {
    /// Runs something that writes on the main runtime, to its end also if the client leaves meanwhile. `None` if it
    /// panicked.
    pub(crate) async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.tasks.spawn_on(work, &self.runtime).await.ok()
    }

    /// The farm's configuration as it is now.
    pub(crate) fn farm(&self) -> Arc<FarmConfig> {
        Arc::clone(&self.farm.borrow())
    }

    /// The rules of `c['www']['authz']`, if it is set. Parsed once per version of the configuration.
    pub(crate) fn rules(&self) -> Option<Result<Arc<Rules>, String>> {
        let farm = self.farm();
        let declared = farm.www.authz.as_ref()?;
        let mut parsed = self.parsed_rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = parsed.as_ref().filter(|parsed| Arc::ptr_eq(&parsed.farm, &farm)) {
            return Some(parsed.rules.clone());
        }
        let rules = Rules::parse(declared).map(Arc::new).map_err(|error| error.to_string());
        if let Err(error) = &rules {
            tracing::error!(%error, "nothing is allowed, because the rules cannot be understood");
        }
        *parsed = Some(ParsedRules { farm: Arc::clone(&farm), rules: rules.clone() });
        Some(rules)
    }
}
