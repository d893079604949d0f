//! Everything that a build writes, each thing that happens in one transaction.
//!
//! All writes are made as the owner that claimed the request, and fenced by its claim: once the claim is lost they fail,
//! and the build stops. While the database is away they wait, for as long as this master may believe that it lives.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use buildguild_data::{Data, StepBegin, StepEnd, TestResultSetInfo, Update};
use buildguild_db::logs::{Compression, Prepared};
use buildguild_db::test_results::{self, NewTestResult};
use buildguild_db::{DbError, Owner, builds, changes, properties};
use buildguild_types::farm::LogSettings;
use buildguild_types::ids::{BuildId, BuildRequestId, LogId, ProjectId, StepId, TestResultSetId, WorkerId};
use buildguild_types::plan::BuildPlan;
use buildguild_types::properties::Properties;
use buildguild_types::resources::{Build, BuildRequest, Change, Log, LogKind, SourceStamp, Step, StepUrl};
use buildguild_types::results::Results;
use serde_json::Value;

use super::execute_step::slug;
use crate::hooks::Hooks;
use crate::logs::Append;
use crate::steps::TestSet;

/// The name of step 0.
const PREPARATION: &str = "worker_preparation";

/// How long a step runs before it says so.
const RUNNING_AFTER: Duration = Duration::from_secs(1);

/// Between two tries while the database is away.
const RETRY: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];

/// Where a build comes from.
pub(crate) struct Origin {
    /// The buildset's properties.
    pub(crate) properties: Properties,
    /// What is built.
    pub(crate) sources: Vec<SourceStamp>,
    /// The changes that the source stamps stand for.
    pub(crate) changes: Vec<Change>,
    /// The buildset's reason.
    pub(crate) reason: String,
    /// The builder's project.
    pub(crate) project: Option<ProjectId>,
}

/// A build that is to be started.
pub(crate) struct StartBuild<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) worker: WorkerId,
    pub(crate) plan: &'a BuildPlan,
}

/// A step that begins.
pub(crate) struct BeginStep<'a> {
    pub(crate) name: &'a str,
    pub(crate) logs: &'a [(&'a str, LogKind)],
    /// Whether it is run, not skipped.
    pub(crate) runs: bool,
}

/// A step that ends.
pub(crate) struct EndStep {
    pub(crate) step: StepId,
    pub(crate) results: Results,
    pub(crate) hidden: bool,
    pub(crate) state: String,
    /// The end of its logs.
    pub(crate) appends: Vec<Append>,
    /// What it set.
    pub(crate) properties: Properties,
    /// What the build says from now on.
    pub(crate) build_state: Option<String>,
    /// Whether it has locks to give back.
    pub(crate) has_locks: bool,
    /// Its sets of test results, which are complete now.
    pub(crate) test_sets: Vec<TestSet>,
}

/// The end of a step, which shares the transaction of what comes next.
enum Ended {
    Preparation { step: StepId, results: Results, state: String, build_state: Option<&'static str> },
    Step { end: EndStep, parts: Vec<Part> },
}

impl Ended {
    async fn store(&self, u: &Update, build: BuildId) -> Result<(), DbError> {
        match self {
            Self::Preparation { step, results, state, build_state } => {
                let end = StepEnd { results: *results, hidden: false, state_string: Some(state) };
                u.finish_step(*step, &end).await?;
                if let Some(build_state) = build_state {
                    u.set_build_state_string(build, build_state).await?;
                }
            }
            Self::Step { end, parts } => {
                for part in parts {
                    u.append_log(part.step, part.log, &part.lines, None).await?;
                }
                let step_end = StepEnd { results: end.results, hidden: end.hidden, state_string: Some(&end.state) };
                u.finish_step(end.step, &step_end).await?;
                u.set_build_properties(build, &end.properties).await?;
                for set in &end.test_sets {
                    u.complete_test_result_set(set.id, set.passed, set.failed).await?;
                }
                if end.has_locks {
                    u.release_step_locks(build, end.step).await?;
                }
                if let Some(state) = &end.build_state {
                    u.set_build_state_string(build, state).await?;
                }
            }
        }
        Ok(())
    }
}

/// Lines of one log, ready to be stored.
struct Part {
    step: StepId,
    log: LogId,
    first_line: i64,
    lines: Prepared,
}

/// `logCompressionMethod` and `logCompressionLimit`.
#[derive(Clone, Copy, Debug)]
struct ChunkCompression {
    method: Compression,
    /// What is shorter is stored as it is; `None`: everything.
    limit_bytes: Option<u64>,
}

impl ChunkCompression {
    fn new(settings: &LogSettings) -> Self {
        let method = Compression::from_name(&settings.compression_method).unwrap_or_default();
        Self { method, limit_bytes: settings.compression_limit_bytes }
    }

