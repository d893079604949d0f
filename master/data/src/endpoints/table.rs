//! The GET tree of the API: every path, what it answers, and how.
//!
//! The order matters only between paths of the same length: a literal part comes before a number, a number before a
//! name. `BUILD`, `STEP` and `LOG` stand for all forms that a path to one of them has (API reference, section 4).

use std::sync::LazyLock;

use buildguild_db::query::resources as r;
use buildguild_db::query::{Resource, Scope};

use super::path::{Args, Pattern};
use super::plan::{self, Plan};

/// An endpoint.
pub(super) struct Endpoint {
    /// The path as the API reference writes it.
    pub(super) path: &'static str,
    /// The same, ready to be matched.
    pub(super) pattern: Pattern,
    /// What it answers.
    pub(super) resource: &'static Resource,
    /// Turns the arguments of a path into what is to be done.
    pub(super) plan: fn(&Args) -> Option<Plan>,
}

type Row = (&'static str, &'static Resource, fn(&Args) -> Option<Plan>);

/// All endpoints.
pub(super) static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    ROWS.iter()
        .flat_map(|(path, resource, plan)| expand(path).into_iter().map(move |path| (path, *resource, *plan)))
        .map(|(path, resource, plan)| {
            // The table lives as long as the process, so its texts may.
            let path: &'static str = path.leak();
            Endpoint { pattern: Pattern::parse(path), path, resource, plan }
        })
        .collect()
});

/// The forms that a path to a build has.
const BUILD: [&str; 3] =
    ["builds/n:buildid", "builders/n:builderid/builds/n:build_number", "builders/s:buildername/builds/n:build_number"];

