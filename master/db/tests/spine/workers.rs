//! Workers: following the configuration, and their sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use buildguild_db::builders::{self, BuilderInfo};
use buildguild_db::leases::{self, Lease};
use buildguild_db::test_support::TestDb;
use buildguild_db::workers::{self, Connected, Session};
use buildguild_db::{DbError, Owner, outbox};
use buildguild_types::event::{Event, EventKey};
use buildguild_types::ids::WorkerId;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{NOW, kill, register};

const SOON: Duration = Duration::from_secs(60);

fn info(name: &str, tags: &[&str]) -> BuilderInfo {
    BuilderInfo {
        name: name.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..BuilderInfo::default()
    }
}

async fn the_database_follows_the_configuration(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await.master_id, register(db, "two").await.master_id);
    let first = &[info("a", &["x", "y"]), info("b", &[])];
    let synced = db.write(|tx| async move { builders::sync(&tx, one, first).await }).await.unwrap();
    assert_eq!((synced.started.len(), synced.stopped.len()), (2, 0));
    let (a, b) = (synced.ids["a"], synced.ids["b"]);
    db.write(|tx| async move { builders::sync(&tx, two, first).await }).await.unwrap();
    let again = db.write(|tx| async move { builders::sync(&tx, one, first).await }).await.unwrap();
    assert!(again.started.is_empty() && again.stopped.is_empty());

    let workers_list = &[("w1".to_owned(), vec![a, b]), ("w2".to_owned(), vec![a])];
    let ids = db.write(|tx| async move { workers::sync(&tx, one, workers_list).await }).await.unwrap();
    let worker = workers::get(db.read(), ids["w1"]).await.unwrap().unwrap();
    assert_eq!(worker.configured_on.len(), 2);
    assert_eq!(workers::list(db.read(), None, Some(b)).await.unwrap().len(), 1);
    assert_eq!(workers::list(db.read(), Some(two), None).await.unwrap().len(), 0);

    let second = &[BuilderInfo { description: Some("c".to_owned()), ..info("a", &["y", "z"]) }];
    let synced = db.write(|tx| async move { builders::sync(&tx, one, second).await }).await.unwrap();
    assert_eq!(synced.stopped, [b]);
    let builder = builders::get(db.read(), a).await.unwrap().unwrap();
    assert_eq!(builder.tags, ["y", "z"]);
    assert_eq!((builder.description.as_deref(), builder.masterids), (Some("c"), vec![one, two]));
    assert_eq!(builders::list(db.read(), Some(one), None, None).await.unwrap().len(), 1);
    assert_eq!(builders::list(db.read(), None, None, Some(ids["w2"])).await.unwrap().len(), 1);
    assert!(matches!(
        db.write(|tx| async move { builders::find_id(&tx, "none", false).await }).await,
        Err(DbError::NotFound(_))
    ));
    let long = "w".repeat(51);
    let long = long.as_str();
    assert!(matches!(db.write(|tx| async move { workers::find_id(&tx, long).await }).await, Err(DbError::Invalid(_))));
}

async fn connect(test: &TestDb, worker: WorkerId, owner: Owner, session: &str, replacing: Option<&str>) -> Connected {
    let session = &Session { worker, owner, session: session.to_owned() };
    let info = &BTreeMap::from([("admin".to_owned(), serde_json::json!("me"))]);
    test.db.write(|tx| async move { workers::connected(&tx, session, replacing, info, NOW).await }).await.unwrap()
}

async fn a_worker_has_one_session(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await, register(db, "two").await);
    let worker = db.write(|tx| async move { workers::find_id(&tx, "w1").await }).await.unwrap();
    assert_eq!(connect(test, worker, one, "s1", None).await, Connected::Yes);
    let held = Session { worker, owner: one, session: "s1".to_owned() };
    assert_eq!(connect(test, worker, two, "s2", None).await, Connected::HeldBy(held.clone()));
    assert_eq!(connect(test, worker, two, "s2", Some("s1")).await, Connected::Yes);
    let gone = &held;
    assert!(!db.write(|tx| async move { workers::disconnected(&tx, gone).await }).await.unwrap());
    let resource = workers::get(db.read(), worker).await.unwrap().unwrap();
    assert_eq!(resource.connected_to[0].masterid, two.master_id);
    assert_eq!(resource.workerinfo["admin"], "me");

    // The session of a dead master is nobody's.
    kill(db, two).await;
    assert_eq!(db.write(|tx| async move { workers::disconnect_orphans(&tx).await }).await.unwrap(), [worker]);
    assert_eq!(connect(test, worker, one, "s3", None).await, Connected::Yes);
    assert!(db.write(|tx| async move { workers::set_paused(&tx, worker, true, Some("why")).await }).await.unwrap());
    assert!(!db.write(|tx| async move { workers::set_paused(&tx, worker, true, Some("why")).await }).await.unwrap());
    assert!(db.write(|tx| async move { workers::set_graceful(&tx, worker, true).await }).await.unwrap());
}