    fn of(self, bytes: usize) -> Compression {
        match self.limit_bytes {
            Some(limit) if bytes as u64 >= limit => self.method,
            _ => Compression::None,
        }
    }
}

/// Writes for one build.
pub(crate) struct Recorder {
    data: Data,
    owner: Owner,
    hooks: Hooks,
    build: BuildId,
    preparation: StepId,
    logs: BTreeMap<LogId, StepId>,
    compression: ChunkCompression,
    /// Whether the build has taken, or waited for, locks.
    has_locks: bool,
    /// What has ended and waits for the next transaction, which follows at once.
    ended: Option<Ended>,
}

impl Recorder {
    /// For a request that `owner` has claimed. The build comes with [`Recorder::start_build`].
    pub(crate) fn new(data: Data, owner: Owner, hooks: Hooks, settings: &LogSettings) -> Self {
        Self {
            data,
            owner,
            hooks,
            build: BuildId(0),
            preparation: StepId(0),
            logs: BTreeMap::new(),
            compression: ChunkCompression::new(settings),
            has_locks: false,
            ended: None,
        }
    }

    pub(super) const fn build(&self) -> BuildId {
        self.build
    }

    pub(super) const fn data(&self) -> &Data {
        &self.data
    }

    pub(super) const fn note_locks(&mut self) {
        self.has_locks = true;
    }

    pub(super) async fn write<T, F, Fut>(&self, point: &str, f: F) -> Result<T, DbError>
    where
        F: Fn(Update) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        let mut delays = RETRY.iter().chain(std::iter::repeat(&RETRY[3]));
        self.hooks.at(point);
        loop {
            match self.data.update_as(self.owner, &f).await {
                // Nothing was written. A commit whose outcome is not known is not repeated: it would do things twice.
                Err(error @ (DbError::Busy(_) | DbError::Unavailable(_))) if self.data.owner() == Some(self.owner) => {
                    tracing::warn!(build.id = self.build.get(), %error, "writing of build {} waits", self.build);
                    tokio::time::sleep(*delays.next().unwrap_or(&RETRY[3])).await;
                }
                result => return result,
            }
        }
    }

    /// Reads where a build comes from.
    pub(crate) async fn origin(&self, request: &BuildRequest, has_project: bool) -> Result<Origin, DbError> {
        let db = self.data.db().read();
        let buildset =
            buildguild_db::buildsets::get(db, request.buildsetid).await?.ok_or(DbError::NotFound("buildset"))?;
        let mut origin_changes = Vec::new();
        for source in &buildset.sourcestamps {
            origin_changes.extend(changes::from_sourcestamp(db, source.ssid).await?);
        }
        let project = match has_project {
            true => buildguild_db::builders::get(db, request.builderid).await?.and_then(|builder| builder.projectid),
            false => None,
        };
        Ok(Origin {
            properties: properties::of_buildset(db, request.buildsetid).await?,
            sources: buildset.sourcestamps,
            changes: origin_changes,
            reason: buildset.reason,
            project,
        })
    }

