//! SSE streams: owners, versions of filters, and what is forgotten.

use std::time::Duration;

use buildguild_db::event_streams::{self as streams, EventStream, FilterChange};
use buildguild_db::test_support::TestDb;
use buildguild_db::{Db, on_both_databases};

on_both_databases!(
    a_stream_changes_its_owner_and_its_filters,
    concurrent_changes_are_all_kept,
    old_streams_are_forgotten
);

async fn change(db: &Db, owner: &str, filter: &str, is_add: bool) -> FilterChange {
    let changing = db.write(|tx| async move { streams::change(&tx, "s", owner, filter, is_add, 3).await });
    changing.await.expect("changes")
}

async fn begin(db: &Db) {
    let begun = db.write(|tx| async move { streams::begin(&tx, "s", "a", &["builds/*/*".to_owned()]).await }).await;
    begun.expect("begins");
}

async fn take(db: &Db, owner: &str) -> Option<EventStream> {
    db.write(|tx| async move { streams::take(&tx, "s", owner).await }).await.expect("takes")
}

async fn end(db: &Db, owner: &str, version: i64, keep: bool) {
    db.write(|tx| async move { streams::end(&tx, "s", owner, version, keep).await }).await.expect("ends");
}

async fn a_stream_changes_its_owner_and_its_filters(test: &TestDb) {
    let db = &test.db;
    assert_eq!(change(db, "a", "x", true).await, FilterChange::Unknown);
    begin(db).await;
    // The owner's own changes are applied by it at once, others' are to be noticed.
    assert!(matches!(change(db, "a", "steps/*/*", true).await, FilterChange::Done(_)));
    assert_eq!(streams::changed(db.read(), "a").await.expect("reads"), []);
    let FilterChange::Done(stream) = change(db, "b", "builds/*/*", false).await else { panic!("not done") };
    assert_eq!((stream.owner.as_str(), stream.filters.clone(), stream.version), ("a", vec!["steps/*/*".to_owned()], 2));
    assert_eq!(streams::changed(db.read(), "a").await.expect("reads"), [stream]);
    assert!(!streams::is_applied(db.read(), "s", 2).await.expect("reads"));
    db.write(|tx| async move { streams::applied(&tx, "s", "a", 2).await }).await.expect("writes");
    assert!(streams::is_applied(db.read(), "s", 2).await.expect("reads"));
    assert!(matches!(change(db, "b", "steps/*/*", true).await, FilterChange::Unchanged(_)));
    assert!(matches!(change(db, "b", "nosuch", false).await, FilterChange::Unchanged(_)));
    assert!(matches!(change(db, "b", "1", true).await, FilterChange::Done(_)));
    assert!(matches!(change(db, "b", "2", true).await, FilterChange::Done(_)));
    assert_eq!(change(db, "b", "3", true).await, FilterChange::TooMany);
    // It resumes elsewhere: what its old owner does to it has no effect.
    let taken = take(db, "b").await.expect("known");
    assert_eq!((taken.owner.as_str(), taken.filters.len()), ("b", 3));
    end(db, "a", i64::MAX, false).await;
    assert_eq!(streams::changed(db.read(), "b").await.expect("reads"), []);
    // It resumes where it was: the end of its old connection, noticed late, has no effect.
    let again = take(db, "b").await.expect("known");
    assert!(again.version > taken.version);
    end(db, "b", taken.version, true).await;
    assert!(matches!(change(db, "b", "1", true).await, FilterChange::Unchanged(_)), "it is served");
    end(db, "b", again.version, true).await;
    assert_eq!(change(db, "b", "4", true).await, FilterChange::Unknown, "nobody serves it");
    let last = take(db, "c").await.expect("known");
    end(db, "c", last.version, false).await;
    assert!(take(db, "c").await.is_none());
}

async fn concurrent_changes_are_all_kept(test: &TestDb) {
    let db = &test.db;
    begin(db).await;
    let add = |n: usize| async move {
        let filter = &format!("f/{n}");
        db.write(|tx| async move { streams::change(&tx, "s", "b", filter, true, 100).await }).await
    };
    let done = futures::future::join_all((0..10).map(add)).await;
    assert!(done.iter().all(|change| matches!(change, Ok(FilterChange::Done(_)))), "{done:?}");
    let stream = streams::changed(db.read(), "a").await.expect("reads").pop().expect("changed");
    assert_eq!((stream.filters.len(), stream.version), (11, 10));
}

async fn old_streams_are_forgotten(test: &TestDb) {
    let db = &test.db;
    begin(db).await;
    let tidy =
        |owner: &'static str, keep_for| db.write(move |tx| async move { streams::tidy(&tx, owner, keep_for).await });
    assert_eq!(tidy("b", Duration::from_secs(60)).await.expect("tidies"), 0);
    // Its owner is gone: nobody says that it is alive.
    assert_eq!(tidy("b", Duration::ZERO).await.expect("tidies"), 1);
}
