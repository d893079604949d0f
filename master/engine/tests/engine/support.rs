//! A farm with one local worker on a SQLite database of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker_adapters::EventLog;
use broker_adapters::memory::MemoryLog;
use buildguild_config::{EvaluatorOptions, Evaluators, FarmBundle, LoadedFarm};
use buildguild_data::membership::{Membership, Timing};
use buildguild_data::relay::RelayBell;
use buildguild_data::{Data, DataParts};
use buildguild_db::builders::BuilderInfo;
use buildguild_db::buildsets::{NewBuildset, StampRef};
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_db::{Db, DbOptions, builds, logs, properties, steps};
use buildguild_engine::distribution::handover::{Assignment, BuildRunner, WorkerPool};
use buildguild_engine::execution::{Execution, ExecutionParts};
use buildguild_engine::hooks::Hooks;
use buildguild_types::farm::{
    BuilderConfig, CollapsePolicy, Condition, FactoryConfig, FarmConfig, ShellConfig, StepConfig, StepFlags, StepKind,
    SummaryPolicy, WorkerConfig, WorkerKind,
};
use buildguild_types::ids::{BuildId, BuildRequestId, BuilderId};
use buildguild_types::properties::Properties;
use buildguild_types::render::Renderable;
use buildguild_types::resources::{Build, BuildRequest, Step};
use buildguild_types::results::Results;
use buildguild_types::time::SystemClock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No wait of a test takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct Scene {
    pub(crate) data: Data,
    pub(crate) execution: Arc<Execution>,
    pub(crate) farm: Arc<LoadedFarm>,
    pub(crate) directory: tempfile::TempDir,
    /// Brings another configuration into force.
    pub(crate) reconfigure: watch::Sender<Arc<LoadedFarm>>,
    builder: BuilderId,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Scene {
    /// A farm whose only builder has these steps.
    pub(crate) async fn new(steps: Vec<StepConfig>) -> Self {
        let scene = Self::start(steps, WorkerKind::Local { workdir: None }).await;
        scene.worker_connected().await;
        scene
    }

    /// The same, whose worker has to come from outside.
    pub(crate) async fn without_worker(steps: Vec<StepConfig>) -> Self {
        let scene = Self::start(steps, WorkerKind::Remote { password: Renderable::literal("secret") }).await;
        let mut open = scene.execution.is_open();
        tokio::time::timeout(DEADLINE, open.wait_for(|open| *open)).await.expect("in time").expect("it lives");
        scene
    }

    async fn start(steps: Vec<StepConfig>, kind: WorkerKind) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:///{}", directory.path().join("state.sqlite").display());
        let db = Db::connect(&DbOptions::new(url)).await.expect("connects");
        db.upgrade().await.expect("upgrades");
        let bell = RelayBell::default();
        let timing = Timing { check_in_interval: Duration::from_secs(1), expire_after: Duration::from_secs(20) };
        let membership = Membership::join(db.clone(), "test", timing, bell.clone()).await.expect("joins");
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::default());
        let owner = membership.owner();
        // The membership is not run: nothing in these tests takes as long as an expiry.
        std::mem::forget(membership);
        let data = Data::new(DataParts { db, log, clock: Arc::new(SystemClock), owner, bell });
        let farm = FarmConfig {
            workers: vec![worker("w", kind)],
            builders: vec![builder("b", steps)],
            properties: BTreeMap::from([("everywhere".to_owned(), json!("global"))]),
            ..FarmConfig::default()
        };
        let farm = Arc::new(LoadedFarm::new(farm, FarmBundle::single("master.cfg", "")));
        let info = BuilderInfo {
            name: "b".to_owned(),
            description: None,
            description_format: None,
            description_html: None,
            project: None,
            tags: Vec::new(),
        };
        let info = [info];
        let info = &info;
        let synced = data.update(|u| async move { u.update_builder_list(info).await }).await.expect("syncs");
        let (reconfigure, farm_changes) = watch::channel(Arc::clone(&farm));
        let evaluators = Evaluators::start(EvaluatorOptions {
            program: PathBuf::from("/nonexistent"),
            args: Vec::new(),
            processes: 1,
            call_timeout: Duration::from_secs(1),
            load_timeout: Duration::from_secs(1),
            memory_limit_bytes: 1 << 28,
        });
        let parts = ExecutionParts {
            data: data.clone(),
            farm: farm_changes,
            evaluators,
            hooks: Hooks::none(),
            basedir: directory.path().to_owned(),
            metrics: prometheus::Registry::new(),
        };
        let execution = Arc::new(Execution::new(parts).expect("a fresh registry"));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn({
            let (execution, shutdown) = (Arc::clone(&execution), shutdown.clone());
            async move { execution.serve(None, shutdown).await }
        });
        Self { data, execution, farm, directory, reconfigure, builder: synced.ids["b"], shutdown, serving }
    }

    pub(crate) async fn worker_connected(&self) {
        let pool: Arc<dyn WorkerPool> = self.execution.pool();
        let mut changes = pool.changes();
        tokio::time::timeout(DEADLINE, async {
            while pool.free(&["w".to_owned()]).is_empty() {
                changes.changed().await.expect("the pool lives");
            }
        })
        .await
        .expect("the worker connects");
    }

    /// Makes a claimed request for the builder.
    pub(crate) async fn claimed(&self, properties: Properties, source: NewSourceStamp) -> BuildRequest {
        let new = NewBuildset {
            sourcestamps: vec![StampRef::New(source)],
            reason: "test".to_owned(),
            properties,
            builders: vec![self.builder],
            ..NewBuildset::default()
        };
        let new = &new;
        self.data
            .update(|u| async move {
                let (_, requests) = u.add_buildset(new).await?;
                let ids: Vec<_> = requests.iter().map(|request| request.buildrequestid).collect();
                Ok(u.claim_build_requests(&ids).await?.remove(0))
            })
            .await
            .expect("claims")
    }

    pub(crate) fn assignment(&self, request: BuildRequest) -> Assignment {
        Assignment {
            request,
            builder_id: self.builder,
            builder: Arc::new(self.farm.farm.builders[0].clone()),
            farm: Arc::clone(&self.farm),
            slot: self.execution.pool().reserve("w").expect("a place on the worker"),
        }
    }

    /// Runs a build to its end.
    pub(crate) async fn build(&self, properties: Properties, source: NewSourceStamp) -> Build {
        let request = self.claimed(properties, source).await;
        let id = request.buildrequestid;
        let runner: Arc<dyn BuildRunner> = self.execution.runner();
        tokio::time::timeout(DEADLINE, runner.run(self.assignment(request))).await.expect("the build ends");
        builds::for_request(self.data.db().read(), id).await.expect("reads").pop().expect("a build")
    }

    /// Starts a build.
    pub(crate) async fn start_build(&self) -> Running {
        let claimed = self.claimed(Properties::new(), NewSourceStamp::default()).await;
        let request = claimed.buildrequestid;
        let (runner, assignment) = (self.execution.runner(), self.assignment(claimed));
        Running { request, task: tokio::spawn(async move { runner.run(assignment).await }) }
    }

    /// Waits until there is something to see of the only build that runs.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn(BuildId) -> Option<T>) -> T {
        let runner = self.execution.runner();
        let looking = async {
            loop {
                if let [build] = runner.running().as_slice()
                    && let Some(seen) = look(*build).await
                {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, looking).await.expect(what)
    }

    pub(crate) async fn steps(&self, build: BuildId) -> Vec<Step> {
        steps::for_build(self.data.db().read(), build).await.expect("reads")
    }

    pub(crate) async fn properties(&self, build: BuildId) -> Properties {
        properties::of_build(self.data.db().read(), build).await.expect("reads")
    }

    /// A log of a step, by the step's name.
    pub(crate) async fn log(&self, build: BuildId, step: &str, slug: &str) -> String {
        let step = self.steps(build).await.into_iter().find(|candidate| candidate.name == step).expect("the step");
        let log = logs::by_slug(self.data.db().read(), step.stepid, slug).await.expect("reads").expect("the log");
        assert!(log.complete, "a log is complete when its step has ended");
        logs::lines(self.data.db().read(), log.logid, 0, log.num_lines, usize::MAX).await.expect("reads")
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.serving).await.expect("ends").expect("no panic");
    }
}