/// Writes out `BUILD`, `STEP`, `LOG`; `BUILD1`, `STEP1`, `LOG1` are the same without builders by name.
fn expand(path: &str) -> Vec<String> {
    let prefixed = |prefixes: Vec<String>, rest: &str| {
        prefixes.into_iter().map(|prefix| format!("{prefix}{rest}")).collect::<Vec<String>>()
    };
    let (head, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    let by_name = !head.ends_with('1');
    let builds: Vec<String> = BUILD
        .iter()
        .filter(|build| by_name || !build.contains("s:buildername"))
        .map(|build| (*build).to_owned())
        .collect();
    let steps = || {
        let mut steps = vec!["steps/n:stepid".to_owned()];
        for build in &builds {
            steps.push(format!("{build}/steps/n:step_number"));
            steps.push(format!("{build}/steps/i:step_name"));
        }
        steps
    };
    match head.trim_end_matches('1') {
        "BUILD" => prefixed(builds, rest),
        "STEP" => prefixed(steps(), rest),
        "LOG" => {
            let mut logs = vec!["logs/n:logid".to_owned()];
            logs.extend(prefixed(steps(), "/logs/i:log_slug"));
            prefixed(logs, rest)
        }
        _ => vec![path.to_owned()],
    }
}

fn list(resource: &'static Resource, scope: Scope) -> Option<Plan> {
    Some(Plan::List(resource, vec![scope]))
}

fn one(resource: &'static Resource, scope: Scope) -> Option<Plan> {
    Some(Plan::One(resource, vec![scope]))
}

const ROWS: &[Row] = &[
    ("", &r::ROOT_LINKS, |_| Some(Plan::RootLinks)),
    ("application.spec", &r::SPECS, |_| Some(Plan::ApplicationSpec)),
    // Builders.
    ("builders", &r::BUILDERS, |_| Some(Plan::List(&r::BUILDERS, vec![]))),
    ("builders/n:builderid", &r::BUILDERS, |a| one(&r::BUILDERS, Scope::Builder("builderid", plan::builder(a)?))),
    ("builders/s:buildername", &r::BUILDERS, |a| one(&r::BUILDERS, Scope::Builder("builderid", plan::builder(a)?))),
    ("masters/n:masterid/builders", &r::BUILDERS, |a| {
        list(&r::BUILDERS, Scope::BuildersOfMaster(a.number("masterid")?))
    }),
    ("masters/n:masterid/builders/n:builderid", &r::BUILDERS, |a| {
        Some(Plan::One(
            &r::BUILDERS,
            vec![Scope::Builder("builderid", plan::builder(a)?), Scope::BuildersOfMaster(a.number("masterid")?)],
        ))
    }),
    ("projects/n:projectid/builders", &r::BUILDERS, |a| {
        list(&r::BUILDERS, Scope::Project("projectid", plan::project(a)?))
    }),
    ("workers/n:workerid/builders", &r::BUILDERS, |a| {
        list(&r::BUILDERS, Scope::BuildersOfWorker(a.number("workerid")?))
    }),
    // Force schedulers.
    ("forceschedulers", &r::FORCE_SCHEDULERS, |_| Some(Plan::ForceSchedulers(None))),
    ("builders/n:builderid/forceschedulers", &r::FORCE_SCHEDULERS, |a| {
        Some(Plan::ForceSchedulers(Some(a.number("builderid")?)))
    }),
    ("forceschedulers/i:schedulername", &r::FORCE_SCHEDULERS, |a| {
        Some(Plan::ForceScheduler(a.text("schedulername")?.to_owned()))
    }),
    // Build requests.
    ("buildrequests", &r::BUILDREQUESTS, |_| Some(Plan::List(&r::BUILDREQUESTS, vec![]))),
    ("builders/n:builderid/buildrequests", &r::BUILDREQUESTS, |a| {
        list(&r::BUILDREQUESTS, Scope::Builder("builderid", plan::builder(a)?))
    }),
    ("buildrequests/n:buildrequestid", &r::BUILDREQUESTS, |a| {
        one(&r::BUILDREQUESTS, Scope::Id("buildrequestid", a.number("buildrequestid")?))
    }),
    // Builds.
    ("builds", &r::BUILDS, |_| Some(Plan::List(&r::BUILDS, vec![]))),
    ("builders/n:builderid/builds", &r::BUILDS, |a| list(&r::BUILDS, Scope::Builder("builderid", plan::builder(a)?))),
    ("builders/s:buildername/builds", &r::BUILDS, |a| list(&r::BUILDS, Scope::Builder("builderid", plan::builder(a)?))),
    ("buildrequests/n:buildrequestid/builds", &r::BUILDS, |a| {
        list(&r::BUILDS, Scope::Id("buildrequestid", a.number("buildrequestid")?))
    }),
    ("changes/n:changeid/builds", &r::BUILDS, |a| list(&r::BUILDS, Scope::BuildsOfChange(a.number("changeid")?))),
    ("workers/n:workerid/builds", &r::BUILDS, |a| list(&r::BUILDS, Scope::Id("workerid", a.number("workerid")?))),
    ("builds/n:buildid/triggered_builds", &r::BUILDS, |a| {
        list(&r::BUILDS, Scope::BuildsTriggeredBy(a.number("buildid")?))
    }),
    ("builds/n:buildid", &r::BUILDS, |a| one(&r::BUILDS, Scope::Id("buildid", a.number("buildid")?))),
    ("builders/n:builderid/builds/n:build_number", &r::BUILDS, one_build),
    ("builders/s:buildername/builds/n:build_number", &r::BUILDS, one_build),
    // Build data.
    ("BUILD/data", &r::BUILD_DATA, |a| list(&r::BUILD_DATA, Scope::Build("buildid", plan::build(a)?))),
    ("BUILD/data/i:name", &r::BUILD_DATA, |a| {
        Some(Plan::One(
            &r::BUILD_DATA,
            vec![Scope::Build("buildid", plan::build(a)?), Scope::Text("name", a.text("name")?.to_owned())],
        ))
    }),
    ("BUILD/data/i:name/value", &r::BUILD_DATA, |a| {
        Some(Plan::BuildDataValue(plan::build(a)?, a.text("name")?.to_owned()))
    }),
    // Changes.
    ("changes", &r::CHANGES, |_| Some(Plan::List(&r::CHANGES, vec![]))),
    ("BUILD/changes", &r::CHANGES, |a| Some(Plan::ChangesOfBuild(plan::build(a)?))),
    ("sourcestamps/n:ssid/changes", &r::CHANGES, |a| list(&r::CHANGES, Scope::ChangesOfSourceStamp(a.number("ssid")?))),
    ("changes/n:changeid", &r::CHANGES, |a| one(&r::CHANGES, Scope::Id("changeid", a.number("changeid")?))),
    // Properties.
    ("BUILD/properties", &r::PROPERTIES, |a| Some(Plan::BuildProperties(plan::build(a)?))),
    // Not in Buildbot, although its web interface asks for it: a request has the properties of its buildset.
    ("buildrequests/n:buildrequestid/properties", &r::PROPERTIES, |a| {
        Some(Plan::RequestProperties(a.number("buildrequestid")?))
    }),
    ("buildsets/n:bsid/properties", &r::PROPERTIES, |a| Some(Plan::BuildsetProperties(a.number("bsid")?))),
    ("BUILD/property_list", &r::BUILD_PROPERTIES, |a| {
        list(&r::BUILD_PROPERTIES, Scope::PropertiesOfBuild(plan::build(a)?))
    }),
    ("buildsets/n:bsid/properties_list", &r::BUILDSET_PROPERTIES, |a| {
        list(&r::BUILDSET_PROPERTIES, Scope::PropertiesOfBuildset(a.number("bsid")?))
    }),
    ("changes/n:changeid/properties_list", &r::CHANGE_PROPERTIES, |a| {
        list(&r::CHANGE_PROPERTIES, Scope::PropertiesOfChange(a.number("changeid")?))
    }),
    // Steps.
    ("BUILD/steps", &r::STEPS, |a| list(&r::STEPS, Scope::Build("buildid", plan::build(a)?))),
    ("STEP", &r::STEPS, |a| one(&r::STEPS, Scope::Step("stepid", plan::step(a)?))),
    // Logs.
    ("STEP/logs", &r::LOGS, |a| list(&r::LOGS, Scope::Step("stepid", plan::step(a)?))),
    ("LOG", &r::LOGS, |a| one(&r::LOGS, Scope::Log("logid", plan::log(a)?))),
    ("LOG/contents", &r::LOG_CHUNKS, |a| Some(Plan::LogContents(plan::log(a)?))),
    ("LOG/raw", &r::LOG_CHUNKS, |a| Some(Plan::LogRaw { log: plan::log(a)?, inline: false })),
    ("LOG/raw_inline", &r::LOG_CHUNKS, |a| Some(Plan::LogRaw { log: plan::log(a)?, inline: true })),
    // Test results.
    ("test_result_sets", &r::TEST_RESULT_SETS, |_| Some(Plan::List(&r::TEST_RESULT_SETS, vec![]))),
    ("builds/n:buildid/test_result_sets", &r::TEST_RESULT_SETS, |a| {
        list(&r::TEST_RESULT_SETS, Scope::Id("buildid", a.number("buildid")?))
    }),
    ("builders/n:builderid/test_result_sets", &r::TEST_RESULT_SETS, |a| {
        list(&r::TEST_RESULT_SETS, Scope::Builder("builderid", plan::builder(a)?))
    }),
    ("builders/s:buildername/test_result_sets", &r::TEST_RESULT_SETS, |a| {
        list(&r::TEST_RESULT_SETS, Scope::Builder("builderid", plan::builder(a)?))
    }),
    ("steps/n:stepid/test_result_sets", &r::TEST_RESULT_SETS, |a| {
        list(&r::TEST_RESULT_SETS, Scope::Id("stepid", a.number("stepid")?))
    }),
    ("codebases/n:codebaseid/commit_range/n:commitid1/n:commitid2/test_result_sets", &r::TEST_RESULT_SETS, |a| {
        Some(Plan::CommitRangeTestResultSets {
            codebaseid: a.number("codebaseid")?,
            commits: [a.number("commitid1")?, a.number("commitid2")?],
        })
    }),
    ("test_result_sets/n:test_result_setid", &r::TEST_RESULT_SETS, |a| {
        one(&r::TEST_RESULT_SETS, Scope::Id("test_result_setid", a.number("test_result_setid")?))
    }),
    ("test_result_sets/n:test_result_setid/results", &r::TEST_RESULTS, |a| {
        list(&r::TEST_RESULTS, Scope::Id("test_result_setid", a.number("test_result_setid")?))
    }),
    // Buildsets and source stamps.
    ("buildsets", &r::BUILDSETS, |_| Some(Plan::List(&r::BUILDSETS, vec![]))),
    ("buildsets/n:bsid", &r::BUILDSETS, |a| one(&r::BUILDSETS, Scope::Id("bsid", a.number("bsid")?))),
    ("buildsets/n:bsid/sourcestamps", &r::SOURCESTAMPS, |a| {
        list(&r::SOURCESTAMPS, Scope::SourceStampsOfBuildset(a.number("bsid")?))
    }),
    ("sourcestamps", &r::SOURCESTAMPS, |_| Some(Plan::List(&r::SOURCESTAMPS, vec![]))),
    ("sourcestamps/n:ssid", &r::SOURCESTAMPS, |a| one(&r::SOURCESTAMPS, Scope::Id("ssid", a.number("ssid")?))),
    // Workers.
    ("workers", &r::WORKERS, workers),
    ("workers/n:workerid", &r::WORKERS, workers),
    ("workers/i:name", &r::WORKERS, workers),
    ("builders/n:builderid/workers", &r::WORKERS, workers),
    ("builders/n:builderid/workers/n:workerid", &r::WORKERS, workers),
    ("builders/n:builderid/workers/i:name", &r::WORKERS, workers),
    ("masters/n:masterid/workers", &r::WORKERS, workers),
    ("masters/n:masterid/workers/n:workerid", &r::WORKERS, workers),
    ("masters/n:masterid/workers/i:name", &r::WORKERS, workers),
    ("masters/n:masterid/builders/n:builderid/workers", &r::WORKERS, workers),
    ("masters/n:masterid/builders/n:builderid/workers/n:workerid", &r::WORKERS, workers),
    ("masters/n:masterid/builders/n:builderid/workers/i:name", &r::WORKERS, workers),
    // Masters.
    ("masters", &r::MASTERS, |_| Some(Plan::List(&r::MASTERS, vec![]))),
    ("masters/n:masterid", &r::MASTERS, |a| one(&r::MASTERS, Scope::Id("masterid", a.number("masterid")?))),
    ("builders/n:builderid/masters", &r::MASTERS, |a| {
        list(&r::MASTERS, Scope::MastersOfBuilder(a.number("builderid")?))
    }),
    ("builders/n:builderid/masters/n:masterid", &r::MASTERS, |a| {
        Some(Plan::One(
            &r::MASTERS,
            vec![Scope::Id("masterid", a.number("masterid")?), Scope::MastersOfBuilder(a.number("builderid")?)],
        ))
    }),
    // Schedulers and change sources.
    ("schedulers", &r::SCHEDULERS, |_| Some(Plan::List(&r::SCHEDULERS, vec![]))),
    ("schedulers/n:schedulerid", &r::SCHEDULERS, |a| {
        one(&r::SCHEDULERS, Scope::Id("schedulerid", a.number("schedulerid")?))
    }),
    ("masters/n:masterid/schedulers", &r::SCHEDULERS, |a| {
        list(&r::SCHEDULERS, Scope::SchedulersOfMaster(a.number("masterid")?))
    }),
    ("masters/n:masterid/schedulers/n:schedulerid", &r::SCHEDULERS, |a| {
        Some(Plan::One(
            &r::SCHEDULERS,
            vec![Scope::Id("schedulerid", a.number("schedulerid")?), Scope::SchedulersOfMaster(a.number("masterid")?)],
        ))
    }),
    ("changesources", &r::CHANGE_SOURCES, |_| Some(Plan::List(&r::CHANGE_SOURCES, vec![]))),
    ("changesources/n:changesourceid", &r::CHANGE_SOURCES, |a| {
        one(&r::CHANGE_SOURCES, Scope::Id("changesourceid", a.number("changesourceid")?))
    }),
    ("masters/n:masterid/changesources", &r::CHANGE_SOURCES, |a| {
        list(&r::CHANGE_SOURCES, Scope::ChangeSourcesOfMaster(a.number("masterid")?))
    }),
    ("masters/n:masterid/changesources/n:changesourceid", &r::CHANGE_SOURCES, |a| {
        Some(Plan::One(
            &r::CHANGE_SOURCES,
            vec![
                Scope::Id("changesourceid", a.number("changesourceid")?),
                Scope::ChangeSourcesOfMaster(a.number("masterid")?),
            ],
        ))
    }),
    // Projects, code bases, branches, commits.
    ("projects", &r::PROJECTS, |_| Some(Plan::Projects)),
    ("projects/n:projectid", &r::PROJECTS, |a| one(&r::PROJECTS, Scope::Project("projectid", plan::project(a)?))),
    ("projects/i:projectname", &r::PROJECTS, |a| one(&r::PROJECTS, Scope::Project("projectid", plan::project(a)?))),
    ("codebases", &r::CODEBASES, |_| Some(Plan::List(&r::CODEBASES, vec![]))),
    ("codebases/n:codebaseid", &r::CODEBASES, |a| {
        one(&r::CODEBASES, Scope::Codebase("codebaseid", plan::codebase(a)?))
    }),
    ("projects/n:projectid/codebases/i:codebasename", &r::CODEBASES, |a| {
        one(&r::CODEBASES, Scope::Codebase("codebaseid", plan::codebase(a)?))
    }),
    ("codebases/n:codebaseid/branches", &r::BRANCHES, |a| {
        list(&r::BRANCHES, Scope::Id("codebaseid", a.number("codebaseid")?))
    }),
    ("branches/n:branchid", &r::BRANCHES, |a| one(&r::BRANCHES, Scope::Id("branchid", a.number("branchid")?))),
    ("codebases/n:codebaseid/commits", &r::COMMITS, |a| {
        list(&r::COMMITS, Scope::Id("codebaseid", a.number("codebaseid")?))
    }),
    ("commits/n:commitid", &r::COMMITS, |a| one(&r::COMMITS, Scope::Id("commitid", a.number("commitid")?))),
    ("codebases/n:codebaseid/commits_by_revision/a:revision", &r::COMMITS, |a| {
        Some(Plan::One(
            &r::COMMITS,
            vec![
                Scope::Id("codebaseid", a.number("codebaseid")?),
                Scope::Text("revision", a.text("revision")?.to_owned()),
            ],
        ))
    }),
    ("codebases/n:codebaseid/commit_range/n:commitid1/n:commitid2/commits_common_parent", &r::COMMIT_GRAPHS, |a| {
        Some(Plan::CommonParent {
            codebaseid: a.number("codebaseid")?,
            commits: [a.number("commitid1")?, a.number("commitid2")?],
        })
    }),
];

fn one_build(args: &Args) -> Option<Plan> {
    Some(Plan::One(
        &r::BUILDS,
        vec![Scope::Builder("builderid", plan::builder(args)?), Scope::Id("number", args.number("build_number")?)],
    ))
}

fn workers(args: &Args) -> Option<Plan> {
    Some(Plan::Workers {
        masterid: args.number("masterid"),
        builderid: args.number("builderid"),
        worker: plan::worker(args),
    })
}
