//! Buildsets, requests, and the race for them.

use std::collections::HashSet;

use buildguild_db::buildsets::{self, NewBuildset, StampRef};
use buildguild_db::sourcestamps::{NewPatch, NewSourceStamp};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, buildrequests, properties, sourcestamps};
use buildguild_types::ids::BuildRequestId;
use buildguild_types::properties::Properties;
use buildguild_types::results::Results;

use crate::support::{Farm, NOW, register};

async fn a_buildset_has_its_stamps_properties_and_requests(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let mut set = Properties::new();
    set.set("scheduler", "force", "Scheduler");
    set.set("text", "it's \"quoted\" \u{e9}\n", "Force Build Form");
    let stamp = NewSourceStamp {
        branch: Some("main".to_owned()),
        repository: "file:///r".to_owned(),
        patch: Some(NewPatch { body: "--- a\n+++ b\n".to_owned(), level: 1, ..NewPatch::default() }),
        ..NewSourceStamp::default()
    };
    let new = &NewBuildset {
        sourcestamps: vec![StampRef::New(stamp.clone()), StampRef::New(NewSourceStamp::default())],
        reason: "because".to_owned(),
        properties: set.clone(),
        builders: vec![farm.builder],
        priority: 7,
        ..NewBuildset::default()
    };
    let (buildset, requests) = farm.db.write(|tx| async move { buildsets::add(&tx, new, NOW).await }).await.unwrap();
    assert_eq!(buildset.sourcestamps.len(), 2);
    let patch = buildset.sourcestamps[0].patch.as_ref().unwrap();
    assert_eq!(patch.body.as_deref(), Some("--- a\n+++ b\n"));
    assert_eq!(buildsets::get(farm.db.read(), buildset.bsid).await.unwrap().unwrap(), buildset);
    assert_eq!(properties::of_buildset(farm.db.read(), buildset.bsid).await.unwrap(), set);
    assert_eq!((requests.len(), requests[0].priority, requests[0].complete), (1, 7, false));
    assert_eq!(buildrequests::for_buildset(farm.db.read(), buildset.bsid).await.unwrap(), requests);
    // Equal source stamps share one id.
    let stamp = &stamp;
    let again = farm.db.write(|tx| async move { sourcestamps::find_or_create(&tx, stamp, NOW).await }).await.unwrap();
    assert_eq!(again, buildset.sourcestamps[0].ssid);
    assert_eq!(buildsets::recent(farm.db.read(), 10, Some("main"), None, Some(false)).await.unwrap(), [buildset]);
    assert!(buildsets::recent(farm.db.read(), 10, Some("other"), None, None).await.unwrap().is_empty());
}

async fn a_buildset_without_builders_is_complete(test: &TestDb) {
    let new = &NewBuildset::default();
    let (buildset, requests) = test.db.write(|tx| async move { buildsets::add(&tx, new, NOW).await }).await.unwrap();
    assert!(requests.is_empty() && buildset.complete);
    assert_eq!(buildset.results, Some(Results::Success));
}

async fn claims_are_all_or_nothing(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let (db, owner) = (&farm.db, farm.owner);
    let ids: Vec<BuildRequestId> = farm.requests(3).await.iter().map(|request| request.buildrequestid).collect();
    let (ids, other) = (&ids, register(db, "two").await);
    let claimed = db.write(|tx| async move { buildrequests::claim(&tx, &ids[..1], other, NOW).await }).await.unwrap();
    assert!(claimed[0].claimed && claimed[0].claimed_by_masterid == Some(other.master_id));
    let all = db.write(|tx| async move { buildrequests::claim(&tx, ids, owner, NOW).await }).await;
    assert!(matches!(all, Err(DbError::AlreadyClaimed)));
    assert_eq!(buildrequests::claimable(db.read(), farm.builder, 10).await.unwrap().len(), 2);
    let some = db.write(|tx| async move { buildrequests::claim_some(&tx, ids, owner, NOW).await }).await.unwrap();
    assert_eq!(some.iter().map(|request| request.buildrequestid).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(buildrequests::claimed_by(db.read(), owner).await.unwrap(), some);

    // Only the owner's are put back.
    let freed = db.write(|tx| async move { buildrequests::unclaim(&tx, ids, owner).await }).await.unwrap();
    assert_eq!(freed.len(), 2);
    assert!(freed.iter().all(|request| !request.claimed && request.claimed_at.is_none()));
    let wrong =
        db.write(|tx| async move { buildrequests::complete(&tx, ids, Results::Success, other, NOW).await }).await;
    assert!(matches!(wrong, Err(DbError::ClaimLost)));
}

async fn of_many_that_claim_at_once_each_request_has_one_winner(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let ids: Vec<BuildRequestId> = farm.requests(40).await.iter().map(|request| request.buildrequestid).collect();
    let mut tasks = Vec::new();
    for number in 0..6 {
        let owner = register(&farm.db, &format!("master-{number}")).await;
        let (db, mut ids) = (farm.db.clone(), ids.clone());
        if number % 2 == 0 {
            ids.reverse();
        }
        tasks.push(tokio::spawn(async move {
            let mut won = Vec::new();
            for batch in ids.chunks(10) {
                let claimed =
                    db.write(|tx| async move { buildrequests::claim_some(&tx, batch, owner, NOW).await }).await;
                won.extend(claimed.unwrap().iter().map(|request| request.buildrequestid));
            }
            won
        }));
    }
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap());
    }
    assert_eq!(won.len(), ids.len());
    assert_eq!(won.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
}

