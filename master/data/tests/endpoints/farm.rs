//! A farm that has one of everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildguild_config::{FarmBundle, LoadedFarm};
use buildguild_data::{DataError, Items, Reader};
use buildguild_db::builders::BuilderInfo;
use buildguild_db::builds::NewBuild;
use buildguild_db::buildsets::{NewBuildset, StampRef};
use buildguild_db::changes::NewChange;
use buildguild_db::codebase_commits::NewCommit;
use buildguild_db::logs::{Compression, Prepared};
use buildguild_db::sourcestamps::{NewPatch, NewSourceStamp};
use buildguild_db::test_result_sets::NewTestResultSet;
use buildguild_db::test_results::NewTestResult;
use buildguild_db::test_support::TestDb;
use buildguild_db::workers::Session;
use buildguild_db::{
    DbError, Owner, Tx, build_data, builders, buildrequests, builds, buildsets, changes, changesources,
    codebase_branches, codebase_commits, codebases, logs, masters, projects, properties, schedulers, steps,
    test_result_sets, test_results, workers,
};
use buildguild_types::farm::{
    FarmConfig, ForceConfig, ForceParameter, ForceParameterKind, SchedulerConfig, SchedulerKind,
};
use buildguild_types::ids::{BuildId, BuildRequestId, BuilderId};
use buildguild_types::properties::Properties;
use buildguild_types::render::Renderable;
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use buildguild_types::spec::ResultSpec;
use buildguild_types::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Some time, with a fraction that the API drops.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_654_321);

/// Answers reads of a farm with two builders (1 `linux`, 2 `deploy prod`), two workers (1 `w1`, connected, 2 `w-absent`),
/// three changes on `main`, and two builds of `linux`: the first successful, the second running. Step 1 of the first
/// is `compile`, with the logs `stdio`, `notes` and `page.html`.
pub(crate) async fn reader(test: &TestDb) -> Reader {
    test.db.write(|tx| async move { fill(&tx).await }).await.expect("fills the database");
    let farm = LoadedFarm::new(farm_config(), FarmBundle::default());
    let (_, farm) = watch::channel(Arc::new(farm));
    Reader::new(test.db.clone(), Some(farm))
}

/// Asks for a path without query.
pub(crate) async fn get(reader: &Reader, path: &str) -> Result<Items, DataError> {
    get_with(reader, path, &ResultSpec::default()).await
}

/// Asks for a path.
pub(crate) async fn get_with(reader: &Reader, path: &str, spec: &ResultSpec) -> Result<Items, DataError> {
    let parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    let reply = reader.get(&parts, spec).await?;
    Ok(reply.into_items().unwrap_or_else(|| panic!("{path}: a download")))
}