    /// Puts the request back into the queue: there will be no build.
    pub(crate) async fn unclaim(&self, request: BuildRequestId) -> Result<(), DbError> {
        self.write("request.unclaim", |u| async move { u.unclaim_build_requests(&[request]).await }).await?;
        Ok(())
    }

    /// Adds the build with its plan, its first properties and its preparation step, and announces it.
    pub(crate) async fn start_build(
        &mut self,
        start: &StartBuild<'_>,
        first_properties: &(dyn Fn(&Build) -> Properties + Sync),
    ) -> Result<(Build, Properties), DbError> {
        let plan = serde_json::to_string(start.plan).map_err(|error| DbError::Invalid(error.to_string()))?;
        let plan = plan.as_str();
        let number = loop {
            match self.data.reserve_build_number(start.request.builderid).await {
                Err(DbError::Busy(_) | DbError::Unavailable(_)) if self.data.owner() == Some(self.owner) => {
                    tokio::time::sleep(RETRY[2]).await;
                }
                number => break number?,
            }
        };
        let (build, properties, preparation) = self
            .write("build.starting", |u| async move {
                let build = u
                    .add_build_numbered(
                        &buildguild_data::StartBuild {
                            builder: start.request.builderid,
                            request: start.request.buildrequestid,
                            worker: start.worker,
                            state_string: "pinging worker",
                        },
                        number,
                    )
                    .await?;
                u.set_build_plan(build.buildid, &start.plan.config.0, plan).await?;
                let properties = first_properties(&build);
                let step = u.begin_step(build.buildid, PREPARATION, StepBegin::Prepared).await?;
                u.announce_build_start(build.buildid, &properties).await?;
                Ok((build, properties, step.stepid))
            })
            .await?;
        self.build = build.buildid;
        self.preparation = preparation;
        self.hooks.at("build.started");
        Ok((build, properties))
    }

    /// Ends the preparation step, together with what is written next.
    pub(crate) fn end_preparation(&mut self, results: Results, state: String, build_state: Option<&'static str>) {
        self.ended = Some(Ended::Preparation { step: self.preparation, results, state, build_state });
        self.hooks.at("build.prepared");
    }

    /// Writes what has ended, if something else may take a while.
    pub(crate) async fn flush(&mut self) -> Result<(), DbError> {
        if let Some(ended) = &self.ended {
            let build = self.build;
            self.write("step.finishing", |u| async move { ended.store(&u, build).await }).await?;
            self.ended = None;
        }
        Ok(())
    }

    /// Adds a step and starts it, with its first logs.
    pub(crate) async fn begin_step(&mut self, begin: &BeginStep<'_>) -> Result<(Step, Vec<Log>), DbError> {
        let build = self.build;
        let ended = self.ended.as_ref();
        let (step, logs) = self
            .write("step.starting", |u| async move {
                if let Some(ended) = ended {
                    ended.store(&u, build).await?;
                }
                let how = if begin.runs { StepBegin::Runs } else { StepBegin::WithoutLocks };
                let step = u.begin_step(build, begin.name, how).await?;
                let mut logs = Vec::with_capacity(begin.logs.len());
                for (name, kind) in begin.logs {
                    logs.push(u.add_log(step.stepid, name, &slug(name), *kind).await?);
                }
                Ok((step, logs))
            })
            .await?;
        self.ended = None;
        for log in &logs {
            self.logs.insert(log.logid, step.stepid);
        }
        self.hooks.at("step.started");
        Ok((step, logs))
    }

    /// Ends a step: the rest of its logs, its properties, its result and what the build says of it. It is written
    /// together with the beginning of the next step, or the end of the build: see [`Recorder::flush`].
    pub(crate) fn end_step(&mut self, end: EndStep) {
        let parts = self.prepare(&end.appends);
        self.logs.retain(|_, step| *step != end.step);
        self.ended = Some(Ended::Step { end, parts });
        self.hooks.at("step.finished");
    }

