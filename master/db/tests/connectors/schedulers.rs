//! Schedulers and change sources.

use std::collections::BTreeMap;

use buildguild_db::schedulers::ChangeLine;
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, changesources, on_both_databases, schedulers};
use buildguild_types::ids::SchedulerId;

use super::fixtures::{change, master};

on_both_databases!(
    ids_are_found_again,
    enabling_tells_whether_it_changed_anything,
    one_living_master_at_a_time,
    classifications_are_replaced_filtered_and_flushed,
    change_sources_have_one_living_master,
);

async fn ids_are_found_again(test: &TestDb) {
    let db = test.db.clone();
    let ids = db
        .write(|tx| async move {
            let first = schedulers::find_id(&tx, "nightly").await?;
            let other = schedulers::find_id(&tx, "a name with spaces, and ü").await?;
            assert_ne!(first, other);
            Ok([first, schedulers::find_id(&tx, "nightly").await?])
        })
        .await
        .expect("finds");
    assert_eq!(ids[0], ids[1]);
    let scheduler = schedulers::get(db.read(), ids[0]).await.expect("reads").expect("exists");
    assert_eq!((scheduler.name.as_str(), scheduler.enabled, scheduler.master), ("nightly", true, None));
    assert_eq!(schedulers::get(db.read(), SchedulerId(99)).await.expect("reads"), None);
}

async fn enabling_tells_whether_it_changed_anything(test: &TestDb) {
    let changed = test
        .db
        .write(|tx| async move {
            let id = schedulers::find_id(&tx, "s").await?;
            Ok([
                schedulers::enable(&tx, id, false).await?,
                schedulers::enable(&tx, id, false).await?,
                schedulers::enable(&tx, id, true).await?,
            ])
        })
        .await
        .expect("enables");
    assert_eq!(changed, [true, false, true]);
    let missing = test.db.write(|tx| async move { schedulers::enable(&tx, SchedulerId(99), true).await }).await;
    assert!(matches!(missing, Err(DbError::NotFound(_))), "{missing:?}");
}

async fn one_living_master_at_a_time(test: &TestDb) {
    let (one, two) = (master(test, "one").await, master(test, "two").await);
    let db = &test.db;
    let id = db.write(|tx| async move { schedulers::find_id(&tx, "s").await }).await.expect("finds");
    let idle = db.write(|tx| async move { schedulers::find_id(&tx, "idle").await }).await.expect("finds");
    db.write(|tx| async move { schedulers::set_master(&tx, id, Some(one)).await }).await.expect("is free");
    db.write(|tx| async move { schedulers::set_master(&tx, id, Some(one)).await }).await.expect("is its own");
    let taken = db.write(|tx| async move { schedulers::set_master(&tx, id, Some(two)).await }).await;
    assert!(matches!(taken, Err(DbError::AlreadyClaimed)), "{taken:?}");
    assert_eq!(schedulers::master(db.read(), id).await.expect("reads"), Some(one.master_id));

    let names = |list: Vec<buildguild_types::resources::Scheduler>| {
        list.into_iter().map(|scheduler| scheduler.name).collect::<Vec<String>>()
    };
    assert_eq!(names(schedulers::list(db.read(), None, None).await.expect("lists")), ["s", "idle"]);
    assert_eq!(names(schedulers::list(db.read(), Some(true), None).await.expect("lists")), ["s"]);
    assert_eq!(names(schedulers::list(db.read(), Some(false), None).await.expect("lists")), ["idle"]);
    assert_eq!(names(schedulers::list(db.read(), None, Some(one.master_id)).await.expect("lists")), ["s"]);
    assert!(schedulers::list(db.read(), None, Some(two.master_id)).await.expect("lists").is_empty());
    let shown = schedulers::get(db.read(), id).await.expect("reads").expect("exists").master.expect("runs");
    assert_eq!((shown.masterid, shown.name.as_str(), shown.active), (one.master_id, "one", true));

    db.write(|tx| async move { schedulers::set_master(&tx, id, None).await }).await.expect("frees");
    db.write(|tx| async move { schedulers::set_master(&tx, id, Some(two)).await }).await.expect("is free again");
    assert_eq!(schedulers::master(db.read(), idle).await.expect("reads"), None);

    // A process that has been declared dead gets nothing.
    let ghost = buildguild_db::Owner { epoch: one.epoch + 1, ..one };
    let refused = db.write(|tx| async move { schedulers::set_master(&tx, idle, Some(ghost)).await }).await;
    assert!(matches!(refused, Err(DbError::EpochEnded)), "{refused:?}");
}

