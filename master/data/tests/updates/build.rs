//! A build's records: the order and the bodies of its events, and how its request ends.

use buildguild_data::StepEnd;
use buildguild_db::logs::{Compression, Prepared};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, buildrequests, builds, logs, properties};
use buildguild_types::properties::Properties;
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use serde_json::Value;

use crate::support::Master;

const END: StepEnd<'static> = StepEnd { results: Results::Success, hidden: false, state_string: Some("ok") };

async fn the_events_of_a_build_come_in_causal_order(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let (request, build, step) = master.running_build().await;
    let mut changed = Properties::new();
    changed.set("got_revision", "abc", "Git");
    let changed = &changed;
    let log = master
        .data
        .update(|u| async move {
            u.set_build_properties(build, changed).await?;
            Ok(u.add_log(step, "stdio", "stdio", LogKind::Stream).await?.logid)
        })
        .await
        .unwrap();
    for _ in 0..3 {
        let lines = &Prepared::new("oline\n", true, Compression::Zstd);
        master.data.update(|u| async move { u.append_log(step, log, lines, None).await }).await.unwrap();
    }
    master
        .data
        .update(|u| async move {
            u.finish_step(step, &END).await?;
            u.finish_build(build, Results::Success, Some("build successful")).await
        })
        .await
        .unwrap();

    let keys = master.keys_until("buildsets/1/complete").await;
    let without_appends: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.ends_with("/append")).collect();
    assert_eq!(
        without_appends,
        [
            "buildsets/1/new",
            "buildsets/1/builders/1/buildrequests/1/new",
            "buildsets/1/builders/1/buildrequests/1/claimed",
            "builders/1/builds/1/new",
            "builds/1/steps/1/new",
            "builds/1/steps/1/started",
            "builds/1/properties/update",
            "logs/1/new",
            "logs/1/finished",
            "builds/1/steps/1/updated",
            "builds/1/steps/1/finished",
            "builders/1/builds/1/update",
            "builders/1/builds/1/finished",
            "buildsets/1/builders/1/buildrequests/1/complete",
            "buildsets/1/complete",
        ]
    );
    let at = |key: &str| keys.iter().position(|other| other == key);
    let (new, append, finished) = (at("logs/1/new"), at("logs/1/append"), at("logs/1/finished"));
    assert!(append.is_some() && new < append && append < finished, "{keys:?}");
    let last_append = keys.iter().rposition(|key| key == "logs/1/append");
    assert!(last_append < finished, "{keys:?}");

    let request = buildrequests::get(test.db.read(), request).await.unwrap().unwrap();
    assert_eq!((request.complete, request.results), (true, Some(Results::Success)));
    assert!(logs::get(test.db.read(), log).await.unwrap().unwrap().complete);
    assert_eq!(properties::of_build(test.db.read(), build).await.unwrap().value("got_revision"), Some(&"abc".into()));
}

async fn the_bodies_are_those_of_the_api(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let (_, build, step) = master.running_build().await;
    let body = |event: std::sync::Arc<buildguild_types::event::Event>| -> Value {
        serde_json::from_str(event.body.get()).unwrap()
    };
    let new = body(master.event("buildsets/1/new").await);
    assert_eq!(new["scheduler"], "force");
    assert!(new.get("parent_relationship").is_none());
    assert_eq!((&new["complete"], &new["results"]), (&Value::Bool(false), &Value::Null));
    let request = master.event("buildsets/1/builders/1/buildrequests/1/claimed").await;
    let keys: Vec<&str> = request.keys.iter().map(|key| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "buildsets/1/builders/1/buildrequests/1/claimed",
            "buildrequests/1/claimed",
            "builders/1/buildrequests/1/claimed"
        ]
    );
    let request = body(request);
    assert_eq!((&request["claimed"], &request["results"]), (&Value::Bool(true), &Value::from(-1)));
    let started = master.event("builders/1/builds/1/new").await;
    let keys: Vec<&str> = started.keys.iter().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["builders/1/builds/1/new", "builds/1/new", "workers/1/builds/1/new"]);
    assert_eq!(body(started)["properties"], serde_json::json!({}));
    master
        .data
        .update(|u| async move {
            u.finish_step(step, &END).await?;
            u.finish_build(build, Results::Failure, Some("failed")).await
        })
        .await
        .unwrap();
    let finished = body(master.event("builders/1/builds/1/finished").await);
    assert_eq!((&finished["results"], &finished["complete"]), (&Value::from(2), &Value::Bool(true)));
    let complete = body(master.event("buildsets/1/complete").await);
    assert_eq!(complete["results"], 2);
    assert!(complete.get("scheduler").is_none());
}

async fn a_build_that_is_retried_gives_its_request_back(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let (request, build, step) = master.running_build().await;
    master
        .data
        .update(|u| async move {
            u.finish_step(step, &StepEnd { results: Results::Retry, ..END }).await?;
            u.finish_build(build, Results::Retry, Some("retry lost connection")).await
        })
        .await
        .unwrap();
    master.event("buildsets/1/builders/1/buildrequests/1/unclaimed").await;
    let request = buildrequests::get(test.db.read(), request).await.unwrap().unwrap();
    assert!(!request.claimed && !request.complete);
    let late = master.data.update(|u| async move { u.set_build_state_string(build, "zombie").await }).await;
    assert!(matches!(late, Err(DbError::ClaimLost)), "{late:?}");
}

async fn a_failed_update_changes_and_announces_nothing(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let (_, build, _) = master.running_build().await;
    let failed = master
        .data
        .update(|u| async move {
            u.set_build_state_string(build, "never").await?;
            Err::<(), _>(DbError::NotFound("luck"))
        })
        .await;
    assert!(failed.is_err());
    master.data.update(|u| async move { u.set_build_state_string(build, "building").await }).await.unwrap();
    let update = master.event("builders/1/builds/1/update").await;
    assert!(update.body.get().contains("\"building\""), "{}", update.body);
    assert_eq!(builds::get(test.db.read(), build).await.unwrap().unwrap().state_string, "building");
}

async fn a_rebuild_has_the_same_sources_and_names_the_first_build(test: &TestDb) {
    let master = Master::new(&test.db, "one").await;
    let (_, build, step) = master.running_build().await;
    master
        .data
        .update(|u| async move {
            u.finish_step(step, &END).await?;
            u.finish_build(build, Results::Success, None).await
        })
        .await
        .unwrap();
    let (buildset, requests) = master.data.update(|u| async move { u.rebuild(build).await }).await.unwrap();
    assert_eq!((buildset.reason.as_str(), buildset.rebuilt_buildid), ("rebuild", Some(build)));
    assert_eq!((requests[0].builderid, buildset.sourcestamps.len()), (master.builder, 1));
}

buildguild_db::on_both_databases!(
    the_events_of_a_build_come_in_causal_order,
    the_bodies_are_those_of_the_api,
    a_build_that_is_retried_gives_its_request_back,
    a_failed_update_changes_and_announces_nothing,
    a_rebuild_has_the_same_sources_and_names_the_first_build,
);