async fn a_lease_has_one_living_holder(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await, register(db, "two").await);
    let lease = Lease::Named("forwarder");
    let acquire = |owner| db.write(move |tx| async move { leases::acquire(&tx, lease, owner).await });
    assert!(acquire(one).await.unwrap());
    assert!(acquire(one).await.unwrap(), "it stays its own");
    assert!(!acquire(two).await.unwrap());
    kill(db, one).await;
    assert!(acquire(two).await.unwrap());
    assert!(matches!(acquire(one).await, Err(DbError::EpochEnded)));
    assert_eq!(leases::holder(db.read(), lease).await.unwrap(), Some(two));
    db.write(|tx| async move { leases::release(&tx, lease, two).await }).await.unwrap();
    assert_eq!(leases::holder(db.read(), lease).await.unwrap(), None);
}

async fn the_outbox_keeps_its_order_and_is_handed_on(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await, register(db, "two").await);
    for number in 0..3 {
        let event = &[Event::new(vec![EventKey::new(["n", &number.to_string()])], &number).unwrap()];
        db.write(|tx| async move { outbox::insert(&tx, one, event).await }).await.unwrap();
    }
    let rows = outbox::take_batch(db.read(), one, 2).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.events[0].body.get()).collect::<Vec<_>>(), ["0", "1"]);
    let ids = &[rows[0].id];
    db.write(|tx| async move { outbox::delete(&tx, ids).await }).await.unwrap();
    assert!(outbox::orphans(db.read()).await.unwrap().is_empty());
    kill(db, one).await;
    assert_eq!(outbox::orphans(db.read()).await.unwrap(), [one]);
    assert_eq!(db.write(|tx| async move { outbox::take_over(&tx, one, two).await }).await.unwrap(), 2);
    let rows = outbox::take_batch(db.read(), two, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.events[0].body.get()).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(outbox::depth(db.read()).await.unwrap(), 2);
}

buildguild_db::on_both_databases!(
    the_database_follows_the_configuration,
    a_worker_has_one_session,
    a_lease_has_one_living_holder,
    the_outbox_keeps_its_order_and_is_handed_on,
);

/// Two masters find a dead one at the same moment: the one housekeeps, to the other the worker has just come.
#[tokio::test]
async fn a_session_that_begins_while_dead_ones_are_ended_stays() {
    let test = TestDb::postgres().await.unwrap();
    let (dead, alive) = (register(&test.db, "dead").await, register(&test.db, "alive").await);
    let worker = test.db.write(|tx| async move { workers::find_id(&tx, "w").await }).await.unwrap();
    assert!(matches!(connect(&test, worker, dead, "old", None).await, Connected::Yes));
    kill(&test.db, dead).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let newcomer = tokio::spawn({
        let (db, begun, go_on) = (test.db.clone(), Arc::clone(&begun), Arc::clone(&go_on));
        async move {
            db.write(|tx| {
                let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
                async move {
                    let session = Session { worker, owner: alive, session: "new".to_owned() };
                    workers::connected(&tx, &session, None, &BTreeMap::new(), NOW).await?;
                    begun.notify_one();
                    go_on.notified().await;
                    Ok(())
                }
            })
            .await
        }
    });
    begun.notified().await;
    let db = test.db.clone();
    let mut housekeeping =
        tokio::spawn(async move { db.write(|tx| async move { workers::disconnect_orphans(&tx).await }).await });
    // It has found the old session, and waits for whoever writes to its row.
    assert!(timeout(Duration::from_millis(300), &mut housekeeping).await.is_err(), "the row is locked");
    go_on.notify_one();
    timeout(SOON, newcomer).await.unwrap().unwrap().unwrap();
    assert_eq!(timeout(SOON, housekeeping).await.unwrap().unwrap().unwrap(), [], "nothing is left to end");
    let held = test.db.write(|tx| async move { workers::session(&tx, worker).await }).await.unwrap().unwrap();
    assert_eq!(held.session, "new");
}
