//! Schedulers on real databases: restarts, takeovers, changes of masters that are not heard.

use buildguild_db::{ConnectionTrait, buildsets, test_support::TestDb};
use buildguild_types::resources::Buildset;
use serde_json::json;

use crate::{
    singletons::Singletons,
    testing::{TestMaster, eventually, farm, scheduler},
};
use std::sync::Arc;

async fn all_buildsets(connection: &impl ConnectionTrait) -> Vec<Buildset> {
    buildsets::recent(connection, 1000, None, None, None).await.expect("the database answers")
}

fn run_singletons(master: &TestMaster) {
    let singletons = Singletons::new(Arc::clone(&master.parts), master.tasks.clone());
    let cancel = master.cancel.clone();
    master.spawn(async move { singletons.run(&cancel).await });
}

async fn wait_for_buildsets(test: &TestDb, count: usize) -> Vec<Buildset> {
    eventually(&format!("{count} buildsets"), || async {
        let all = all_buildsets(test.db.read()).await;
        assert!(all.len() <= count, "too many buildsets: {all:?}");
        (all.len() == count).then_some(all)
    })
    .await
}

fn single(kind: serde_json::Value) -> buildguild_types::farm::FarmConfig {
    let mut config = farm(&["b"], &[("w", None)]);
    config.schedulers.push(scheduler("s", kind));
    config
}

fn state_key() -> buildguild_data::StateKey {
    buildguild_data::StateKey { object: "s".to_owned(), class_name: "Scheduler".to_owned(), name: "changes".to_owned() }
}

/// Waits until the scheduler runs: it has stored where it starts to read.
async fn ready(master: &TestMaster) {
    let key = state_key();
    eventually("the scheduler runs", || async { master.store.state(&key).await.expect("the database answers") }).await;
}

async fn each_important_change_is_a_buildset(test: &TestDb) {
    let filter = json!({"branch": {"eq": ["main"]}});
    let m = TestMaster::start(test, "m", single(json!({"kind": "single_branch", "change_filter": filter}))).await;
    m.add_change("main", "before").await;
    run_singletons(&m);
    ready(&m).await;
    let change = m.add_change("main", "r1").await;
    m.add_change("other", "r2").await;
    m.add_change("main", "r3").await;
    let all = wait_for_buildsets(test, 2).await;
    assert_eq!(all[0].reason, "The SingleBranchScheduler scheduler named 's' triggered this build");
    assert_eq!(all[0].sourcestamps[0].ssid, change.sourcestamp.ssid);
    assert_eq!(all[1].sourcestamps[0].revision.as_deref(), Some("r3"));
    let properties = m.store.buildset_properties(all[0].bsid).await.expect("the database answers");
    assert_eq!(json!(properties), json!({"scheduler": ["s", "Scheduler"]}));
}

async fn a_change_of_a_master_that_is_not_heard_is_found(test: &TestDb) {
    let config = single(json!({"kind": "single_branch"}));
    let (a, b) = (TestMaster::start(test, "a", config.clone()).await, TestMaster::start(test, "b", config).await);
    run_singletons(&a);
    ready(&a).await;
    run_singletons(&b);
    b.add_change("main", "r1").await;
    wait_for_buildsets(test, 1).await;
}

async fn classified_changes_survive_the_death_of_their_master(test: &TestDb) {
    let kind = json!({"kind": "any_branch", "tree_stable_timer_secs": 3.0});
    let a = TestMaster::start(test, "a", single(kind.clone())).await;
    run_singletons(&a);
    ready(&a).await;
    a.add_change("x", "r1").await;
    let last = a.add_change("x", "r2").await;
    a.add_change("y", "r3").await;
    let id = a.store.scheduler_id("s").await.expect("the database answers");
    eventually("three classifications", || async {
        let pending = a.store.pending_changes(id).await.expect("the database answers");
        (pending.len() == 3).then_some(())
    })
    .await;
    a.die(test).await;
    let b = TestMaster::start(test, "b", single(kind)).await;
    assert!(all_buildsets(test.db.read()).await.is_empty());
    // Added while no scheduler ran.
    b.add_change("y", "r4").await;
    run_singletons(&b);
    let mut all = wait_for_buildsets(test, 2).await;
    all.sort_by_key(|s| s.sourcestamps[0].branch.clone());
    assert_eq!(all[0].sourcestamps[0].ssid, last.sourcestamp.ssid);
    assert_eq!(all[1].sourcestamps[0].revision.as_deref(), Some("r4"));
    assert!(b.store.pending_changes(id).await.expect("the database answers").is_empty());
}