async fn classifications_are_replaced_filtered_and_flushed(test: &TestDb) {
    let db = &test.db;
    let main = change(test, Some("main"), "r1").await;
    let other = change(test, Some("other"), "r2").await;
    let default = change(test, None, "r3").await;
    let id = db.write(|tx| async move { schedulers::find_id(&tx, "s").await }).await.expect("finds");
    db.write(|tx| async move {
        schedulers::classify(&tx, id, &[(main, true), (other, false), (default, false), (default, true)]).await?;
        schedulers::classify(&tx, id, &[(main, false)]).await?;
        schedulers::classify(&tx, id, &[]).await
    })
    .await
    .expect("classifies");

    let all = ChangeLine::default();
    let found = schedulers::classifications(db.read(), id, &all).await.expect("reads");
    assert_eq!(found, BTreeMap::from([(main, false), (other, false), (default, true)]));
    let line = ChangeLine { branch: Some(Some("other".to_owned())), ..ChangeLine::default() };
    let found = schedulers::classifications(db.read(), id, &line).await.expect("reads");
    assert_eq!(found, BTreeMap::from([(other, false)]));
    let line = ChangeLine { branch: Some(None), ..ChangeLine::default() };
    let found = schedulers::classifications(db.read(), id, &line).await.expect("reads");
    assert_eq!(found, BTreeMap::from([(default, true)]));
    let line = ChangeLine {
        repository: Some("https://example.org/repo".to_owned()),
        project: Some("alpha".to_owned()),
        codebase: Some(String::new()),
        ..ChangeLine::default()
    };
    assert_eq!(schedulers::classifications(db.read(), id, &line).await.expect("reads").len(), 3);
    let line = ChangeLine { project: Some("beta".to_owned()), ..ChangeLine::default() };
    assert!(schedulers::classifications(db.read(), id, &line).await.expect("reads").is_empty());

    let flushed = db
        .write(|tx| async move { schedulers::flush_classifications(&tx, id, Some(default)).await })
        .await
        .expect("flushes");
    assert_eq!(flushed, 2);
    let found = schedulers::classifications(db.read(), id, &all).await.expect("reads");
    assert_eq!(found, BTreeMap::from([(default, true)]));
    db.write(|tx| async move { schedulers::flush_classifications(&tx, id, None).await }).await.expect("flushes");
    assert!(schedulers::classifications(db.read(), id, &all).await.expect("reads").is_empty());

    let missing = db.write(|tx| async move { schedulers::classify(&tx, SchedulerId(99), &[(main, true)]).await }).await;
    assert!(matches!(missing, Err(DbError::Conflict(_))), "{missing:?}");
}

async fn change_sources_have_one_living_master(test: &TestDb) {
    let (one, two) = (master(test, "one").await, master(test, "two").await);
    let db = &test.db;
    let id = db.write(|tx| async move { changesources::find_id(&tx, "poller").await }).await.expect("finds");
    let again = db.write(|tx| async move { changesources::find_id(&tx, "poller").await }).await.expect("finds");
    assert_eq!(id, again);
    db.write(|tx| async move { changesources::set_master(&tx, id, Some(one)).await }).await.expect("is free");
    let taken = db.write(|tx| async move { changesources::set_master(&tx, id, Some(two)).await }).await;
    assert!(matches!(taken, Err(DbError::AlreadyClaimed)), "{taken:?}");
    assert_eq!(changesources::master(db.read(), id).await.expect("reads"), Some(one.master_id));
    let shown = changesources::get(db.read(), id).await.expect("reads").expect("exists");
    assert_eq!(shown.master.map(|master| master.name), Some("one".to_owned()));
    assert_eq!(changesources::list(db.read(), Some(true), Some(one.master_id)).await.expect("lists").len(), 1);
    assert!(changesources::list(db.read(), Some(false), None).await.expect("lists").is_empty());
    db.write(|tx| async move { changesources::set_master(&tx, id, None).await }).await.expect("frees");
    assert_eq!(changesources::master(db.read(), id).await.expect("reads"), None);
}
