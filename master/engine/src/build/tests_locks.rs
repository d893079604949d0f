//! Locks of the whole cluster: two masters, one queue.

use buildguild_data::StartBuild;
use buildguild_db::{
    buildsets::{NewBuildset, StampRef},
    locks::Wanted,
    sourcestamps::NewSourceStamp,
    test_support::TestDb,
};
use buildguild_types::{ids::BuildId, results::Results};

use crate::testing::{TestMaster, farm};

/// A running build of a master.
async fn build(master: &TestMaster) -> BuildId {
    let builder = master.parts.builders()["b"];
    let new = NewBuildset {
        sourcestamps: vec![StampRef::New(NewSourceStamp::default())],
        builders: vec![builder],
        ..NewBuildset::default()
    };
    let (_, requests) = master.store.add_buildset(&new).await.expect("it is submitted");
    let request = requests[0].buildrequestid;
    master.store.claim(&[request]).await.expect("it is claimed");
    let worker = master.store.worker_id("w").await.expect("reads").expect("it is configured");
    let added = master.store.update(|u| async move {
        Ok(u.add_build(&StartBuild { builder, request, worker, state_string: "building" }).await?.buildid)
    });
    added.await.expect("it starts")
}

fn counting(places: i64) -> Wanted {
    Wanted { key: "cluster/l".to_owned(), exclusive: false, places, capacity: 2 }
}

fn exclusive() -> Wanted {
    Wanted { exclusive: true, ..counting(1) }
}

async fn take(master: &TestMaster, build: BuildId, wanted: &Wanted) -> bool {
    let wanted = std::slice::from_ref(wanted);
    master.store.update(|u| async move { u.take_locks(build, None, wanted).await }).await.expect("it is asked")
}

async fn end(master: &TestMaster, build: BuildId) {
    let ended = master.store.update(|u| async move {
        u.release_build_locks(build).await?;
        u.finish_build(build, Results::Success, None).await
    });
    ended.await.expect("it ends");
}

async fn places_are_counted_and_queues_are_fair_across_masters(test: &TestDb) {
    let config = farm(&["b"], &[("w", None)]);
    let a = TestMaster::start(test, "a", config.clone()).await;
    let b = TestMaster::start(test, "b", config).await;
    let (first, second, third) = (build(&a).await, build(&b).await, build(&a).await);
    assert!(take(&a, first, &counting(1)).await);
    assert!(take(&b, second, &counting(1)).await);
    assert!(take(&b, second, &counting(1)).await, "asking again changes nothing");
    assert!(!take(&a, third, &counting(1)).await, "both places are taken");
    end(&a, first).await;
    assert!(take(&a, third, &counting(1)).await);
    // An exclusive waiter holds up those that come after it, so that it does not wait for ever.
    let (alone, late) = (build(&b).await, build(&a).await);
    assert!(!take(&b, alone, &exclusive()).await);
    end(&b, second).await;
    assert!(!take(&a, late, &counting(1)).await);
    assert!(!take(&b, alone, &exclusive()).await);
    end(&a, third).await;
    assert!(take(&b, alone, &exclusive()).await);
    assert!(!take(&a, late, &counting(1)).await);
    end(&b, alone).await;
    assert!(take(&a, late, &counting(1)).await);
}

async fn what_a_dead_master_held_is_free(test: &TestDb) {
    let config = farm(&["b"], &[("w", None)]);
    let a = TestMaster::start(test, "a", config.clone()).await;
    let b = TestMaster::start(test, "b", config).await;
    let (holder, waiter, other) = (build(&a).await, build(&a).await, build(&b).await);
    assert!(take(&a, holder, &exclusive()).await);
    assert!(!take(&a, waiter, &exclusive()).await);
    assert!(!take(&b, other, &exclusive()).await);
    a.die(test).await;
    assert!(take(&b, other, &exclusive()).await);
    let left = test.db.write(|tx| async move { buildguild_db::locks::release_orphans(&tx).await });
    assert_eq!(left.await.expect("they are removed"), 2);
}

async fn several_locks_are_taken_together_or_not_at_all(test: &TestDb) {
    let a = TestMaster::start(test, "a", farm(&["b"], &[("w", None)])).await;
    let (one, both) = (build(&a).await, build(&a).await);
    let other = Wanted { key: "cluster/m".to_owned(), ..exclusive() };
    assert!(take(&a, one, &exclusive()).await);
    let wanted = [other.clone(), exclusive()];
    let wanted = &wanted;
    let took = a.store.update(|u| async move { u.take_locks(both, None, wanted).await });
    assert!(!took.await.expect("it is asked"));
    end(&a, one).await;
    let took = a.store.update(|u| async move { u.take_locks(both, None, wanted).await });
    assert!(took.await.expect("it is asked"));
}

buildguild_db::on_both_databases!(
    places_are_counted_and_queues_are_fair_across_masters,
    what_a_dead_master_held_is_free,
    several_locks_are_taken_together_or_not_at_all,
);