    /// Adds a log to a step.
    pub(crate) async fn add_log(&mut self, step: StepId, name: &str, kind: LogKind) -> Result<LogId, DbError> {
        let slug = slug(name);
        let slug = slug.as_str();
        let log = self.write("log.adding", |u| async move { u.add_log(step, name, slug, kind).await }).await?;
        self.logs.insert(log.logid, step);
        Ok(log.logid)
    }

    /// Appends to logs, and ends some.
    pub(crate) async fn append(&self, appends: Vec<Append>, finish: Vec<LogId>) -> Result<(), DbError> {
        let prepared = self.prepare(&appends);
        drop(appends);
        let (prepared, finish) = (&prepared, &finish);
        loop {
            let written = self
                .write("log.appending", |u| async move {
                    for part in prepared {
                        u.append_log(part.step, part.log, &part.lines, None).await?;
                    }
                    for log in finish {
                        if let Some(step) = self.logs.get(log) {
                            u.finish_log(*step, *log).await?;
                        }
                    }
                    Ok(())
                })
                .await;
            match written {
                // The connection broke during the commit: the log itself tells whether it happened.
                Err(DbError::Uncertain(_)) if !self.is_stored(prepared).await? => {}
                Err(DbError::Uncertain(_)) | Ok(()) => break,
                Err(error) => return Err(error),
            }
        }
        self.hooks.at("log.appended");
        Ok(())
    }

    /// Whether appends whose commit is not certain are in the database.
    async fn is_stored(&self, prepared: &[Part]) -> Result<bool, DbError> {
        let Some(part) = prepared.first() else { return Ok(true) };
        let log = self
            .write("log.checking", |u| async move { buildguild_db::logs::get(u.tx(), part.log).await })
            .await?
            .ok_or(DbError::NotFound("log"))?;
        Ok(log.num_lines > part.first_line)
    }

    /// Cuts and compresses, before the transaction.
    fn prepare(&self, appends: &[Append]) -> Vec<Part> {
        appends
            .iter()
            .filter_map(|append| {
                let step = *self.logs.get(&append.log)?;
                let content: String = append.chunks.iter().map(|chunk| chunk.content.as_str()).collect();
                let compression = self.compression.of(content.len());
                let lines = Prepared::new(&content, append.kind == LogKind::Stream, compression);
                Some(Part { step, log: append.log, first_line: append.first_line, lines })
            })
            .collect()
    }

    /// Adds a link to a step.
    pub(crate) async fn add_url(&self, step: StepId, link: &StepUrl) -> Result<(), DbError> {
        self.write("step.url", |u| async move { u.add_step_url(step, &link.name, &link.url).await }).await?;
        Ok(())
    }

    /// Sets what a step is doing.
    pub(crate) async fn set_step_state(&self, step: StepId, state: &str) -> Result<(), DbError> {
        self.write("step.state", |u| async move { u.set_step_state_string(step, state).await }).await?;
        Ok(())
    }

    /// Says after a while that a step is running, if it has said nothing itself by then. Most steps end before: Buildbot
    /// does not say it of them either.
    pub(crate) fn say_running(&self, step: StepId, state: String) -> impl Future<Output = ()> + Send + use<> {
        let (data, owner) = (self.data.clone(), self.owner);
        async move {
            tokio::time::sleep(RUNNING_AFTER).await;
            let state = state.as_str();
            let said = data.update_as(owner, |u| async move { u.set_pending_step_state_string(step, state).await });
            if let Err(error) = said.await {
                // What the step writes next meets the same trouble, and deals with it.
                tracing::debug!(step.id = step.get(), %error, "step {step} did not say that it is running");
            }
        }
    }

    /// Sets properties of the build.
    pub(crate) async fn set_properties(&self, properties: &Properties) -> Result<(), DbError> {
        let build = self.build;
        self.write("build.properties", |u| async move { u.set_build_properties(build, properties).await }).await
    }

