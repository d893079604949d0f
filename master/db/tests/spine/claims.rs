//! Fencing: what a master that was declared dead may still do is nothing.

use std::sync::Arc;
use std::time::Duration;

use buildguild_db::leases::Lease;
use buildguild_db::test_support::TestDb;
use buildguild_db::{Db, DbError, DbOptions, Owner, buildrequests, builds, claims, leases, schedulers};
use buildguild_types::ids::BuildRequestId;
use buildguild_types::results::Results;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{Farm, NOW, kill, register};

const SOON: Duration = Duration::from_secs(60);

/// Takes a request of a dead owner over, and puts it back into the queue.
async fn take_over(db: &Db, request: BuildRequestId, from: Owner) -> Result<bool, DbError> {
    db.write(|tx| async move {
        if !buildrequests::lock_orphan(&tx, request, from).await? {
            return Ok(false);
        }
        for build in builds::for_request(&tx, request).await?.into_iter().filter(|build| !build.complete) {
            builds::finish(&tx, build.buildid, Results::Retry, None, NOW).await?;
        }
        buildrequests::unclaim(&tx, &[request], from).await?;
        Ok(true)
    })
    .await
}

async fn the_writes_of_a_dead_master_are_refused(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await;
    let (db, owner, request) = (&farm.db, farm.owner, build.buildrequestid);
    assert!(!take_over(db, request, owner).await.unwrap(), "its owner is alive");

    kill(db, owner).await;
    // Declared dead, but nobody has released anything yet: its claims still let it end what it does.
    db.write(|tx| async move { claims::lock_build(&tx, build.buildid, owner).await }).await.unwrap();
    assert!(take_over(db, request, owner).await.unwrap());
    assert!(!take_over(db, request, owner).await.unwrap(), "once is enough");

    for result in [
        db.write(|tx| async move { claims::lock_build(&tx, build.buildid, owner).await.map(|_| ()) }).await,
        db.write(|tx| async move { claims::lock_request(&tx, request, owner).await }).await,
        db.write(|tx| async move {
            buildrequests::complete(&tx, &[request], Results::Success, owner, NOW).await.map(|_| ())
        })
        .await,
    ] {
        assert!(matches!(result, Err(DbError::ClaimLost)), "{result:?}");
    }
    let claim = db.write(|tx| async move { buildrequests::claim(&tx, &[request], owner, NOW).await }).await;
    assert!(matches!(claim, Err(DbError::EpochEnded)), "{claim:?}");
    let next = register(db, "one").await;
    db.write(|tx| async move { buildrequests::claim(&tx, &[request], next, NOW).await }).await.unwrap();
    let late = db.write(|tx| async move { claims::lock_build(&tx, build.buildid, next).await }).await;
    assert!(matches!(late, Err(DbError::ClaimLost)), "the old build has ended: {late:?}");
}

async fn a_claim_can_be_handed_to_a_living_master(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await;
    let (db, from) = (&farm.db, farm.owner);
    let to = register(db, "two").await;
    kill(db, from).await;
    db.write(|tx| async move {
        assert!(buildrequests::lock_orphan(&tx, build.buildrequestid, from).await?);
        buildrequests::adopt(&tx, build.buildrequestid, to).await
    })
    .await
    .unwrap();
    db.write(|tx| async move { claims::lock_build(&tx, build.buildid, to).await }).await.unwrap();
    let old = db.write(|tx| async move { claims::lock_build(&tx, build.buildid, from).await }).await;
    assert!(matches!(old, Err(DbError::ClaimLost)));
}

buildguild_db::on_both_databases!(the_writes_of_a_dead_master_are_refused, a_claim_can_be_handed_to_a_living_master,);

/// The paused process has begun its transaction, and read in it, before it was declared dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_transaction_that_has_not_locked_yet_does_not_commit_after_a_takeover() {
    let test = TestDb::postgres().await.unwrap();
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await;
    let owner = farm.owner;
    let (paused, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let writer = tokio::spawn({
        let (db, paused, go_on) = (farm.db.clone(), Arc::clone(&paused), Arc::clone(&go_on));
        async move {
            db.write(|tx| {
                let (paused, go_on) = (Arc::clone(&paused), Arc::clone(&go_on));
                async move {
                    builds::get(&tx, build.buildid).await?;
                    paused.notify_one();
                    go_on.notified().await;
                    claims::lock_build(&tx, build.buildid, owner).await?;
                    builds::finish(&tx, build.buildid, Results::Success, None, NOW).await
                }
            })
            .await
        }
    });
    paused.notified().await;
    kill(&farm.db, owner).await;
    assert!(timeout(SOON, take_over(&farm.db, build.buildrequestid, owner)).await.unwrap().unwrap());
    go_on.notify_one();
    let written = timeout(SOON, writer).await.unwrap().unwrap();
    assert!(matches!(written, Err(DbError::ClaimLost)), "{written:?}");
    let build = builds::get(farm.db.read(), build.buildid).await.unwrap().unwrap();
    assert_eq!(build.results, Some(Results::Retry));
}

