//! The engine as a whole: starting its services, keeping them in step with the configuration, and ending them in order.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use broker_adapters::EventHub;
use buildguild_config::{Evaluators, LoadedFarm};
use buildguild_data::Data;
use buildguild_types::farm::ConfigHash;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker_protocol::WorkerAcceptor;

use crate::{
    apply::apply,
    control::{Control, Fulfilment},
    distribution::Distributor,
    execution::{Execution, ExecutionParts},
    figures::Figures,
    hooks::Hooks,
    parts::{Applied, Parts},
    singletons::Singletons,
    store::Store,
    workers::Missing,
};

/// After a failure to bring a configuration into force, for example because the database is away.
const APPLY_RETRY: Duration = Duration::from_secs(2);
/// How long builds whose worker was taken away may take to be given back, and how long services may take to end. Without a
/// database each of their calls waits for a connection, and a master that is asked to leave must not wait for that.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// What an engine is made of.
#[derive(Debug)]
pub struct EngineParts {
    /// The Data API; its owner is this process's epoch.
    pub data: Data,
    /// Events.
    pub hub: EventHub,
    /// The farm configuration, as it is reloaded.
    pub farm: watch::Receiver<Arc<LoadedFarm>>,
    /// Who calls its functions.
    pub evaluators: Evaluators,
    /// The port for workers, if there is one.
    pub worker_listener: Option<TcpListener>,
    /// The directory of this master.
    pub basedir: PathBuf,
    /// How often the database is searched for what a lost event would have told.
    pub rescan_interval: Duration,
    /// Points where a test can pause or kill this process.
    pub hooks: Hooks,
    /// Where the engine's figures go.
    pub metrics: prometheus::Registry,
}

/// A running engine.
pub struct Engine {
    execution: Arc<Execution>,
    control: Control,
    /// Ends what starts new work: singletons and distribution.
    intake: CancellationToken,
    intake_tasks: TaskTracker,
    /// Ends everything else.
    rest: CancellationToken,
    rest_tasks: TaskTracker,
    builds: TaskTracker,
    failed: watch::Receiver<Option<&'static str>>,
    drain_asked: watch::Receiver<bool>,
    /// The configuration that is in force; nothing before the first one is, and while this master is fenced.
    current: watch::Receiver<Option<ConfigHash>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("builds", &self.builds.len()).finish_non_exhaustive()
    }
}

/// Starts services as tasks; one that ends although it was not asked to fails the engine.
struct Spawner {
    failed: watch::Sender<Option<&'static str>>,
}

impl Spawner {
    fn spawn<F>(&self, tasks: &TaskTracker, cancel: &CancellationToken, name: &'static str, service: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = tasks.spawn(service);
        let (failed, cancel) = (self.failed.clone(), cancel.clone());
        tasks.spawn(async move {
            if handle.await.is_err() || !cancel.is_cancelled() {
                tracing::error!(service = name, "the engine's {name} ended unexpectedly");
                failed.send_replace(Some(name));
            }
        });
    }
}

impl Engine {
    /// Starts all services. Returns at once; they wait for this process to be an active master.
    ///
    /// # Errors
    /// If the engine's figures are registered already.
    pub fn start(parts: EngineParts) -> Result<Self, prometheus::Error> {
        let EngineParts { data, hub, farm, evaluators, worker_listener, basedir, .. } = parts;
        let store = Store::new(data.clone());
        let first = Arc::clone(&farm.borrow());
        let none =
            Arc::new(Applied { farm: Arc::clone(&first), builders: Arc::default(), configs: BTreeMap::default() });
        let (applied_sender, applied) = watch::channel(none);
        let (farm_sender, in_force) = watch::channel(first);
        let (failed_sender, failed) = watch::channel(None);
        let spawner = Spawner { failed: failed_sender };
        let intake = CancellationToken::new();
        let shared = Arc::new(Parts {
            leaving: intake.clone(),
            store: store.clone(),
            hub,
            evaluators: evaluators.clone(),
            applied: applied.clone(),
            clock: Arc::clone(data.clock()),
            rescan_interval: parts.rescan_interval,
            basedir: basedir.clone(),
            figures: Figures::register(&parts.metrics)?,
        });
        let execution = Arc::new(Execution::new(ExecutionParts {
            data: data.clone(),
            farm: in_force,
            evaluators,
            hooks: parts.hooks,
            basedir,
            metrics: parts.metrics,
        })?);
        let intake_tasks = TaskTracker::new();
        let (rest, rest_tasks) = (CancellationToken::new(), TaskTracker::new());
        let builds = TaskTracker::new();

        let (current_sender, current) = watch::channel(None);
        let keeper = Keeper { store, farm, applied: applied_sender, in_force: farm_sender, current: current_sender };
        let token = rest.clone();
        spawner.spawn(&rest_tasks, &rest, "configuration", async move { keeper.run(&token).await });

        let singletons = Singletons::new(Arc::clone(&shared), intake_tasks.clone());
        let metrics = execution.metrics().clone();
        let distributor = Distributor::new(
            Arc::clone(&shared),
            execution.pool(),
            execution.runner(),
            builds.clone(),
            metrics.clone(),
        );
        let (mut applied, token) = (applied, intake.clone());
        applied.mark_unchanged();
        spawner.spawn(&intake_tasks, &intake, "scheduling", async move {
            // Nothing starts before a configuration is in force.
            let started = tokio::select! {
                started = applied.changed() => started.is_ok(),
                () = token.cancelled() => false,
            };
            if started {
                tokio::join!(singletons.run(&token), distributor.run(&token));
            }
        });
        let missing_parts = Arc::clone(&shared);
        let fulfilment = Fulfilment::new(Arc::clone(&shared), execution.pool(), execution.runner());
        let drain_asked = fulfilment.drain_asked();
        let token = rest.clone();
        spawner.spawn(&rest_tasks, &rest, "control", async move { fulfilment.run(&token).await });
        let (missing, token) = (Missing::new(Arc::clone(&missing_parts)), rest.clone());
        spawner.spawn(&rest_tasks, &rest, "search for missing workers", async move { missing.run(&token).await });
        let (workers, token) = (execution.workers().clone(), rest.clone());
        spawner.spawn(&rest_tasks, &rest, "sampling of figures", async move {
            metrics.sample(data, workers, parts.rescan_interval, token).await;
        });
        let (serving, token) = (Arc::clone(&execution), rest.clone());
        spawner.spawn(&rest_tasks, &rest, "worker sessions", async move {
            serving.serve(worker_listener, token).await;
        });
        Ok(Self {
            execution,
            control: Control::new(shared),
            intake,
            intake_tasks,
            rest,
            rest_tasks,
            builds,
            failed,
            drain_asked,
            current,
        })
    }

