//! A master dies; another one releases what it held.

use std::collections::BTreeMap;

use buildguild_data::housekeeping::release;
use buildguild_db::leases::{self, Lease};
use buildguild_db::logs::{Compression, Prepared};
use buildguild_db::outbox;
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, buildrequests, builds, logs, masters, steps, workers};
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;

use crate::support::Master;

async fn kill(test: &TestDb, master: &Master) {
    let owner = master.owner;
    test.db.write(|tx| async move { masters::deactivate(&tx, owner, None).await }).await.unwrap().unwrap();
}

async fn what_a_dead_master_held_is_released(test: &TestDb) {
    let dead = Master::new(&test.db, "one").await;
    let (request, build, step) = dead.running_build().await;
    let (worker, owner) = (dead.worker, dead.owner);
    let lines = &Prepared::new("oline\n", true, Compression::Zstd);
    let log = dead
        .data
        .update(|u| async move {
            let log = u.add_log(step, "stdio", "stdio", LogKind::Stream).await?.logid;
            u.append_log(step, log, lines, None).await?;
            u.worker_connected(worker, "s1", None, &BTreeMap::new()).await?;
            leases::acquire(u.tx(), Lease::Named("x"), owner).await?;
            Ok(log)
        })
        .await
        .unwrap();
    let mut heir = Master::new(&test.db, "two").await;
    assert!(release(&heir.data).await.unwrap().is_empty(), "the first master is alive");
    kill(test, &dead).await;

    // Several masters, several times: the same as once.
    let (first, second) = tokio::join!(release(&heir.data), release(&heir.data));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.requests + second.requests, 1);
    assert_eq!(first.workers + second.workers, 1);
    assert!(release(&heir.data).await.unwrap().is_empty());

    let keys = heir.keys_until("buildsets/1/builders/1/buildrequests/1/unclaimed").await;
    let expected = [
        "logs/1/finished",
        "builds/1/steps/1/finished",
        "builders/1/builds/1/finished",
        "buildsets/1/builders/1/buildrequests/1/unclaimed",
    ];
    assert!(keys.ends_with(&expected.map(str::to_owned)), "{keys:?}");
    let db = test.db.read();
    assert_eq!(builds::get(db, build).await.unwrap().unwrap().results, Some(Results::Retry));
    assert_eq!(steps::get(db, step).await.unwrap().unwrap().results, Some(Results::Retry));
    assert!(logs::get(db, log).await.unwrap().unwrap().complete);
    let free = buildrequests::get(db, request).await.unwrap().unwrap();
    assert!(!free.claimed && !free.complete);
    assert!(workers::session(db, worker).await.unwrap().is_none());
    assert!(leases::holder(db, Lease::Named("x")).await.unwrap().is_none());

    // The dead one comes back: it may write nothing.
    for result in [
        dead.data.update(|u| async move { u.set_build_state_string(build, "zombie").await }).await,
        dead.data.update(|u| async move { u.append_log(step, log, lines, None).await.map(|_| ()) }).await,
        dead.data.update(|u| async move { u.claim_build_requests(&[request]).await.map(|_| ()) }).await,
    ] {
        assert!(result.as_ref().is_err_and(DbError::is_fenced), "{result:?}");
    }
    assert_eq!(buildrequests::claimable(db, heir.builder, 10).await.unwrap().len(), 1);
}

async fn a_build_that_somebody_wanted_stopped_is_not_done_again(test: &TestDb) {
    let dead = Master::new(&test.db, "one").await;
    let (request, build, _) = dead.running_build().await;
    dead.data.update(|u| async move { u.stop_build(build, Some("enough")).await }).await.unwrap();
    let heir = Master::new(&test.db, "two").await;
    kill(test, &dead).await;
    release(&heir.data).await.unwrap();
    let request = buildrequests::get(test.db.read(), request).await.unwrap().unwrap();
    assert_eq!((request.complete, request.results), (true, Some(Results::Cancelled)));
}

async fn the_events_of_a_dead_master_come_before_its_builds_end(test: &TestDb) {
    let dead = Master::new(&test.db, "one").await;
    let (_, build, _) = dead.running_build().await;
    // The publisher is gone before it published this.
    dead.data.db().write(|_| async { Ok(()) }).await.unwrap();
    let owner = dead.owner;
    let body = builds::get(test.db.read(), build).await.unwrap().unwrap();
    let unpublished = &[buildguild_data::events::build(&body, "update").unwrap()];
    test.db.write(|tx| async move { outbox::insert(&tx, owner, unpublished).await }).await.unwrap();
    let mut heir = Master::new(&test.db, "two").await;
    kill(test, &dead).await;
    release(&heir.data).await.unwrap();
    let keys = heir.keys_until("builders/1/builds/1/finished").await;
    assert!(keys.contains(&"builders/1/builds/1/update".to_owned()), "{keys:?}");
    assert!(outbox::orphans(test.db.read()).await.unwrap().is_empty());
}

buildguild_db::on_both_databases!(
    what_a_dead_master_held_is_released,
    a_build_that_somebody_wanted_stopped_is_not_done_again,
    the_events_of_a_dead_master_come_before_its_builds_end,
);