/// The paused process holds the lock: the takeover waits, and sees what was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_a_transaction_that_holds_the_claim() {
    let test = TestDb::postgres().await.unwrap();
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await;
    let owner = farm.owner;
    let (paused, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let writer = tokio::spawn({
        let (db, paused, go_on) = (farm.db.clone(), Arc::clone(&paused), Arc::clone(&go_on));
        async move {
            db.write(|tx| {
                let (paused, go_on) = (Arc::clone(&paused), Arc::clone(&go_on));
                async move {
                    claims::lock_build(&tx, build.buildid, owner).await?;
                    paused.notify_one();
                    go_on.notified().await;
                    builds::finish(&tx, build.buildid, Results::Success, None, NOW).await?;
                    buildrequests::complete(&tx, &[build.buildrequestid], Results::Success, owner, NOW).await
                }
            })
            .await
        }
    });
    paused.notified().await;
    kill(&farm.db, owner).await;
    let mut takeover = tokio::spawn({
        let db = farm.db.clone();
        async move { take_over(&db, build.buildrequestid, owner).await }
    });
    assert!(timeout(Duration::from_millis(300), &mut takeover).await.is_err(), "the claim is locked");
    go_on.notify_one();
    timeout(SOON, writer).await.unwrap().unwrap().unwrap();
    assert!(!timeout(SOON, takeover).await.unwrap().unwrap().unwrap(), "the request was completed just before");
    let build = builds::get(farm.db.read(), build.buildid).await.unwrap().unwrap();
    assert_eq!(build.results, Some(Results::Success), "the first result stays");
}

/// A dead scheduler's last transaction is still under way: whoever takes over its lease waits, and then reads what it wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_not_taken_over_while_its_dead_owner_commits_under_it() {
    let test = TestDb::postgres().await.unwrap();
    let farm = Farm::new(&test.db).await;
    let owner = farm.owner;
    let scheduler = farm.db.write(|tx| async move { schedulers::find_id(&tx, "s").await }).await.unwrap();
    let lease = Lease::Scheduler(scheduler);
    let other = register(&farm.db, "other").await;
    assert!(farm.db.write(|tx| async move { leases::acquire(&tx, lease, owner).await }).await.unwrap());
    assert!(!farm.db.write(|tx| async move { leases::acquire(&tx, lease, other).await }).await.unwrap(), "it is held");
    let (paused, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let writer = tokio::spawn({
        let (db, paused, go_on) = (farm.db.clone(), Arc::clone(&paused), Arc::clone(&go_on));
        async move {
            db.write(|tx| {
                let (paused, go_on) = (Arc::clone(&paused), Arc::clone(&go_on));
                async move {
                    claims::lock_scheduler(&tx, scheduler, owner).await?;
                    paused.notify_one();
                    go_on.notified().await;
                    Ok(())
                }
            })
            .await
        }
    });
    paused.notified().await;
    kill(&farm.db, owner).await;
    let mut takeover = tokio::spawn({
        let db = farm.db.clone();
        async move { db.write(|tx| async move { leases::acquire(&tx, lease, other).await }).await }
    });
    assert!(timeout(Duration::from_millis(300), &mut takeover).await.is_err(), "the lease is locked");
    go_on.notify_one();
    timeout(SOON, writer).await.unwrap().unwrap().unwrap();
    assert!(timeout(SOON, takeover).await.unwrap().unwrap().unwrap(), "it is free now");
}

/// The paused process never goes on (SIGSTOP): the database ends its session, and with it the lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_paused_with_a_lock_does_not_block_the_takeover_for_ever() {
    let test = TestDb::postgres().await.unwrap();
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await;
    let owner = farm.owner;
    let mut options = DbOptions::new(test.url());
    // Long enough for a busy machine to come from one statement to the next.
    options.idle_in_transaction_timeout = Duration::from_secs(5);
    options.retry_for = Duration::ZERO;
    let stopped = Db::connect(&options).await.unwrap();
    let (paused, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let writer = tokio::spawn({
        let (paused, go_on) = (Arc::clone(&paused), Arc::clone(&go_on));
        async move {
            stopped
                .write(|tx| {
                    let (paused, go_on) = (Arc::clone(&paused), Arc::clone(&go_on));
                    async move {
                        claims::lock_build(&tx, build.buildid, owner).await?;
                        paused.notify_one();
                        go_on.notified().await;
                        builds::finish(&tx, build.buildid, Results::Success, None, NOW).await
                    }
                })
                .await
        }
    });
    paused.notified().await;
    kill(&farm.db, owner).await;
    assert!(timeout(SOON, take_over(&farm.db, build.buildrequestid, owner)).await.unwrap().unwrap());
    go_on.notify_one();
    let written = timeout(SOON, writer).await.unwrap().unwrap();
    assert!(matches!(written, Err(DbError::Unavailable(_))), "{written:?}");
    let build = builds::get(farm.db.read(), build.buildid).await.unwrap().unwrap();
    assert_eq!(build.results, Some(Results::Retry));
}
