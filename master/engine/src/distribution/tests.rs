//! Distribution on real databases: order, limits, collapsing, two masters, and control calls.

use std::{sync::Arc, time::Duration};

use buildguild_db::{
    buildrequests,
    buildsets::{NewBuildset, StampRef},
    sourcestamps::NewSourceStamp,
    test_support::TestDb,
};
use buildguild_types::{
    control::{BuildRef, Caller, ControlAction, ControlCall, ControlError, WorkerRef},
    farm::{CollapsePolicy, FarmConfig},
    ids::{BuildId, BuildRequestId, BuildsetId},
    results::Results,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Distributor;
use crate::{
    control::{Control, Fulfilment},
    testing::{TestMaster, TestPool, TestRunner, eventually, farm, scheduler},
};

/// A master with workers of the test's own.
pub(super) struct Site {
    pub(super) master: TestMaster,
    pool: TestPool,
    pub(super) runner: Arc<TestRunner>,
}

impl Site {
    async fn new(test: &TestDb, name: &str, config: FarmConfig, workers: &[(&str, usize)], instant: bool) -> Self {
        Self::of(TestMaster::start(test, name, config).await, workers, instant).await
    }

    pub(super) async fn of(master: TestMaster, workers: &[(&str, usize)], instant: bool) -> Self {
        let pool = TestPool::new(&master.store, workers).await;
        let runner = TestRunner::new(master.store.clone(), instant);
        Self { master, pool, runner }
    }

    /// Starts distribution and the fulfilment of wishes.
    pub(super) fn run(&self) {
        let parts = Arc::clone(&self.master.parts);
        let (pool, runner) = (Arc::new(self.pool.clone()), self.runner.clone());
        let builds = self.master.tasks.clone();
        let metrics = crate::metrics::Metrics::register(&prometheus::Registry::new()).expect("a fresh registry");
        let distributor = Distributor::new(Arc::clone(&parts), pool.clone(), runner.clone(), builds, metrics);
        let fulfilment = Fulfilment::new(parts, pool, runner);
        self.master.spawn(async move { distributor.run(&CancellationToken::new()).await });
        self.master.spawn(async move { fulfilment.run(&CancellationToken::new()).await });
    }

    /// Submits a request for a builder at a revision without changes.
    pub(super) async fn submit(&self, builder: &str, revision: &str, priority: i64) -> BuildRequestId {
        let builder = *self.master.parts.builders().get(builder).expect("the builder is configured");
        let stamp = NewSourceStamp { revision: Some(revision.to_owned()), ..NewSourceStamp::default() };
        let new = NewBuildset {
            sourcestamps: vec![StampRef::New(stamp)],
            builders: vec![builder],
            priority,
            ..NewBuildset::default()
        };
        let (_, requests) = self.master.store.add_buildset(&new).await.expect("it is submitted");
        requests[0].buildrequestid
    }

    pub(super) async fn wait_for_started(&self, count: usize) -> Vec<BuildRequestId> {
        eventually(&format!("{count} builds"), || async {
            let started = self.runner.started();
            (started.len() >= count).then_some(started)
        })
        .await
    }

    async fn results(&self, request: BuildRequestId) -> Option<Results> {
        let read = self.master.store.data().db().read();
        let found = buildrequests::get(read, request).await.expect("the database answers");
        found.expect("the request exists").results
    }

    async fn call(&self, action: ControlAction) -> Result<serde_json::Value, ControlError> {
        let caller = Caller::default();
        Control::new(Arc::clone(&self.master.parts)).call(ControlCall { caller, action }).await
    }
}

/// A farm whose requests do not collapse.
pub(super) fn plain(builders: &[&str], workers: &[(&str, Option<u32>)]) -> FarmConfig {
    FarmConfig { collapse_requests: CollapsePolicy::Never, ..farm(builders, workers) }
}

async fn priority_comes_before_age_and_max_builds_is_kept(test: &TestDb) {
    let config = plain(&["b", "c"], &[("w", Some(1))]);
    let site = Site::new(test, "m", config, &[("w", 1)], false).await;
    let first = site.submit("b", "1", 0).await;
    let second = site.submit("b", "2", 0).await;
    let urgent = site.submit("b", "3", 5).await;
    let other = site.submit("c", "4", 1).await;
    site.run();
    let mut order = Vec::new();
    for count in 1..=4 {
        order = site.wait_for_started(count).await;
        assert_eq!(order.len(), count, "the worker runs one build at a time");
        site.runner.finish_all(Results::Success);
    }
    assert_eq!(order, [urgent, other, first, second]);
    eventually("all are complete", || async { site.results(second).await }).await;
}

async fn two_masters_share_a_queue_and_build_everything_once(test: &TestDb) {
    let config = plain(&["b"], &[("w1", None), ("w2", None)]);
    let a = Site::new(test, "a", config.clone(), &[("w1", 3)], true).await;
    let b = Site::new(test, "b", config, &[("w2", 3)], true).await;
    a.run();
    b.run();
    let mut all = Vec::new();
    for n in 0..40 {
        all.push(a.submit("b", &n.to_string(), 0).await);
    }
    eventually("all are complete", || async {
        for request in &all {
            a.results(*request).await?;
        }
        Some(())
    })
    .await;
    let mut started = [a.runner.started(), b.runner.started()].concat();
    started.sort();
    assert_eq!(started, all);
}

async fn a_request_that_no_event_tells_of_is_found(test: &TestDb) {
    let config = plain(&["b"], &[("w1", None), ("w2", None)]);
    // The first master has no worker, and the second one does not hear the first.
    let a = Site::new(test, "a", config.clone(), &[], true).await;
    let b = Site::new(test, "b", config, &[("w2", 1)], true).await;
    b.run();
    let request = a.submit("b", "1", 0).await;
    assert_eq!(b.wait_for_started(1).await, [request]);
}

async fn compatible_requests_collapse_into_the_newest(test: &TestDb) {
    let site = Site::new(test, "m", farm(&["b"], &[("w", Some(1))]), &[("w", 1)], false).await;
    let old = site.submit("b", "1", 0).await;
    let other = site.submit("b", "2", 0).await;
    let new = site.submit("b", "1", 0).await;
    site.run();
    assert_eq!(site.wait_for_started(1).await, [other]);
    assert_eq!(eventually("the old one is skipped", || site.results(old)).await, Results::Skipped);
    // One that comes while the worker is busy collapses too.
    let newest = site.submit("b", "1", 0).await;
    assert_eq!(eventually("the new one is skipped", || site.results(new)).await, Results::Skipped);
    site.runner.finish_all(Results::Success);
    assert_eq!(site.wait_for_started(2).await, [other, newest]);
}

async fn a_retried_build_goes_back_into_the_queue(test: &TestDb) {
    let site = Site::new(test, "m", plain(&["b"], &[("w", None)]), &[("w", 1)], false).await;
    site.run();
    let request = site.submit("b", "1", 0).await;
    site.wait_for_started(1).await;
    site.runner.finish_all(Results::Retry);
    assert_eq!(site.wait_for_started(2).await, [request, request]);
    site.runner.finish_all(Results::Failure);
    assert_eq!(eventually("it is complete", || site.results(request)).await, Results::Failure);
}

async fn stops_and_cancels_reach_the_master_that_runs_the_build(test: &TestDb) {
    let config = plain(&["b"], &[("w", Some(1))]);
    let a = Site::new(test, "a", config.clone(), &[("w", 1)], false).await;
    let b = Site::new(test, "b", config, &[], false).await;
    a.run();
    b.run();
    let running = a.submit("b", "1", 0).await;
    a.wait_for_started(1).await;
    let queued = a.submit("b", "2", 0).await;
    let reason = "because".to_owned();
    b.call(ControlAction::CancelRequest { request: queued, reason: reason.clone() }).await.expect("it is cancelled");
    assert_eq!(b.results(queued).await, Some(Results::Cancelled));
    let build = eventually("the build is known", || async {
        a.master.store.open_builds(running).await.expect("the database answers").first().copied()
    })
    .await;
    b.call(ControlAction::StopBuild { build: BuildRef::Id(build), reason }).await.expect("it is stopped");
    assert_eq!(eventually("the build is stopped", || a.results(running)).await, Results::Cancelled);
    let missing = ControlAction::StopBuild { build: BuildRef::Id(BuildId(999)), reason: String::new() };
    assert!(matches!(b.call(missing).await, Err(ControlError::NotFound(_))));
}

async fn cancelling_a_claimed_request_stops_its_build(test: &TestDb) {
    let config = plain(&["b"], &[("w", Some(1))]);
    let a = Site::new(test, "a", config.clone(), &[("w", 1)], false).await;
    let b = Site::new(test, "b", config, &[], false).await;
    a.run();
    let request = a.submit("b", "1", 0).await;
    a.wait_for_started(1).await;
    b.call(ControlAction::CancelRequest { request, reason: "no".to_owned() }).await.expect("it is cancelled");
    assert_eq!(eventually("the build is stopped", || a.results(request)).await, Results::Cancelled);
}

async fn a_paused_worker_gets_no_builds(test: &TestDb) {
    let site = Site::new(test, "m", plain(&["b"], &[("w", None)]), &[("w", 1)], true).await;
    let worker = WorkerRef::Name("w".to_owned());
    let id = site.master.store.worker_id("w").await.expect("the database answers").expect("it exists");
    let info = Default::default();
    let info = &info;
    let connected = site.master.store.update(|u| async move { u.worker_connected(id, "s", None, info).await });
    connected.await.expect("it is connected");
    site.run();
    let reason = "maintenance".to_owned();
    site.call(ControlAction::PauseWorker { worker: worker.clone(), reason }).await.expect("it is paused");
    eventually("the pause is known", || async { (!site.pool.is_available("w")).then_some(()) }).await;
    let request = site.submit("b", "1", 0).await;
    site.call(ControlAction::UnpauseWorker { worker, reason: String::new() }).await.expect("it is unpaused");
    assert_eq!(site.wait_for_started(1).await, [request]);
}

async fn a_force_call_is_checked_and_submitted(test: &TestDb) {
    let mut config = plain(&["b"], &[("w", None)]);
    let text = |name: &str, default: &str| {
        json!({"name": name, "label": name, "tablabel": name, "default": {"kind": "literal", "value": default},
               "required": false, "multiple": false, "regex": null, "hide": false, "maxsize": null,
               "autopopulate": null, "tooltip": "", "kind": {"kind": "string", "size": 10}})
    };
    let mut number = text("priority", "");
    number["kind"] = json!({"kind": "int", "size": 10});
    let mut required = text("why", "");
    required["required"] = json!(true);
    let mut computed = text("computed", "");
    computed["kind"] = json!({"kind": "fixed"});
    computed["default"] = json!({"kind": "list", "items": [{"kind": "literal", "value": "x"}]});
    config.schedulers.push(scheduler(
        "f",
        json!({
            "kind": "force", "label": "f", "button_name": "f", "reason_string": "forced by '%(owner)s': %(reason)s",
            "username": text("username", ""), "reason": text("reason", "force build"), "priority": number,
            "codebases": [{"codebase": "", "label": "", "branch": text("branch", ""), "revision": text("revision", ""),
                           "repository": text("repository", ""), "project": text("project", ""), "patch": null}],
            "properties": [required, computed],
        }),
    ));
    // A scheduler that also names a builder which is not configured.
    let mut stale = config.schedulers[0].clone();
    stale.name = "stale".to_owned();
    stale.builder_names = serde_json::from_value(json!({"kind": "literal", "value": ["b", "gone"]})).expect("names");
    config.schedulers.push(stale);
    let site = Site::new(test, "m", config, &[("w", 1)], true).await;
    site.run();
    let force_by = |scheduler: &str, values: serde_json::Value| {
        let values = values.as_object().expect("an object").clone();
        site.call(ControlAction::Force { scheduler: scheduler.to_owned(), values })
    };
    let force = |values| force_by("f", values);
    let refused = force_by("stale", json!({"why": "x"})).await;
    assert!(
        matches!(&refused, Err(ControlError::Conflict(text)) if text == "builder 'gone' of 'stale' is not configured"),
        "{refused:?}"
    );
    let Err(ControlError::InvalidForce(errors)) = force(json!({"priority": "x"})).await else {
        panic!("it is refused")
    };
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["priority", "why"]);
    let answer = force(json!({"why": "x", "branch": "main", "builderid": "1", "username": "joe"})).await;
    let answer = answer.expect("it is accepted");
    let builder = site.master.parts.builders()["b"];
    let request = BuildRequestId(answer[1][builder.to_string()].as_i64().expect("a request"));
    assert_eq!(site.wait_for_started(1).await, [request]);
    let bsid = BuildsetId(answer[0].as_i64().expect("a buildset"));
    let properties = site.master.store.buildset_properties(bsid).await.expect("the database answers");
    let form = "Force Build Form";
    assert_eq!(
        json!(properties),
        json!({"owner": ["joe", form], "reason": ["force build", form], "why": ["x", form],
               "computed": [["x"], form],
               "scheduler": ["f", "Scheduler"]})
    );
    // A rebuild does the same again.
    let build = eventually("the build has ended", || async {
        site.results(request).await?;
        site.master.store.build_by_number(builder, 1).await.expect("the database answers")
    })
    .await;
    site.call(ControlAction::RebuildBuild { build: BuildRef::Id(build.buildid) }).await.expect("it is rebuilt");
    site.wait_for_started(2).await;
}