    /// Adds an answer to the journal of a step function.
    pub(crate) async fn journal(&self, step: StepId, position: usize, answer: &Value) -> Result<(), DbError> {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let entry = answer.to_string();
        let entry = entry.as_str();
        self.write("step.journal", |u| async move { u.add_step_journal_entry(step, position, entry).await }).await
    }

    /// Ends the build, and with it its request.
    pub(crate) async fn finish_build(
        &mut self,
        results: Results,
        state: &str,
        unsaved: &Properties,
    ) -> Result<(), DbError> {
        let (build, has_locks) = (self.build, self.has_locks);
        let ended = self.ended.as_ref();
        self.write("build.finishing", |u| async move {
            if let Some(ended) = ended {
                ended.store(&u, build).await?;
            }
            u.set_build_properties(build, unsaved).await?;
            if has_locks {
                u.release_build_locks(build).await?;
            }
            u.finish_build(build, results, Some(state)).await
        })
        .await?;
        self.hooks.at("build.finished");
        Ok(())
    }

    /// Ends whatever there is of a request's builds as RETRY, or gives the request back: for a build that cannot go on
    /// although its claim is held.
    pub(crate) async fn abort(&self, request: BuildRequestId, why: &str) -> Result<(), DbError> {
        let state = format!("retry {why}");
        let state = state.as_str();
        self.write("build.aborting", |u| async move {
            let open: Vec<Build> =
                builds::for_request(u.tx(), request).await?.into_iter().filter(|build| !build.complete).collect();
            if open.is_empty() {
                u.unclaim_build_requests(&[request]).await?;
            }
            for build in open {
                for step in buildguild_db::steps::for_build(u.tx(), build.buildid).await? {
                    if !step.complete {
                        let end = StepEnd { results: Results::Retry, hidden: false, state_string: None };
                        u.finish_step(step.stepid, &end).await?;
                    }
                }
                u.finish_build(build.buildid, Results::Retry, Some(state)).await?;
            }
            Ok(())
        })
        .await
    }

    /// Stores a piece of data of the build.
    pub(crate) async fn set_build_data(&self, name: &str, value: Vec<u8>, source: &str) -> Result<(), DbError> {
        let build = self.build;
        let value = value.as_slice();
        self.write("build.data", |u| async move {
            buildguild_db::claims::lock_build(u.tx(), build, u.owner()).await?;
            buildguild_db::build_data::set(u.tx(), build, name, value, source).await
        })
        .await?;
        Ok(())
    }

    /// Adds a set of test results.
    pub(crate) async fn add_test_result_set(
        &self,
        step: StepId,
        description: &str,
        category: &str,
        value_unit: &str,
    ) -> Result<TestResultSetId, DbError> {
        let build = self.build;
        let info = TestResultSetInfo { description, category, value_unit };
        self.write("test.set", |u| async move { u.add_test_result_set(build, step, info).await }).await
    }

    /// Adds a test result.
    pub(crate) async fn add_test_result(&self, set: TestResultSetId, result: NewTestResult) -> Result<(), DbError> {
        let build = self.build;
        let results = [result];
        let results = &results;
        self.write("test.result", |u| async move {
            let locked = buildguild_db::claims::lock_build(u.tx(), build, u.owner()).await?;
            test_results::add(u.tx(), locked.builderid, set, results).await
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_not_compressed() {
        let settings = |limit| LogSettings {
            compression_limit_bytes: limit,
            compression_method: "gz".to_owned(),
            ..LogSettings::default()
        };
        let compression = ChunkCompression::new(&settings(Some(4096)));
        assert_eq!((compression.of(4095), compression.of(4096)), (Compression::None, Compression::Gz));
        assert_eq!(ChunkCompression::new(&settings(None)).of(1 << 20), Compression::None);
    }
}
