//! Masters: epochs, check-ins, declaring dead.

use buildguild_db::masters::Report;
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, claims, masters, outbox};
use buildguild_types::event::{Event, EventKey};

use crate::support::{kill, pulse, register};

async fn each_process_has_its_own_epoch(test: &TestDb) {
    let db = &test.db;
    let first = register(db, "one").await;
    let second = db.write(|tx| async move { masters::register(&tx, first.master_id, "other", None).await }).await;
    assert!(matches!(second, Err(DbError::AlreadyClaimed)), "the first one is active: {second:?}");

    db.write(|tx| async move { masters::report(&tx, first, &Report::default()).await }).await.unwrap();
    kill(db, first).await;
    let late = db.write(|tx| async move { masters::report(&tx, first, &Report::default()).await }).await;
    assert!(matches!(late, Err(DbError::EpochEnded)));

    let second = register(db, "one").await;
    assert_eq!(second.master_id, first.master_id);
    assert!(second.epoch > first.epoch);
    let locked = db.write(|tx| async move { claims::lock_master(&tx, first).await }).await;
    assert!(matches!(locked, Err(DbError::EpochEnded)));
    db.write(|tx| async move { claims::lock_master(&tx, second).await }).await.unwrap();
}

async fn a_master_that_checked_in_since_it_was_seen_is_not_declared_dead(test: &TestDb) {
    let db = &test.db;
    let owner = register(db, "one").await;
    let seen = &pulse(db, owner).await;
    db.write(|tx| async move { masters::report(&tx, owner, &Report::default()).await }).await.unwrap();
    let dead = db.write(|tx| async move { masters::deactivate(&tx, owner, Some(seen)).await }).await.unwrap();
    assert!(dead.is_none());
    let seen = &pulse(db, owner).await;
    let dead = db.write(|tx| async move { masters::deactivate(&tx, owner, Some(seen)).await }).await.unwrap();
    assert!(!dead.unwrap().active);
}

async fn masters_are_found_by_name_and_listed(test: &TestDb) {
    let db = &test.db;
    let id = db.write(|tx| async move { masters::find_id(&tx, "host:/srv").await }).await.unwrap();
    let again = db.write(|tx| async move { masters::find_id(&tx, "host:/srv").await }).await.unwrap();
    assert_eq!(id, again);
    let master = masters::get(db.read(), id).await.unwrap().unwrap();
    assert_eq!((master.name.as_str(), master.active), ("host:/srv", false));
    assert!(db.write(|tx| async move { masters::set_state(&tx, id, true).await }).await.unwrap());
    assert!(!db.write(|tx| async move { masters::set_state(&tx, id, true).await }).await.unwrap());
    let master = masters::get(db.read(), id).await.unwrap().unwrap();
    assert!(master.active && master.last_active.secs() > 1_600_000_000, "{master:?}");
    db.write(|tx| async move { masters::set_all_active_long_ago(&tx).await }).await.unwrap();
    assert_eq!(masters::list(db.read()).await.unwrap()[0].last_active.secs(), 0);
    assert!(masters::get(db.read(), 999.into()).await.unwrap().is_none());
}

async fn a_master_tells_of_itself(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await, register(db, "two").await);
    let tell = async |owner, config: &str| {
        let report =
            Report { config_hash: Some(config.to_owned()), version: Some("1".to_owned()), ..Report::default() };
        db.write(|tx| {
            let report = report.clone();
            async move { masters::report(&tx, owner, &report).await }
        })
        .await
    };
    let before = pulse(db, one).await;
    tell(one, "a").await.unwrap();
    assert_eq!(pulse(db, one).await.checkins, before.checkins + 1, "telling is checking in");
    tell(two, "a").await.unwrap();
    assert_eq!(masters::configs_in_force(db.read()).await.unwrap(), ["a"]);
    tell(two, "b").await.unwrap();
    assert_eq!(masters::configs_in_force(db.read()).await.unwrap(), ["a", "b"]);

    kill(db, one).await;
    assert_eq!(masters::configs_in_force(db.read()).await.unwrap(), ["b"], "only active ones count");
    assert!(matches!(tell(one, "a").await, Err(DbError::EpochEnded)));
}

async fn the_backlog_of_a_master_is_its_own(test: &TestDb) {
    let db = &test.db;
    let (one, two) = (register(db, "one").await, register(db, "two").await);
    assert_eq!(outbox::backlog(db.read(), one).await.unwrap(), (0, None));
    for _ in 0..3 {
        db.write(|tx| async move {
            let event = Event::new(vec![EventKey::new(["a", "b"])], &1).unwrap();
            outbox::insert(&tx, one, &[event]).await
        })
        .await
        .unwrap();
    }
    let (depth, since) = outbox::backlog(db.read(), one).await.unwrap();
    assert_eq!(depth, 3);
    assert!(since.is_some_and(|since| since.secs() > 1_600_000_000), "the id of an event tells its time: {since:?}");
    assert_eq!(outbox::backlog(db.read(), two).await.unwrap(), (0, None));
}

buildguild_db::on_both_databases!(
    a_master_tells_of_itself,
    the_backlog_of_a_master_is_its_own,
    each_process_has_its_own_epoch,
    a_master_that_checked_in_since_it_was_seen_is_not_declared_dead,
    masters_are_found_by_name_and_listed,
);