    /// Who admits and serves workers, for other ways in than the worker port.
    pub fn acceptor(&self) -> Arc<dyn WorkerAcceptor> {
        self.execution.acceptor()
    }

    /// Who carries out control calls.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// How many builds run here.
    pub fn running_builds(&self) -> usize {
        self.builds.len()
    }

    /// Waits until a service has ended unexpectedly, and names it: the process should stop then. Cancel safe.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or("service"),
            // All services have ended as they were asked to.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until somebody wishes, by way of the database, that this master finish its builds and end. Cancel safe.
    pub async fn drain_asked(&self) {
        let mut asked = self.drain_asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // The service has ended; whoever waits learns it from `failed`.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the configuration with this hash is in force on this master. Cancel safe.
    pub async fn in_force(&self, hash: &ConfigHash) {
        let mut current = self.current.clone();
        if current.wait_for(|current| current.as_ref() == Some(hash)).await.is_err() {
            // The engine has ended; whoever waits learns it from `failed`.
            std::future::pending::<()>().await;
        }
    }

    /// Stops in order: nothing new is started, leases are given back, and workers are let go as soon as they are idle, so
    /// that they connect to another master; running builds may end within `patience`;
    /// those that do not lose their worker, so that they end as RETRY and another master does them again. Asking again
    /// with a shorter time is fine.
    pub async fn drain(&self, patience: Duration) {
        let deadline = Instant::now().checked_add(patience);
        self.intake.cancel();
        self.execution.close();
        self.intake_tasks.close();
        self.builds.close();
        // What was claimed just before still starts; it is among the builds to wait for.
        if timeout(HAND_OVER_TIMEOUT, self.intake_tasks.wait()).await.is_err() {
            tracing::warn!("what starts builds took too long to stop");
        }
        let ended = async {
            match deadline {
                Some(deadline) => timeout_at(deadline, self.builds.wait()).await.is_ok(),
                None => {
                    self.builds.wait().await;
                    true
                }
            }
        };
        if !ended.await {
            tracing::warn!("{} builds did not end in time and are given back", self.builds.len());
        }
        self.execution.workers().disconnect_all();
        if timeout(HAND_OVER_TIMEOUT, self.builds.wait()).await.is_err() {
            tracing::warn!(
                "{} builds could not be given back; another master does them when this one has expired",
                self.builds.len()
            );
        }
        self.rest.cancel();
        self.rest_tasks.close();
        if timeout(HAND_OVER_TIMEOUT, self.rest_tasks.wait()).await.is_err() {
            tracing::warn!("some services of the engine took too long to stop");
        }
    }
}

/// Keeps the configuration in force, through reloads and through epochs that end and begin.
struct Keeper {
    store: Store,
    farm: watch::Receiver<Arc<LoadedFarm>>,
    applied: watch::Sender<Arc<Applied>>,
    in_force: watch::Sender<Arc<LoadedFarm>>,
    current: watch::Sender<Option<ConfigHash>>,
}

impl Keeper {
    async fn run(mut self, cancel: &CancellationToken) {
        let mut owner = self.store.owner_changes();
        let mut done = None;
        loop {
            let current = *owner.borrow_and_update();
            let farm = Arc::clone(&self.farm.borrow_and_update());
            let wanted = current.map(|owner| (owner, farm.hash.clone()));
            let mut retry = None;
            if current.is_none() {
                // Declared dead, or cut off. What the database knew of this master is void.
                done = None;
                self.current.send_replace(None);
            } else if done != wanted {
                match apply(&self.store, farm).await {
                    Ok(applied) => {
                        let applied = Arc::new(applied);
                        tracing::info!(config = %applied.farm.hash, "configuration {} is in force", applied.farm.hash);
                        self.in_force.send_replace(Arc::clone(&applied.farm));
                        let hash = applied.farm.hash.clone();
                        self.applied.send_replace(applied);
                        self.current.send_replace(Some(hash));
                        done = wanted;
                    }
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "bringing the configuration into force failed: {error}");
                        retry = Some(APPLY_RETRY);
                    }
                }
            }
            let again = async {
                match retry {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = again => {}
                changed = owner.changed() => if changed.is_err() { break },
                changed = self.farm.changed() => if changed.is_err() { break },
            }
        }
        // Nobody reloads any more; what is in force stays so.
        cancel.cancelled().await;
    }
}