/// A worker that becomes free, or a request that comes, costs the same however many requests wait.
async fn a_long_queue_slows_nothing(test: &TestDb) {
    let site = Site::new(test, "m", plain(&["b", "c"], &[("w", None)]), &[("w", 2)], false).await;
    let builder = site.master.parts.builders()["b"];
    let stamp = NewSourceStamp { revision: Some("1".to_owned()), ..NewSourceStamp::default() };
    let new = NewBuildset {
        sourcestamps: vec![StampRef::New(stamp)],
        builders: vec![builder; 1000],
        ..NewBuildset::default()
    };
    for _ in 0..5 {
        site.master.store.add_buildset(&new).await.expect("it is submitted");
    }
    site.run();
    site.wait_for_started(2).await;
    let mut waits = Vec::new();
    for count in 2..20 {
        let before = tokio::time::Instant::now();
        site.runner.finish_all(Results::Success);
        site.wait_for_started(count + 2).await;
        waits.push(before.elapsed());
    }
    // Generous, and not of a single one, for a busy machine; reading 5000 requests each time would take far longer.
    waits.sort();
    assert!(waits[waits.len() / 2] < Duration::from_secs(5), "{waits:?}");
}

/// However many builders have queues, and however long these are, a place that becomes free is used at once. For a
/// measurement with more requests (and figures with `--nocapture`) set `BUILDGUILD_TEST_PENDING`.
async fn many_long_queues_slow_nothing(test: &TestDb) {
    let names: Vec<String> = (0..50).map(|n| format!("b{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Without collapsing, which would do away with most of them.
    let site = Site::new(test, "m", plain(&names, &[("w", None)]), &[("w", 10)], false).await;
    let builders: Vec<_> = names.iter().map(|name| site.master.parts.builders()[*name]).collect();
    let pending: usize = std::env::var("BUILDGUILD_TEST_PENDING").ok().and_then(|n| n.parse().ok()).unwrap_or(5000);
    for round in 0..pending.div_ceil(1000) {
        let stamp = NewSourceStamp { revision: Some(round.to_string()), ..NewSourceStamp::default() };
        let new = NewBuildset {
            sourcestamps: vec![StampRef::New(stamp)],
            builders: builders.iter().copied().cycle().take(1000).collect(),
            ..NewBuildset::default()
        };
        site.master.store.add_buildset(&new).await.expect("it is submitted");
    }
    let begun = tokio::time::Instant::now();
    site.run();
    site.wait_for_started(10).await;
    println!("{pending} requests wait; the first 10 start after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30));
    let mut waits = Vec::new();
    for round in 1..=30 {
        let before = tokio::time::Instant::now();
        site.runner.finish_all(Results::Success);
        site.wait_for_started((round + 1) * 10).await;
        waits.push(before.elapsed());
    }
    waits.sort();
    println!(
        "from ten places that are free to ten builds: median {:?}, longest {:?}",
        waits[waits.len() / 2],
        waits.last()
    );
    // Not of a single one: a busy machine may let anything wait for seconds.
    assert!(waits[waits.len() / 2] < Duration::from_secs(2), "{waits:?}");
}

buildguild_db::on_both_databases!(
    priority_comes_before_age_and_max_builds_is_kept,
    two_masters_share_a_queue_and_build_everything_once,
    a_request_that_no_event_tells_of_is_found,
    compatible_requests_collapse_into_the_newest,
    a_retried_build_goes_back_into_the_queue,
    stops_and_cancels_reach_the_master_that_runs_the_build,
    cancelling_a_claimed_request_stops_its_build,
    a_paused_worker_gets_no_builds,
    a_force_call_is_checked_and_submitted,
    a_long_queue_slows_nothing,
    many_long_queues_slow_nothing,
);