async fn the_queue_is_ordered_by_priority_and_then_age(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let ids: Vec<BuildRequestId> = farm.requests(4).await.iter().map(|request| request.buildrequestid).collect();
    let urgent = &[ids[2]];
    farm.db.write(|tx| async move { buildrequests::set_priority(&tx, urgent, 5).await }).await.unwrap();
    let order = |requests: Vec<buildguild_types::resources::BuildRequest>| {
        requests.into_iter().map(|request| request.buildrequestid).collect::<Vec<_>>()
    };
    let head = buildrequests::claimable(farm.db.read(), farm.builder, 3).await.unwrap();
    assert_eq!(order(head), [ids[2], ids[0], ids[1]]);
    let waiting = buildrequests::builders_waiting(farm.db.read(), &[farm.builder, 77.into()]).await.unwrap();
    assert_eq!(waiting, [farm.builder]);
}

async fn the_last_request_completes_the_buildset_with_the_worst_result(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let (db, owner) = (&farm.db, farm.owner);
    let requests = farm.requests(3).await;
    let ids: &Vec<BuildRequestId> = &requests.iter().map(|request| request.buildrequestid).collect();
    db.write(|tx| async move { buildrequests::claim(&tx, &ids[..2], owner, NOW).await }).await.unwrap();
    let complete = |index: usize, results| {
        db.write(move |tx| async move { buildrequests::complete(&tx, &ids[index..=index], results, owner, NOW).await })
    };
    assert!(complete(0, Results::Failure).await.unwrap().buildsets.is_empty());
    assert!(matches!(complete(0, Results::Success).await, Err(DbError::AlreadyComplete)));
    assert!(complete(1, Results::Success).await.unwrap().buildsets.is_empty());
    // The third was never claimed; the first, which is complete, is left alone.
    let last = db
        .write(|tx| async move { buildrequests::complete_queued(&tx, ids, Results::Skipped, owner, NOW).await })
        .await
        .unwrap();
    assert_eq!(last.requests.len(), 1);
    assert_eq!(last.buildsets[0].results, Some(Results::Failure));
    assert!(last.buildsets[0].complete);
}

async fn masters_that_complete_the_last_requests_together_complete_the_buildset_once(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let owner = farm.owner;
    let ids: Vec<BuildRequestId> = farm.requests(12).await.iter().map(|request| request.buildrequestid).collect();
    let all = &ids;
    farm.db.write(|tx| async move { buildrequests::claim(&tx, all, owner, NOW).await }).await.unwrap();
    let tasks: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let db = farm.db.clone();
            tokio::spawn(async move {
                db.write(|tx| async move { buildrequests::complete(&tx, &[id], Results::Success, owner, NOW).await })
                    .await
                    .unwrap()
                    .buildsets
                    .len()
            })
        })
        .collect();
    let mut completed = 0;
    for task in tasks {
        completed += task.await.unwrap();
    }
    assert_eq!(completed, 1);
}

buildguild_db::on_both_databases!(
    a_buildset_has_its_stamps_properties_and_requests,
    a_buildset_without_builders_is_complete,
    claims_are_all_or_nothing,
    of_many_that_claim_at_once_each_request_has_one_winner,
    the_queue_is_ordered_by_priority_and_then_age,
    the_last_request_completes_the_buildset_with_the_worst_result,
    masters_that_complete_the_last_requests_together_complete_the_buildset_once,
);