/// The one item of a single resource.
pub(crate) async fn one(reader: &Reader, path: &str) -> Value {
    let mut items = get(reader, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!((items.items.len(), items.total), (1, None), "{path}");
    items.items.remove(0)
}

/// The values of one field of a collection's items.
pub(crate) async fn each(reader: &Reader, path: &str, field: &str) -> Vec<Value> {
    let items = get(reader, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(items.total, Some(items.items.len() as u64), "{path}");
    items.items.iter().map(|item| item[field].clone()).collect()
}

async fn fill(tx: &Tx) -> Result<(), DbError> {
    let master = masters::find_id(tx, "host:/master").await?;
    let owner = masters::register(tx, master, "instance", None).await?;
    let project = projects::find_id(tx, "alpha", true).await?;
    projects::find_id(tx, "empty", true).await?;
    let linux = BuilderInfo {
        name: "linux".to_owned(),
        description: Some("Builds".to_owned()),
        project: Some(project),
        tags: vec!["linux".to_owned(), "ci".to_owned()],
        ..BuilderInfo::default()
    };
    let deploy = BuilderInfo { name: "deploy prod".to_owned(), ..BuilderInfo::default() };
    // One after the other, so that their ids are known.
    let linux = builders::sync(tx, master, std::slice::from_ref(&linux)).await?.ids["linux"];
    let deploy_id = builders::find_id(tx, "deploy prod", true).await?;
    builders::update_info(tx, deploy_id, &deploy).await?;
    builders::add_masters(tx, master, &[deploy_id]).await?;
    let w1 = workers::find_id(tx, "w1").await?;
    workers::find_id(tx, "w-absent").await?;
    workers::sync(tx, master, &[("w1".to_owned(), vec![linux, deploy_id]), ("w-absent".to_owned(), vec![deploy_id])])
        .await?;
    let session = Session { worker: w1, owner, session: "session".to_owned() };
    let info = BTreeMap::from([("version".to_owned(), json!("4.3.0"))]);
    workers::connected(tx, &session, None, &info, NOW).await?;
    for name in ["force", "nightly"] {
        schedulers::find_id(tx, name).await?;
    }
    let nightly = schedulers::find_id(tx, "nightly").await?;
    schedulers::set_master(tx, nightly, Some(owner)).await?;
    let poller = changesources::find_id(tx, "poller").await?;
    changesources::set_master(tx, poller, Some(owner)).await?;

    let mut stamps = Vec::new();
    for revision in ["r1", "r2", "r3"] {
        let mut brought = Properties::new();
        brought.set("ticket", 42, "Change");
        let change = NewChange {
            author: "ann".to_owned(),
            comments: format!("commit {revision}"),
            files: vec!["z.c".to_owned(), "a.c".to_owned()],
            revision: Some(revision.to_owned()),
            branch: Some("main".to_owned()),
            properties: brought,
            ..NewChange::default()
        };
        stamps.push(changes::add(tx, &change, NOW).await?.sourcestamp.ssid);
    }
    let (_, first) = request(tx, linux, vec![StampRef::Id(stamps[0])], None).await?;
    let build = build(tx, owner, linux, first).await?;
    finish_first_build(tx, owner, linux, build, first).await?;
    let (_, second) = request(tx, linux, vec![StampRef::Id(stamps[2])], Some(build)).await?;
    self::build(tx, owner, linux, second).await?;
    let patched = NewSourceStamp {
        revision: Some("patched".to_owned()),
        patch: Some(NewPatch { body: "--- a".to_owned(), level: 1, ..NewPatch::default() }),
        ..NewSourceStamp::default()
    };
    request(tx, deploy_id, vec![StampRef::New(patched)], None).await?;

    let codebase = codebases::find_id(tx, project, "repo", true).await?;
    let mut parent = None;
    for revision in ["r1", "0123"] {
        let commit = NewCommit {
            codebase,
            author: "ann".to_owned(),
            committer: None,
            comments: String::new(),
            when: NOW,
            revision: revision.to_owned(),
            parent,
        };
        parent = Some(codebase_commits::add(tx, &commit).await?.0);
    }
    codebase_branches::update(tx, codebase, "main", parent, NOW).await?;
    Ok(())
}

async fn request(
    tx: &Tx,
    builder: BuilderId,
    sourcestamps: Vec<StampRef>,
    parent: Option<BuildId>,
) -> Result<(i64, BuildRequestId), DbError> {
    let mut properties = Properties::new();
    properties.set("scheduler", "force", "Scheduler");
    let buildset = NewBuildset {
        sourcestamps,
        reason: "because".to_owned(),
        properties,
        builders: vec![builder],
        parent_buildid: parent,
        parent_relationship: parent.map(|_| "Triggered from".to_owned()),
        ..NewBuildset::default()
    };
    let (buildset, requests) = buildsets::add(tx, &buildset, NOW).await?;
    Ok((buildset.bsid.get(), requests[0].buildrequestid))
}

async fn build(tx: &Tx, owner: Owner, builder: BuilderId, request: BuildRequestId) -> Result<BuildId, DbError> {
    buildrequests::claim(tx, &[request], owner, NOW).await?;
    let worker = workers::find_id(tx, "w1").await?;
    let build = NewBuild { builder, request, worker, state_string: "building" };
    Ok(builds::add(tx, &build, owner, NOW).await?.buildid)
}

async fn finish_first_build(
    tx: &Tx,
    owner: Owner,
    builder: BuilderId,
    build: BuildId,
    request: BuildRequestId,
) -> Result<(), DbError> {
    let mut set = Properties::new();
    set.set("revision", "r1", "Build");
    set.set("list", json!([1, {"a": null}]), "Form");
    properties::set_for_build(tx, build, &set).await?;
    build_data::set(tx, build, "coverage", b"\x00\x01 binary", "report step").await?;
    let prepare = steps::add(tx, build, "worker_preparation", "ready").await?.stepid;
    steps::finish(tx, prepare, Results::Success, false, None, NOW).await?;
    let step = steps::add(tx, build, "compile", "running").await?.stepid;
    steps::start(tx, step, NOW, true).await?;
    steps::add_url(tx, step, "docs", "https://example.org").await?;
    let stream: String = (0..5_000)
        .map(|line| match line {
            0 => "hmake all\n".to_owned(),
            4_999 => "hprogram finished with exit code 0\n".to_owned(),
            _ if line % 2 == 0 => format!("eline {line} é\n"),
            _ => format!("oline {line}, {}\n", "x".repeat(40)),
        })
        .collect();
    for (name, slug, kind, content) in [
        ("stdio", "stdio", LogKind::Stream, stream.as_str()),
        ("notes", "notes", LogKind::Text, "first\nsecond é\n"),
        ("page.html", "page_html", LogKind::Html, "<p>report</p>\n"),
        ("empty", "empty", LogKind::Text, ""),
    ] {
        let log = logs::add(tx, step, name, slug, kind).await?.logid;
        let prepared = Prepared::new(content, kind == LogKind::Stream, Compression::Zstd);
        logs::append(tx, log, &prepared, None).await?;
        logs::finish(tx, log).await?;
    }
    steps::finish(tx, step, Results::Success, false, Some("compiled"), NOW).await?;
    steps::add(tx, build, "two words", "pending").await?;
    let set = NewTestResultSet {
        builder,
        build,
        step,
        description: None,
        category: "pass_fail".to_owned(),
        value_unit: "boolean".to_owned(),
    };
    let set = test_result_sets::add(tx, &set).await?;
    let result = NewTestResult { value: "1".to_owned(), test_name: Some("t".to_owned()), ..NewTestResult::default() };
    test_results::add(tx, builder, set, &[result]).await?;
    builds::finish(tx, build, Results::Success, Some("build successful"), NOW).await?;
    buildrequests::complete(tx, &[request], Results::Success, owner, NOW).await?;
    Ok(())
}

fn farm_config() -> FarmConfig {
    let field = |name: &str| ForceParameter {
        name: name.to_owned(),
        label: name.to_owned(),
        tablabel: name.to_owned(),
        default: Renderable::literal(""),
        required: false,
        multiple: false,
        regex: None,
        hide: false,
        maxsize: None,
        autopopulate: None,
        tooltip: String::new(),
        kind: ForceParameterKind::String { size: 10 },
    };
    let force = ForceConfig {
        label: "Build now".to_owned(),
        button_name: "Build".to_owned(),
        reason_string: "A build was forced by '%(owner)s': %(reason)s".to_owned(),
        username: field("username"),
        reason: field("reason"),
        priority: field("priority"),
        codebases: Vec::new(),
        properties: vec![field("flavour")],
    };
    let scheduler = SchedulerConfig {
        name: "force".to_owned(),
        builder_names: Renderable::literal(json!(["linux"])),
        properties: BTreeMap::new(),
        codebases: BTreeMap::new(),
        priority: None,
        reason: None,
        kind: SchedulerKind::Force(Box::new(force)),
    };
    FarmConfig { schedulers: vec![scheduler], ..FarmConfig::default() }
}
