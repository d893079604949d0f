//! Runs builds: from a claimed request and a place on a worker to the build's end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use buildguild_config::Evaluators;
use buildguild_data::Data;
use buildguild_db::{DbError, Owner};
use buildguild_types::ids::{BuildId, BuildRequestId};
use buildguild_types::plan::{BuildPlan, PLAN_VERSION};
use buildguild_types::properties::Properties;
use buildguild_types::results::Results;

use super::context::BuildContext;
use super::execute;
use super::record::{Recorder, StartBuild};
use super::setup::{Origins, first_properties};
use super::stop::{StopSignal, Stopper};
use crate::distribution::handover::{Assignment, BuildRunner};
use crate::functions::Functions;
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::workers::Workers;

/// Before a build that cannot go on is given back, and between two tries to do so.
const ABORT_RETRY: Duration = Duration::from_secs(2);

/// What running builds needs.
pub(crate) struct Runner {
    pub(crate) data: Data,
    pub(crate) workers: Workers,
    pub(crate) evaluators: Evaluators,
    pub(crate) hooks: Hooks,
    running: Mutex<HashMap<BuildId, Stopper>>,
    metrics: Metrics,
}

impl Runner {
    pub(crate) fn new(data: Data, workers: Workers, evaluators: Evaluators, hooks: Hooks, metrics: Metrics) -> Self {
        Self { data, workers, evaluators, hooks, running: Mutex::default(), metrics }
    }

    async fn run_build(&self, assignment: &Assignment, mut recorder: Recorder) -> Result<(), DbError> {
        let Some(worker) = self.workers.get(&assignment.slot.worker_name) else {
            // It left between the claim and now.
            return recorder.unclaim(assignment.request.buildrequestid).await;
        };
        let origin = recorder.origin(&assignment.request, assignment.builder.project.is_some()).await?;
        let builder = Arc::clone(&assignment.builder);
        let plan = BuildPlan {
            version: PLAN_VERSION,
            config: assignment.farm.hash.clone(),
            builder_name: builder.name.clone(),
            worker_builddir: builder.worker_builddir.clone(),
            factory: builder.factory.clone(),
            env: builder.env.clone(),
            log: assignment.farm.farm.log.clone(),
            buildbot_url: assignment.farm.farm.buildbot_url.clone(),
        };
        let worker_config = assignment.farm.worker(worker.name());
        let properties = |build: &buildguild_types::resources::Build| -> Properties {
            first_properties(&Origins {
                farm: &assignment.farm.farm,
                buildset: &origin.properties,
                changes: &origin.changes,
                sources: &origin.sources,
                builder: &builder,
                project: origin.project,
                worker: worker_config,
                worker_name: worker.name(),
                build,
            })
        };
        let start = StartBuild { request: &assignment.request, worker: worker.id(), plan: &plan };
        let (build, properties) = recorder.start_build(&start, &properties).await?;
        tracing::info!(
            build.id = build.buildid.get(),
            builder.name = builder.name,
            worker.name = worker.name(),
            "build {} (number {} of {}) starts on {}",
            build.buildid,
            build.number,
            builder.name,
            worker.name()
        );
        let began = std::time::Instant::now();
        let _counted = self.metrics.build();
        let stop = self.register(build.buildid);
        let _registration = Registration { runner: self, build: build.buildid };
        let url = format!("{}#/builders/{}/builds/{}", plan.buildbot_url, build.builderid, build.number);
        self.evaluators.provide(assignment.farm.bundle.clone());
        let locks = builder.locks.clone();
        let mut context = BuildContext {
            recorder,
            functions: Functions::new(self.evaluators.clone(), plan.config.clone()),
            build,
            builder,
            plan,
            worker,
            properties,
            unsaved: Properties::new(),
            sources: origin.sources,
            reason: origin.reason,
            url,
            secrets: BTreeMap::new(),
            locks,
            stop,
            results: Results::Success,
            hooks: self.hooks.clone(),
        };
        let results = execute::execute(&mut context).await?;
        self.metrics.build_ended(results, began.elapsed());
        tracing::info!(
            build.id = context.build.buildid.get(),
            results = results.name(),
            "build {} ended: {results}",
            context.build.buildid
        );
        Ok(())
    }

    /// A build whose state could not be written must not stay open: it is tried again.
    async fn abort(&self, recorder: &Recorder, request: BuildRequestId, owner: Owner) {
        loop {
            match recorder.abort(request, "its state could not be written").await {
                Ok(()) => return,
                Err(error) if error.is_fenced() || self.data.owner() != Some(owner) => return,
                Err(error) => {
                    tracing::error!(buildrequest.id = request.get(), %error, "the build of request {request} is still open");
                    tokio::time::sleep(ABORT_RETRY).await;
                }
            }
        }
    }

    fn register(&self, build: BuildId) -> StopSignal {
        let (stopper, signal) = Stopper::new();
        self.lock().insert(build, stopper);
        signal
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BuildId, Stopper>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a build when it ends, however it ends.
struct Registration<'a> {
    runner: &'a Runner,
    build: BuildId,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.runner.lock().remove(&self.build);
    }
}

/// Logs why a build could not go on: for a person, unless it passes by itself.
fn tell(request: BuildRequestId, error: &DbError) {
    let id = request.get();
    let source = error as &dyn std::error::Error;
    if error.is_transient() {
        // The database was away or restarted: the request is given back, and its next build does without help.
        tracing::warn!(buildrequest.id = id, error = source, "the build of request {request} could not go on");
    } else {
        tracing::error!(buildrequest.id = id, error = source, "the build of request {request} could not go on");
    }
}

#[async_trait]
impl BuildRunner for Runner {
    async fn run(&self, assignment: Assignment) {
        let request = assignment.request.buildrequestid;
        // What was claimed in an epoch that has ended since is no longer ours.
        let Some(owner) = self.data.owner() else { return };
        let settings = &assignment.farm.farm.log;
        let recorder = || Recorder::new(self.data.clone(), owner, self.hooks.clone(), settings);
        let Err(error) = self.run_build(&assignment, recorder()).await else { return };
        // Dropping the running command has interrupted it on the worker.
        if error.is_fenced() {
            tracing::warn!(buildrequest.id = request.get(), "the claim of request {request} was lost: its build stops");
            return;
        }
        tell(request, &error);
        // What failed may fail again: a request that cannot be built must not make build after build.
        tokio::time::sleep(ABORT_RETRY).await;
        self.abort(&recorder(), request, owner).await;
    }

    fn stop(&self, build: BuildId, reason: &str) -> bool {
        match self.lock().get(&build) {
            Some(stopper) => {
                stopper.stop(reason);
                true
            }
            None => false,
        }
    }

    fn running(&self) -> Vec<BuildId> {
        self.lock().keys().copied().collect()
    }
}
