//! Masters: epochs, check-ins, declaring dead.

use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, claims, masters};

use crate::support::{kill, pulse, register};

async fn each_process_has_its_own_epoch(test: &TestDb) {
    let db = &test.db;
    let first = register(db, "one").await;
    let second = db.write(|tx| async move { masters::register(&tx, first.master_id, "other", None).await }).await;
    assert!(matches!(second, Err(DbError::AlreadyClaimed)), "the first one is active: {second:?}");

    db.write(|tx| async move { masters::check_in(&tx, first).await }).await.unwrap();
    kill(db, first).await;
    let late = db.write(|tx| async move { masters::check_in(&tx, first).await }).await;
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
    db.write(|tx| async move { masters::check_in(&tx, owner).await }).await.unwrap();
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

buildguild_db::on_both_databases!(
    each_process_has_its_own_epoch,
    a_master_that_checked_in_since_it_was_seen_is_not_declared_dead,
    masters_are_found_by_name_and_listed,
);
