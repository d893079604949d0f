//! Masters for tests: real databases and event logs, with workers and builds that a test controls.

mod workers;

use std::{future::Future, sync::Arc, time::Duration};

use broker_adapters::{EventHub, EventLog, HubOptions, memory::MemoryLog};
use buildguild_config::{EvaluatorOptions, Evaluators, FarmBundle, LoadedFarm};
use buildguild_data::{
    Data, DataParts,
    membership::{Membership, Timing},
    relay::{self, RelayBell},
};
use buildguild_db::{Owner, changes::NewChange, masters, test_support::TestDb};
use buildguild_types::{
    farm::{BuilderConfig, FarmConfig, SchedulerConfig, WorkerConfig},
    resources::Change,
    time::SystemClock,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::workers::{TestPool, TestRunner};
use crate::{
    apply::apply,
    figures::Figures,
    parts::{Applied, Parts},
    store::Store,
};

/// How often the tests' masters search the database.
pub(crate) const RESCAN: Duration = Duration::from_millis(200);

/// A master that has joined the cluster, with an event log of its own: it hears only itself.
pub(crate) struct TestMaster {
    pub(crate) parts: Arc<Parts>,
    pub(crate) store: Store,
    pub(crate) owner: Owner,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Without it the owner would be unknown.
    _membership: Membership,
    applied: watch::Sender<Arc<Applied>>,
    /// The master's directory, removed in the end.
    _directory: tempfile::TempDir,
}

impl TestMaster {
    pub(crate) async fn start(test: &TestDb, name: &str, farm: FarmConfig) -> Self {
        Self::start_with(test, name, farm, no_evaluators()).await
    }

    /// One whose functions are called in these evaluators.
    pub(crate) async fn start_with(test: &TestDb, name: &str, farm: FarmConfig, evaluators: EvaluatorOptions) -> Self {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::default());
        let bell = RelayBell::default();
        let timing = Timing { check_in_interval: Duration::from_secs(5), expire_after: Duration::from_secs(20) };
        let membership = Membership::join(test.db.clone(), name, timing, bell.clone()).await.expect("it joins");
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (hub, _) = EventHub::start(Arc::clone(&log), HubOptions::default(), cancel.clone()).await;
        let owner = membership.owner();
        tasks.spawn(relay::run(test.db.clone(), Arc::clone(&log), owner.clone(), bell.clone(), cancel.clone()));
        let id = owner.borrow().expect("it is active");
        let data = Data::new(DataParts { db: test.db.clone(), log, clock: Arc::new(SystemClock), owner, bell });
        let store = Store::new(data);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let farm = loaded(farm);
        let evaluators = Evaluators::start(evaluators);
        evaluators.provide(farm.bundle.clone());
        let first = apply(&store, farm).await.expect("the configuration is applied");
        let (applied, receiver) = watch::channel(Arc::new(first));
        let parts = Arc::new(Parts {
            store: store.clone(),
            hub,
            evaluators,
            applied: receiver,
            clock: Arc::new(SystemClock),
            rescan_interval: RESCAN,
            basedir: directory.path().to_owned(),
            leaving: cancel.clone(),
            figures: Figures::register(&prometheus::Registry::new()).expect("the names are good"),
        });
        Self { parts, store, owner: id, cancel, tasks, _membership: membership, applied, _directory: directory }
    }

    /// Brings another configuration into force.
    pub(crate) async fn reconfigure(&self, farm: FarmConfig) {
        let applied = apply(&self.store, loaded(farm)).await.expect("the configuration is applied");
        self.applied.send_replace(Arc::new(applied));
    }

    /// Runs a service of this master.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, service: F) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = service => {}
            }
        });
    }

    /// Dies: everything stops at once, nothing is given back, and the others notice.
    pub(crate) async fn die(self, test: &TestDb) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let owner = self.owner;
        let dead = test.db.write(|tx| async move { masters::deactivate(&tx, owner, None).await }).await;
        assert!(dead.expect("the database answers").is_some());
    }

    pub(crate) async fn add_change(&self, branch: &str, revision: &str) -> Change {
        let change = NewChange {
            author: "a".to_owned(),
            branch: Some(branch.to_owned()),
            revision: Some(revision.to_owned()),
            files: vec!["f".to_owned()],
            repository: "repo".to_owned(),
            ..NewChange::default()
        };
        let change = &change;
        self.store.update(|u| async move { u.add_change(change).await }).await.expect("the change is added")
    }
}

fn loaded(farm: FarmConfig) -> Arc<LoadedFarm> {
    let text = serde_json::to_string(&farm).expect("it serialises");
    Arc::new(LoadedFarm::new(farm, FarmBundle::single("master.cfg", text)))
}

/// Evaluators that this script is: it speaks their protocol, and behaves as the path of a function says.
pub(crate) fn scripted_evaluators(directory: &std::path::Path, call_timeout: Duration) -> EvaluatorOptions {
    let script = directory.join("evaluator.py");
    std::fs::write(&script, include_str!("evaluator.py")).expect("the script is written");
    EvaluatorOptions {
        program: "/usr/bin/python3".into(),
        args: vec![script.display().to_string()],
        processes: 2,
        call_timeout,
        ..no_evaluators()
    }
}

fn no_evaluators() -> EvaluatorOptions {
    EvaluatorOptions {
        program: "/nonexistent/evaluator".into(),
        args: Vec::new(),
        processes: 1,
        call_timeout: Duration::from_secs(1),
        load_timeout: Duration::from_secs(60),
        memory_limit_bytes: 1 << 30,
    }
}

/// A farm of builders that all may use all workers.
pub(crate) fn farm(builders: &[&str], workers: &[(&str, Option<u32>)]) -> FarmConfig {
    let names: Vec<&str> = workers.iter().map(|(name, _)| *name).collect();
    FarmConfig {
        builders: builders.iter().map(|name| builder(name, &names)).collect(),
        workers: workers.iter().map(|(name, max)| worker(name, *max)).collect(),
        ..FarmConfig::default()
    }
}

fn builder(name: &str, workers: &[&str]) -> BuilderConfig {
    serde_json::from_value(json!({
        "name": name, "worker_names": workers, "factory": {}, "builddir": name, "worker_builddir": name,
    }))
    .expect("a builder")
}

fn worker(name: &str, max_builds: Option<u32>) -> WorkerConfig {
    serde_json::from_value(json!({
        "name": name, "kind": {"kind": "local", "workdir": null}, "max_builds": max_builds,
        "missing_timeout_secs": 3600, "keepalive_interval_secs": null,
    }))
    .expect("a worker")
}

/// A scheduler for builder `b`; `kind` as the farm model writes it.
pub(crate) fn scheduler(name: &str, kind: Value) -> SchedulerConfig {
    serde_json::from_value(json!({
        "name": name, "builder_names": {"kind": "literal", "value": ["b"]}, "codebases": {"": {}}, "kind": kind,
    }))
    .expect("a scheduler")
}

/// Waits until `check` gives something, for at most two minutes.
pub(crate) async fn eventually<T, F, Fut>(what: &str, check: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "it did not come about in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