async fn a_timer_goes_on_after_the_death_of_its_master(test: &TestDb) {
    let kind = json!({"kind": "single_branch", "tree_stable_timer_secs": 3600.0});
    let a = TestMaster::start(test, "a", single(kind.clone())).await;
    run_singletons(&a);
    ready(&a).await;
    a.add_change("main", "r1").await;
    let key = state_key();
    let mut state = eventually("the timer is stored", || async {
        let state = a.store.state(&key).await.expect("the database answers")?;
        state["timers"].is_array().then_some(state)
    })
    .await;
    a.die(test).await;
    // As if an hour had passed.
    let since = state["timers"][0][1].as_i64().expect("a time");
    state["timers"][0][1] = json!(since - 3_600_000_000);
    let b = TestMaster::start(test, "b", single(kind)).await;
    let (key, state) = (&key, &state);
    b.store.update(|u| async move { u.set_state(key, state).await }).await.expect("it is stored");
    run_singletons(&b);
    let all = wait_for_buildsets(test, 1).await;
    assert_eq!(all[0].sourcestamps[0].revision.as_deref(), Some("r1"));
}

async fn a_disabled_scheduler_starts_nothing(test: &TestDb) {
    let m = TestMaster::start(test, "m", single(json!({"kind": "single_branch"}))).await;
    run_singletons(&m);
    ready(&m).await;
    let id = m.store.scheduler_id("s").await.expect("the database answers");
    let enable = |on: bool| m.store.update(move |u| async move { u.enable_scheduler(id, on).await });
    enable(false).await.expect("it is disabled");
    let ignored = m.add_change("main", "r1").await;
    let key = buildguild_data::StateKey {
        object: "s".to_owned(),
        class_name: "Scheduler".to_owned(),
        name: "changes".to_owned(),
    };
    eventually("the change is read", || async {
        let state = m.store.state(&key).await.expect("the database answers")?;
        (state["cursor"]["last"] == json!(ignored.changeid)).then_some(())
    })
    .await;
    enable(true).await.expect("it is enabled");
    m.add_change("main", "r2").await;
    let all = wait_for_buildsets(test, 1).await;
    assert_eq!(all[0].sourcestamps[0].revision.as_deref(), Some("r2"));
}

async fn a_reconfiguration_restarts_only_what_changed(test: &TestDb) {
    let kind = json!({"kind": "single_branch"});
    let mut config = single(kind.clone());
    let m = TestMaster::start(test, "m", config.clone()).await;
    run_singletons(&m);
    ready(&m).await;
    let other = scheduler("t", json!({"kind": "single_branch", "change_filter": {"branch": {"eq": ["t"]}}}));
    config.schedulers.push(other);
    m.reconfigure(config.clone()).await;
    eventually("the new scheduler runs", || async {
        let free = m.store.free_singletons().await.expect("the database answers").0;
        let id = m.store.scheduler_id("t").await.expect("the database answers");
        (!free.contains(&id)).then_some(())
    })
    .await;
    config.schedulers.remove(0);
    m.reconfigure(config).await;
    let id = m.store.scheduler_id("s").await.expect("the database answers");
    eventually("the old scheduler's lease is free", || async {
        let free = m.store.free_singletons().await.expect("the database answers").0;
        free.contains(&id).then_some(())
    })
    .await;
}

buildguild_db::on_both_databases!(
    each_important_change_is_a_buildset,
    a_change_of_a_master_that_is_not_heard_is_found,
    classified_changes_survive_the_death_of_their_master,
    a_timer_goes_on_after_the_death_of_its_master,
    a_disabled_scheduler_starts_nothing,
    a_reconfiguration_restarts_only_what_changed,
);
