//! A build from its first to its last transaction.

use buildguild_db::DbError;
use buildguild_types::pyrepr;
use buildguild_types::results::Results;
use serde_json::json;

use super::context::BuildContext;
use super::{execute_step, locks, summary};
use crate::render::{Call, RenderError};
use crate::steps::StepError;
use crate::workers::WorkerLost;

/// Runs the steps of a build whose row and preparation step exist, and ends it.
///
/// # Errors
/// If something could not be stored, because the claim was lost or the database refuses: nothing more may be written.
pub(crate) async fn execute(build: &mut BuildContext) -> Result<Results, DbError> {
    let mut ending = Ending::default();
    match is_wanted(build).await {
        Ok(true) => {}
        Ok(false) => return end_unprepared(build, Results::Skipped, "build skipped").await,
        Err(error) => return end_unprepared(build, Results::Exception, &format!("exception {error}")).await,
    }
    let locks = std::mem::take(&mut build.locks);
    match locks::take(build, None, &locks).await {
        Ok(()) => match prepare(build).await {
            Ok(()) => run_steps(build, &mut ending).await?,
            Err(WorkerLost) => ending.lost = true,
        },
        Err(StepError::WorkerLost) => ending.lost = true,
        Err(StepError::Stopped) => {
            let reason = build.stop.latest().map(|request| request.reason).unwrap_or_default();
            return end_unprepared(build, Results::Cancelled, &format!("cancelled ({reason})")).await;
        }
        Err(StepError::Data(error)) => return Err(error),
        Err(error) => return end_unprepared(build, Results::Exception, &format!("exception {error}")).await,
    }
    if ending.lost {
        build.results = Results::Retry;
    }
    let reason = match build.results {
        Results::Retry if ending.lost => Some("lost connection".to_owned()),
        Results::Cancelled => ending.stopped.map(|reason| format!("({reason})")),
        _ => None,
    };
    let state = summary::of_build(build.results, reason.as_deref(), &ending.texts);
    let properties = build.take_unsaved();
    build.recorder.finish_build(build.results, &state, &properties).await?;
    Ok(build.results)
}

/// What the build will say about its end.
#[derive(Default)]
struct Ending {
    /// What its steps contribute.
    texts: Vec<String>,
    /// Why it was stopped.
    stopped: Option<String>,
    /// Whether the worker was lost.
    lost: bool,
}

/// `do_build_if`: whether the build is to be done at all.
async fn is_wanted(build: &BuildContext) -> Result<bool, RenderError> {
    let Some(function) = &build.builder.do_build_if else { return Ok(true) };
    let mut view = build.as_json();
    if let Some(fields) = view.as_object_mut() {
        fields.insert("properties".to_owned(), json!(build.properties));
        fields.insert("sourcestamps".to_owned(), json!(build.sources));
    }
    let call = Call { args: vec![view], ..Call::default() };
    Ok(pyrepr::is_true(&build.call(function, call, false).await?))
}

/// Ends a build that does not get as far as its worker.
async fn end_unprepared(build: &mut BuildContext, results: Results, state: &str) -> Result<Results, DbError> {
    build.recorder.end_preparation(results, "worker not needed".to_owned(), None);
    build.results = results;
    build.recorder.finish_build(results, &summary::tidy(state), &build.unsaved).await?;
    Ok(results)
}

/// Makes sure that the worker is there. Its loss here is seen in the step `worker_preparation`.
async fn prepare(build: &mut BuildContext) -> Result<(), WorkerLost> {
    let answered = build.worker.ping().await;
    let worker = build.worker.name().to_owned();
    let (results, state) = match answered {
        Ok(()) => (Results::Success, format!("worker {worker} ready")),
        Err(WorkerLost) => (Results::Retry, format!("worker {worker} not ready (retry)")),
    };
    build.recorder.end_preparation(results, state, answered.is_ok().then_some("building"));
    if answered.is_ok() {
        // They are stored, and told, with the end of the first step.
        let builddir = build.worker.path(&[&build.plan.worker_builddir]);
        build.set_property("basedir", build.worker.info().basedir.as_str().into(), "Worker");
        build.set_property("builddir", builddir.into(), "Worker");
    }
    answered
}

async fn run_steps(build: &mut BuildContext, ending: &mut Ending) -> Result<(), DbError> {
    let plan = std::mem::take(&mut build.plan.factory.steps);
    let mut halted = false;
    for config in &plan {
        if let Some(request) = build.stop.pending()
            && ending.stopped.is_none()
        {
            // Stopped between two steps.
            ending.stopped = Some(request.reason);
            build.stop.acknowledge();
            build.results = build.results.worst(Results::Cancelled);
            halted = true;
        }
        if halted && !config.flags.always_run {
            continue;
        }
        let before = build.stop.latest();
        let end = execute_step::execute(build, config, &mut ending.texts).await?;
        match end.results {
            Results::Cancelled => {
                let reason = build.stop.latest().or(before).map(|request| request.reason);
                ending.stopped = ending.stopped.take().or(reason);
            }
            Results::Retry if !build.worker.is_connected() => {
                ending.lost = true;
                break;
            }
            _ => {}
        }
        halted |= end.halt;
    }
    build.plan.factory.steps = plan;
    Ok(())
}
