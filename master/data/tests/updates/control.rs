//! Control updates: cancelling, stopping, pausing.

use std::collections::BTreeMap;

use buildguild_data::Update;
use buildguild_db::test_support::TestDb;
use buildguild_db::wishes::{self, WishKind};
use buildguild_db::{buildrequests, workers};
use buildguild_types::results::Results;

use crate::support::Master;

async fn a_queued_request_is_cancelled_at_once(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let request = master.request().await;
    master.data.update(|u| async move { u.cancel_build_request(request, Some("why")).await }).await.unwrap();
    let keys = master.keys_until("buildrequests/1/cancel").await;
    assert_eq!(
        keys[2..],
        [
            "control/buildrequests/1/cancel",
            "buildsets/1/builders/1/buildrequests/1/complete",
            "buildsets/1/complete",
            "buildrequests/1/cancel"
        ]
    );
    let request = buildrequests::get(test.db.read(), request).await.unwrap().unwrap();
    assert_eq!(request.results, Some(Results::Cancelled));
    assert!(wishes::list(test.db.read()).await.unwrap().is_empty());
}

async fn stopping_a_running_build_is_a_wish_that_its_end_fulfils(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let (request, build, step) = master.running_build().await;
    master.data.update(|u| async move { u.cancel_build_request(request, Some("why")).await }).await.unwrap();
    let stop = master.event("control/builds/1/stop").await;
    assert_eq!(stop.body.get(), r#"{"reason":"why"}"#);
    let wish = wishes::get(test.db.read(), WishKind::StopBuild, build.get()).await.unwrap().unwrap();
    assert_eq!(wish.reason.as_deref(), Some("why"));
    master
        .data
        .update(|u| async move {
            let end = buildguild_data::StepEnd { results: Results::Cancelled, hidden: false, state_string: None };
            u.finish_step(step, &end).await?;
            u.finish_build(build, Results::Cancelled, Some("cancelled (why)")).await
        })
        .await
        .unwrap();
    assert!(wishes::list(test.db.read()).await.unwrap().is_empty());
    // On what has ended there is no effect.
    master.data.update(|u| async move { u.stop_build(build, None).await }).await.unwrap();
    assert!(wishes::list(test.db.read()).await.unwrap().is_empty());
}

async fn workers_are_paused_and_stopped(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let worker = master.worker;
    let connect = |u: Update| async move { u.worker_connected(worker, "s1", None, &BTreeMap::new()).await };
    master.data.update(connect).await.unwrap();
    master.data.update(|u| async move { u.pause_worker(worker, Some("rest")).await }).await.unwrap();
    let event = master.event("workers/1/state_updated").await;
    assert!(event.body.get().contains(r#""paused":true,"pause_reason":"rest""#), "{}", event.body);
    master
        .data
        .update(|u| async move {
            u.unpause_worker(worker).await?;
            u.stop_worker(worker, None).await?;
            u.kill_worker(worker, None).await
        })
        .await
        .unwrap();
    let resource = workers::get(test.db.read(), worker).await.unwrap().unwrap();
    assert!(!resource.paused && resource.graceful);
    assert_eq!(wishes::list(test.db.read()).await.unwrap().len(), 2);
    let graceful = async || workers::get(test.db.read(), worker).await.unwrap().unwrap().graceful;
    master.data.update(|u| async move { u.take_up_worker_wishes(worker).await }).await.unwrap();
    let left = wishes::list(test.db.read()).await.unwrap();
    assert!(graceful().await && left.len() == 1 && left[0].kind == WishKind::StopWorker, "{left:?}");
    master.data.update(|u| async move { u.worker_has_left(worker).await }).await.unwrap();
    assert!(wishes::list(test.db.read()).await.unwrap().is_empty());
    assert!(!graceful().await);
}

/// As in Buildbot, which claims what it completes.
async fn a_collapsed_request_is_news_as_claimed_and_then_complete(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let (older, newer) = (master.request().await, master.request().await);
    let collapsed =
        master.data.update(|u| async move { u.collapse_build_requests(newer, &[older]).await }).await.unwrap();
    assert_eq!(collapsed.len(), 1);
    let claimed = master.event("buildsets/1/builders/1/buildrequests/1/claimed").await;
    let claimed: serde_json::Value = serde_json::from_str(claimed.body.get()).unwrap();
    assert_eq!(
        (&claimed["claimed"], &claimed["complete"], &claimed["results"]),
        (&true.into(), &false.into(), &(-1).into())
    );
    let complete = master.event("buildsets/1/builders/1/buildrequests/1/complete").await;
    let complete: serde_json::Value = serde_json::from_str(complete.body.get()).unwrap();
    assert_eq!((&complete["complete"], &complete["results"]), (&true.into(), &3.into()));
}

async fn what_is_wished_about_a_worker_that_is_away_does_not_stop_its_next_session(test: &TestDb) {
    let master = Master::new(&test.db, "one").await;
    let worker = master.worker;
    let graceful = async || workers::get(test.db.read(), worker).await.unwrap().unwrap().graceful;
    master.data.update(|u| async move { u.stop_worker(worker, None).await }).await.unwrap();
    assert!(graceful().await, "it is shown");
    master.data.update(|u| async move { u.take_up_worker_wishes(worker).await }).await.unwrap();
    assert!(!graceful().await);
    assert!(wishes::list(test.db.read()).await.unwrap().is_empty());
}

buildguild_db::on_both_databases!(
    a_collapsed_request_is_news_as_claimed_and_then_complete,
    a_queued_request_is_cancelled_at_once,
    stopping_a_running_build_is_a_wish_that_its_end_fulfils,
    workers_are_paused_and_stopped,
    what_is_wished_about_a_worker_that_is_away_does_not_stop_its_next_session,
);
