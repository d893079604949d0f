//! The routing keys and bodies of events, as the API reference (section 8) gives them.
//!
//! The first key is the main one; the fan-out expands the others. Bodies are the resource as REST gives it at that
//! moment, with the two exceptions of the reference: a new buildset names its scheduler, and lacks its relationship to
//! its parent.

use buildguild_db::DbError;
use buildguild_types::event::{Event, EventKey};
use buildguild_types::ids::{BuildId, BuildRequestId, MasterId};
use buildguild_types::properties::Properties;
use buildguild_types::resources::{
    Build, BuildRequest, Builder, Buildset, Change, Log, Master, Project, Scheduler, SourceStamp, Step, TestResultSet,
    Worker,
};
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use serde::Serialize;

fn key(parts: &[&dyn std::fmt::Display]) -> EventKey {
    EventKey::new(parts)
}

fn event(keys: Vec<EventKey>, body: &impl Serialize) -> Result<Event, DbError> {
    Event::new(keys, body).map_err(|error| DbError::Invalid(format!("the body of an event: {error}")))
}

/// An event of a buildset. `scheduler` is for `new`.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn buildset(buildset: &Buildset, scheduler: Option<&str>, verb: &str) -> Result<Event, DbError> {
    let body = BuildsetBody {
        bsid: buildset.bsid.get(),
        external_idstring: buildset.external_idstring.as_deref(),
        reason: &buildset.reason,
        parent_buildid: buildset.parent_buildid.map(BuildId::get),
        parent_relationship: (verb != "new").then_some(buildset.parent_relationship.as_deref()),
        rebuilt_buildid: buildset.rebuilt_buildid.map(BuildId::get),
        submitted_at: buildset.submitted_at.secs(),
        complete: buildset.complete,
        complete_at: buildset.complete_at.map(Timestamp::secs),
        results: buildset.results.map(Results::code),
        scheduler,
        sourcestamps: &buildset.sourcestamps,
    };
    event(vec![key(&[&"buildsets", &buildset.bsid, &verb])], &body)
}

#[derive(Serialize)]
struct BuildsetBody<'a> {
    bsid: i64,
    external_idstring: Option<&'a str>,
    reason: &'a str,
    parent_buildid: Option<i64>,
    // Left out where the outer one is none; null where the inner one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_relationship: Option<Option<&'a str>>,
    rebuilt_buildid: Option<i64>,
    submitted_at: i64,
    complete: bool,
    complete_at: Option<i64>,
    results: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler: Option<&'a str>,
    sourcestamps: &'a [SourceStamp],
}

/// An event of a build request.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn buildrequest(request: &BuildRequest, verb: &str) -> Result<Event, DbError> {
    let (bsid, builder, brid) = (request.buildsetid, request.builderid, request.buildrequestid);
    let keys = vec![
        key(&[&"buildsets", &bsid, &"builders", &builder, &"buildrequests", &brid, &verb]),
        key(&[&"buildrequests", &brid, &verb]),
        key(&[&"builders", &builder, &"buildrequests", &brid, &verb]),
    ];
    event(keys, request)
}

/// An event of a build.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn build(build: &Build, verb: &str) -> Result<Event, DbError> {
    let keys = vec![
        key(&[&"builders", &build.builderid, &"builds", &build.number, &verb]),
        key(&[&"builds", &build.buildid, &verb]),
        key(&[&"workers", &build.workerid, &"builds", &build.buildid, &verb]),
    ];
    event(keys, build)
}

/// Changed properties of a build.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn build_properties(build: BuildId, properties: &Properties) -> Result<Event, DbError> {
    event(vec![key(&[&"builds", &build, &"properties", &"update"])], properties)
}

/// An event of a step.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn step(step: &Step, verb: &str) -> Result<Event, DbError> {
    let keys =
        vec![key(&[&"builds", &step.buildid, &"steps", &step.stepid, &verb]), key(&[&"steps", &step.stepid, &verb])];
    event(keys, step)
}

/// An event of a log.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn log(log: &Log, verb: &str) -> Result<Event, DbError> {
    let keys = vec![key(&[&"logs", &log.logid, &verb]), key(&[&"steps", &log.stepid, &"logs", &log.slug, &verb])];
    event(keys, log)
}

/// An event of a change.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn change(change: &Change, verb: &str) -> Result<Event, DbError> {
    event(vec![key(&[&"changes", &change.changeid, &verb])], change)
}

/// An event of a worker.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn worker(worker: &Worker, verb: &str) -> Result<Event, DbError> {
    event(vec![key(&[&"workers", &worker.workerid, &verb])], worker)
}

/// An event of a master.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn master(master: &Master, verb: &str) -> Result<Event, DbError> {
    event(vec![key(&[&"masters", &master.masterid, &verb])], master)
}

/// That a master has a builder from now on (`started`) or no longer (`stopped`).
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn builder(builder: &Builder, master: MasterId, verb: &str) -> Result<Event, DbError> {
    let body = serde_json::json!({ "builderid": builder.builderid, "masterid": master, "name": builder.name });
    event(vec![key(&[&"builders", &builder.builderid, &verb])], &body)
}

/// That a worker has been missing for too long, and whom to tell.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn worker_missing(worker: &Worker, since: Timestamp, notify: &[String]) -> Result<Event, DbError> {
    let mut body = serde_json::to_value(worker).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("last_connection".to_owned(), since.secs().into());
        fields.insert("notify".to_owned(), notify.into());
    }
    event(vec![key(&[&"workers", &worker.workerid, &"missing"])], &body)
}

/// An event of a set of test results.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn test_result_set(set: &TestResultSet, verb: &str) -> Result<Event, DbError> {
    event(vec![key(&[&"test_result_sets", &set.test_result_setid, &verb])], set)
}

/// An event of a scheduler.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn scheduler(scheduler: &Scheduler, verb: &str) -> Result<Event, DbError> {
    event(vec![key(&[&"schedulers", &scheduler.schedulerid, &verb])], scheduler)
}

/// An event of a project.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn project(project: &Project, verb: &str) -> Result<Event, DbError> {
    event(vec![key(&[&"projects", &project.projectid, &verb])], project)
}

/// A control call: `kind` is `worker`, `builds` or `buildrequests`.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn control(kind: &str, id: i64, verb: &str, reason: Option<&str>) -> Result<Event, DbError> {
    event(vec![key(&[&"control", &kind, &id, &verb])], &serde_json::json!({ "reason": reason }))
}

/// That a cancel call was made for a request; its body is `null`.
///
/// # Errors
/// If the body cannot be written as JSON.
pub fn request_cancel(request: BuildRequestId) -> Result<Event, DbError> {
    event(vec![key(&[&"buildrequests", &request, &"cancel"])], &())
}