fn worker(name: &str, kind: WorkerKind) -> WorkerConfig {
    WorkerConfig {
        name: name.to_owned(),
        kind,
        max_builds: Some(1),
        notify_on_missing: Vec::new(),
        missing_timeout_secs: 3600,
        properties: BTreeMap::from([("os".to_owned(), json!("linux"))]),
        default_properties: BTreeMap::new(),
        keepalive_interval_secs: None,
    }
}

fn builder(name: &str, steps: Vec<StepConfig>) -> BuilderConfig {
    BuilderConfig {
        name: name.to_owned(),
        worker_names: vec!["w".to_owned()],
        factory: FactoryConfig { steps, workdir: None },
        builddir: name.to_owned(),
        worker_builddir: name.to_owned(),
        locks: Vec::new(),
        tags: Vec::new(),
        next_worker: None,
        next_build: None,
        can_start_build: None,
        env: BTreeMap::from([("FROM_BUILDER".to_owned(), Renderable::literal("builder"))]),
        properties: BTreeMap::new(),
        default_properties: BTreeMap::from([("scheduler".to_owned(), json!("nobody"))]),
        collapse_requests: CollapsePolicy::default(),
        description: None,
        description_format: None,
        project: None,
        do_build_if: None,
    }
}

/// A step with the defaults of its class.
pub(crate) fn step(name: &str, class: &str, action: StepKind) -> StepConfig {
    StepConfig {
        class: class.to_owned(),
        name: Renderable::literal(name),
        flags: StepFlags::default(),
        description: None,
        description_done: None,
        description_suffix: None,
        do_step_if: Condition::Constant(true),
        hide_step_if: Condition::Constant(false),
        log_encoding: None,
        summary_policy: SummaryPolicy::ByFlags,
        workdir: None,
        locks: Vec::new(),
        action,
    }
}

