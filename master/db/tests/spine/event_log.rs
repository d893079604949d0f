//! The event log's generation: one of several wins. Published rows: kept, forgotten, put back by one master only.

use std::time::Duration;

use buildguild_db::test_support::TestDb;
use buildguild_db::{Owner, event_log, outbox};
use buildguild_types::event::Event;

use crate::support::register;

async fn of_several_new_generations_one_is_in_force(test: &TestDb) {
    let db = &test.db;
    assert_eq!(event_log::generation(db.read()).await.unwrap(), None);
    let replace = |old: Option<&'static str>, new: &'static str| {
        db.write(move |tx| async move { event_log::replace_generation(&tx, old, new).await })
    };
    let (a, b) = tokio::join!(replace(None, "a"), replace(None, "b"));
    let first = a.unwrap();
    assert_eq!(first, b.unwrap(), "both learn of one");
    assert_eq!(replace(Some("other"), "c").await.unwrap(), first, "only who knows the one in force replaces it");
    let first: &'static str = if first == "a" { "a" } else { "b" };
    let (d, e) = tokio::join!(replace(Some(first), "d"), replace(Some(first), "e"));
    let second = d.unwrap();
    assert_eq!(second, e.unwrap());
    assert!(second == "d" || second == "e", "{second}");
    assert_eq!(event_log::generation(db.read()).await.unwrap(), Some(second));
}

async fn rows(test: &TestDb, owner: Owner, count: usize) -> Vec<i64> {
    let event = &[Event::new(vec!["a/1/new".into()], &1).unwrap()];
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = test.db.write(|tx| async move { outbox::insert(&tx, owner, event).await }).await.unwrap();
        ids.extend(id);
    }
    ids
}

async fn published_rows_are_put_back_by_one_master(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await, register(db, "two").await);
    let ids = rows(test, one, 3).await;
    assert_eq!(outbox::backlog(db.read(), one).await.unwrap().0, 3);
    for (n, id) in ids.iter().enumerate() {
        let (id, at) = (&[*id], i64::try_from(n).unwrap());
        db.write(|tx| async move { event_log::keep_published(&tx, id, "a", 7, at).await }).await.unwrap();
    }
    assert_eq!(outbox::depth(db.read()).await.unwrap(), 0);
    assert!(event_log::published_before(db.read(), "a", 0, 10).await.unwrap().is_empty(), "it is the log in force");
    let newest = event_log::published_before(db.read(), "b", 0, 2).await.unwrap();
    assert_eq!(newest.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    assert_eq!((newest[0].major, newest[0].minor), (7, 2));

    let lost = &ids[1..];
    let again = |owner| db.write(move |tx| async move { event_log::publish_again(&tx, owner, lost).await });
    let (first, second) = tokio::join!(again(one), again(two));
    assert_eq!(first.unwrap() + second.unwrap(), 2, "nobody doubles them");
    assert_eq!(outbox::depth(db.read()).await.unwrap(), 2);
    assert_eq!(event_log::published_before(db.read(), "b", 0, 10).await.unwrap().len(), 1);
    let forget = |age| db.write(move |tx| async move { event_log::forget_published(&tx, age).await });
    assert_eq!(forget(Duration::from_secs(600)).await.unwrap(), 0, "it is young");
    forget(Duration::ZERO).await.unwrap();
    assert!(event_log::published_before(db.read(), "b", 0, 10).await.unwrap().is_empty());
}

buildguild_db::on_both_databases!(
    of_several_new_generations_one_is_in_force,
    published_rows_are_put_back_by_one_master,
);
