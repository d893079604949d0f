//! The half of the engine that runs builds, put together: worker sessions and the execution of builds.

use std::path::PathBuf;
use std::sync::Arc;

use buildguild_config::{Evaluators, LoadedFarm};
use buildguild_data::Data;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use worker_protocol::WorkerAcceptor;

use crate::build::Runner;
use crate::distribution::handover::{BuildRunner, WorkerPool};
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::workers::{Acceptor, Pool, Workers, listen, run_local_workers};

/// What running builds is made of.
pub struct ExecutionParts {
    /// Writes, and says who this master is.
    pub data: Data,
    /// The configuration in force.
    pub farm: watch::Receiver<Arc<LoadedFarm>>,
    /// Calls functions of the configuration.
    pub evaluators: Evaluators,
    /// Points for tests.
    pub hooks: Hooks,
    /// The directory of this master.
    pub basedir: PathBuf,
    /// Where the engine's figures go.
    pub metrics: prometheus::Registry,
}

/// Worker sessions and the execution of builds.
pub struct Execution {
    data: Data,
    farm: watch::Receiver<Arc<LoadedFarm>>,
    basedir: PathBuf,
    workers: Workers,
    acceptor: Arc<Acceptor>,
    pool: Arc<Pool>,
    runner: Arc<Runner>,
    open: watch::Sender<bool>,
    /// Set for good when this master leaves, whatever becomes of its epoch meanwhile.
    leaving: CancellationToken,
    metrics: Metrics,
}

impl Execution {
    /// Puts the parts together. No worker is admitted before [`Execution::serve`] runs.
    ///
    /// # Errors
    /// If the engine's figures are registered already.
    pub fn new(parts: ExecutionParts) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::register(&parts.metrics)?;
        let workers = Workers::new();
        let (open, is_open) = watch::channel(false);
        let acceptor = Acceptor::new(workers.clone(), parts.farm.clone(), parts.data.clone(), is_open);
        let runner = Runner::new(parts.data.clone(), workers.clone(), parts.evaluators, parts.hooks, metrics.clone());
        Ok(Self {
            pool: Arc::new(Pool::new(workers.clone(), parts.farm.clone())),
            acceptor: Arc::new(acceptor),
            runner: Arc::new(runner),
            data: parts.data,
            farm: parts.farm,
            basedir: parts.basedir,
            workers,
            open,
            leaving: CancellationToken::new(),
            metrics,
        })
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The connected workers, for distribution.
    pub fn pool(&self) -> Arc<dyn WorkerPool> {
        self.pool.clone()
    }

    /// Who runs builds.
    pub fn runner(&self) -> Arc<dyn BuildRunner> {
        self.runner.clone()
    }

    /// Admits workers, wherever their connections come in.
    pub fn acceptor(&self) -> Arc<dyn WorkerAcceptor> {
        self.acceptor.clone()
    }

    /// The connected workers.
    pub const fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Whether workers are admitted now, and its changes.
    pub fn is_open(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Takes no further connections from now on, and lets each worker go as soon as it is idle: this master starts nothing
    /// more on it, and another one may.
    pub fn close(&self) {
        self.leaving.cancel();
        self.open.send_replace(false);
    }

    /// Serves workers, on `listener` and in this process, until the token is cancelled. A master that may no longer
    /// write closes all connections, and takes new ones when it has joined again.
    pub async fn serve(&self, listener: Option<TcpListener>, shutdown: CancellationToken) {
        let acceptor = self.acceptor();
        let port = async {
            match listener {
                Some(listener) => listen(listener, Arc::clone(&acceptor), self.leaving.clone(), shutdown.clone()).await,
                None => shutdown.cancelled().await,
            }
        };
        let local = run_local_workers(
            self.farm.clone(),
            self.basedir.clone(),
            self.open.subscribe(),
            Arc::clone(&acceptor),
            shutdown.clone(),
        );
        tokio::join!(port, local, self.follow_owner(&shutdown));
        self.workers.disconnect_all();
    }

    async fn follow_owner(&self, shutdown: &CancellationToken) {
        let mut owner = self.data.watch_owner();
        let mut serving = None;
        loop {
            let current = *owner.borrow_and_update();
            if serving.is_some() && current != serving {
                tracing::warn!("this master's epoch has ended: it lets its workers go");
                self.workers.disconnect_all();
            }
            serving = current;
            // Looked at under the lock of `open`, so that `close` cannot come in between and be undone.
            self.open.send_modify(|open| *open = current.is_some() && !self.leaving.is_cancelled());
            tokio::select! {
                changed = owner.changed() => if changed.is_err() {
                    return;
                },
                () = shutdown.cancelled() => {
                    self.open.send_replace(false);
                    return;
                }
            }
        }
    }
}