pub(crate) fn shell_config(command: Renderable) -> ShellConfig {
    ShellConfig {
        command,
        env: None,
        want_stdout: true,
        want_stderr: true,
        use_pty: false,
        logfiles: None,
        lazy_logfiles: false,
        timeout_secs: Some(Renderable::literal(1200)),
        max_time_secs: None,
        max_lines: None,
        log_environ: false,
        interrupt_signal: "KILL".to_owned(),
        sigterm_time_secs: None,
        initial_stdin: None,
        decode_rc: BTreeMap::from([(0, Results::Success)]),
    }
}

/// `ShellCommand` of a text for the shell.
pub(crate) fn shell(name: &str, command: &str) -> StepConfig {
    step(name, "ShellCommand", StepKind::Shell(Box::new(shell_config(Renderable::literal(command)))))
}

pub(crate) fn value<'a>(properties: &'a Properties, name: &str) -> &'a Value {
    properties.value(name).unwrap_or(&Value::Null)
}

/// A build that runs in a task of its own.
pub(crate) struct Running {
    pub(crate) request: BuildRequestId,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until it has ended.
    pub(crate) async fn end(self, scene: &Scene) -> Build {
        tokio::time::timeout(DEADLINE, self.task).await.expect("the build ends").expect("no panic");
        builds::for_request(scene.data.db().read(), self.request).await.expect("reads").remove(0)
    }
}
