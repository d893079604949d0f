//! What ties masters to builders, workers, schedulers and change sources, and what is left when a master goes.

use std::collections::BTreeMap;

use buildguild_db::builders::BuilderInfo;
use buildguild_db::leases::{self, Lease};
use buildguild_db::test_support::TestDb;
use buildguild_db::wishes::{self, WishKind};
use buildguild_db::{
    Owner, builders, builds, buildsets, changesources, masters, on_both_databases, properties, schedulers, workers,
};
use buildguild_types::ids::BuildsetId;
use buildguild_types::properties::Properties;

use super::fixtures::{NOW, farm, master};

on_both_databases!(
    ids_follow_the_configured_order,
    a_masters_builders_can_be_removed,
    workers_can_be_deconfigured,
    the_leases_of_the_dead_are_released,
    an_inactive_master_has_no_links,
    wishes_are_removed_when_they_are_settled,
    triggered_builds_and_properties_of_buildsets,
);

/// Two builders that both masters have.
async fn two_builders(test: &TestDb) -> (Owner, Owner, Vec<buildguild_types::ids::BuilderId>) {
    let (one, two) = (master(test, "one").await, master(test, "two").await);
    let ids = test
        .db
        .write(|tx| async move {
            let info = |name: &str| BuilderInfo { name: name.to_owned(), ..BuilderInfo::default() };
            let ids = builders::sync(&tx, one.master_id, &[info("a"), info("b")]).await?.ids;
            let mut ids: Vec<_> = ids.into_values().collect();
            ids.sort();
            assert_eq!(builders::add_masters(&tx, two.master_id, &ids).await?.len(), 2);
            assert!(builders::add_masters(&tx, two.master_id, &ids).await?.is_empty());
            Ok(ids)
        })
        .await
        .expect("adds");
    (one, two, ids)
}

async fn ids_follow_the_configured_order(test: &TestDb) {
    let owner = master(test, "one").await;
    let names = ["tests", "compile", "slow", "deploy prod", "a", "Z"];
    test.db
        .write(|tx| async move {
            let infos = names.map(|name| BuilderInfo { name: name.to_owned(), ..BuilderInfo::default() });
            builders::sync(&tx, owner.master_id, &infos).await?;
            let workers = names.map(|name| (name.replace(' ', "-"), vec![]));
            workers::sync(&tx, owner.master_id, &workers).await
        })
        .await
        .expect("configures");
    let found = builders::list(test.db.read(), None, None, None).await.expect("lists");
    assert_eq!(found.iter().map(|builder| builder.name.as_str()).collect::<Vec<_>>(), names);
    let found = workers::list(test.db.read(), None, None).await.expect("lists");
    assert_eq!(found[0].name, "tests");
    assert_eq!(found[5].name, "Z");
}

async fn a_masters_builders_can_be_removed(test: &TestDb) {
    let (one, two, ids) = two_builders(test).await;
    let db = &test.db;
    let ids = &ids;
    let removed = db
        .write(|tx| async move { builders::remove_masters(&tx, one.master_id, Some(ids[0])).await })
        .await
        .expect("removes");
    assert_eq!(removed, [ids[0]]);
    let of = async |master| {
        let list = builders::list(db.read(), Some(master), None, None).await.expect("lists");
        list.into_iter().map(|builder| builder.builderid).collect::<Vec<_>>()
    };
    assert_eq!(of(one.master_id).await, [ids[1]]);
    db.write(|tx| async move { builders::remove_masters(&tx, one.master_id, None).await }).await.expect("removes");
    assert!(of(one.master_id).await.is_empty());
    assert_eq!(of(two.master_id).await, *ids);

    let none = db.write(|tx| async move { builders::remove_of_inactive_masters(&tx).await }).await.expect("removes");
    assert!(none.is_empty());
    db.write(|tx| async move { masters::deactivate(&tx, two, None).await }).await.expect("deactivates");
    let removed = db.write(|tx| async move { builders::remove_of_inactive_masters(&tx).await }).await.expect("removes");
    let mut left = removed.get(&two.master_id).cloned().unwrap_or_default();
    left.sort();
    assert_eq!(left, *ids);
}

async fn workers_can_be_deconfigured(test: &TestDb) {
    let (one, two, ids) = two_builders(test).await;
    let db = &test.db;
    let ids = &ids;
    db.write(|tx| async move {
        for owner in [one, two] {
            workers::sync(&tx, owner.master_id, &[("w".to_owned(), ids.clone())]).await?;
        }
        workers::deconfigure_all(&tx, one.master_id).await
    })
    .await
    .expect("configures");
    let worker = workers::find_id(db.read(), "w").await.expect("is there");
    let worker = workers::get(db.read(), worker).await.expect("reads").expect("exists");
    assert!(worker.configured_on.iter().all(|entry| entry.masterid == two.master_id));
    assert_eq!(worker.configured_on.len(), 2);
}

async fn the_leases_of_the_dead_are_released(test: &TestDb) {
    let (one, two) = (master(test, "one").await, master(test, "two").await);
    let db = &test.db;
    let (scheduler, other, source) = db
        .write(|tx| async move {
            let scheduler = schedulers::find_id(&tx, "s").await?;
            let other = schedulers::find_id(&tx, "o").await?;
            let source = changesources::find_id(&tx, "c").await?;
            schedulers::set_master(&tx, scheduler, Some(one)).await?;
            schedulers::set_master(&tx, other, Some(two)).await?;
            changesources::set_master(&tx, source, Some(one)).await?;
            assert!(leases::acquire(&tx, Lease::Named("janitor"), one).await?);
            assert!(!leases::acquire(&tx, Lease::Named("janitor"), two).await?);
            masters::deactivate(&tx, one, None).await?;
            Ok((scheduler, other, source))
        })
        .await
        .expect("claims");
    let released = db.write(|tx| async move { leases::release_orphans(&tx).await }).await.expect("releases");
    assert_eq!(released, [scheduler]);
    assert_eq!(schedulers::master(db.read(), scheduler).await.expect("reads"), None);
    assert_eq!(schedulers::master(db.read(), other).await.expect("reads"), Some(two.master_id));
    assert_eq!(changesources::master(db.read(), source).await.expect("reads"), None);
    let taken = db.write(|tx| async move { leases::acquire(&tx, Lease::Named("janitor"), two).await }).await;
    assert!(taken.expect("acquires"));
    db.write(|tx| async move { leases::release(&tx, Lease::Named("janitor"), two).await }).await.expect("releases");
    assert_eq!(leases::holder(db.read(), Lease::Named("janitor")).await.expect("reads"), None);
}

async fn an_inactive_master_has_no_links(test: &TestDb) {
    let (one, _, ids) = two_builders(test).await;
    let db = &test.db;
    let changed = db
        .write(|tx| async move {
            let scheduler = schedulers::find_id(&tx, "s").await?;
            schedulers::set_master(&tx, scheduler, Some(one)).await?;
            Ok([
                masters::set_state(&tx, one.master_id, false).await?,
                masters::set_state(&tx, one.master_id, false).await?,
            ])
        })
        .await
        .expect("deactivates");
    assert_eq!(changed, [true, false]);
    assert!(schedulers::list(db.read(), Some(true), None).await.expect("lists").is_empty());
    let builder = builders::get(db.read(), ids[0]).await.expect("reads").expect("exists");
    assert_eq!(builder.masterids.len(), 1);
    let back = db.write(|tx| async move { masters::set_state(&tx, one.master_id, true).await }).await;
    assert!(back.expect("activates"));
    db.write(|tx| async move { masters::set_all_active_long_ago(&tx).await }).await.expect("ages");
    let masters = masters::list(db.read()).await.expect("lists");
    assert!(masters.iter().all(|master| master.last_active.micros() == 0));
}

async fn wishes_are_removed_when_they_are_settled(test: &TestDb) {
    let db = &test.db;
    let build = farm(test).await.build.get();
    let added = db
        .write(|tx| async move {
            let mut added = Vec::new();
            for (kind, target, reason) in [
                (WishKind::StopBuild, build, Some("first")),
                (WishKind::StopBuild, build, Some("second")),
                (WishKind::StopBuild, 99, None),
                (WishKind::CancelRequest, 99, None),
                (WishKind::StopWorker, 1, None),
                (WishKind::KillWorker, 1, None),
                (WishKind::KillWorker, 2, None),
            ] {
                added.push(wishes::add(&tx, kind, target, reason, NOW).await?);
            }
            Ok(added)
        })
        .await
        .expect("wishes");
    assert_eq!(added, [true, false, true, true, true, true, true]);
    let wish = wishes::get(db.read(), WishKind::StopBuild, build).await.expect("reads").expect("exists");
    assert_eq!((wish.reason.as_deref(), wish.created_at), (Some("first"), NOW));
    let settled = db.write(|tx| async move { wishes::remove_settled(&tx).await }).await.expect("removes");
    assert_eq!(settled, 2, "the build and the request that do not exist");
    let removed = db
        .write(|tx| async move {
            let both = wishes::remove(&tx, &[WishKind::StopWorker, WishKind::KillWorker], 1).await?;
            let many = wishes::remove_for(&tx, WishKind::KillWorker, &[1, 2, 3]).await?;
            Ok([both, many, wishes::remove_for(&tx, WishKind::KillWorker, &[]).await?])
        })
        .await
        .expect("removes");
    assert_eq!(removed, [2, 1, 0]);
    let left = wishes::list(db.read()).await.expect("lists");
    assert_eq!(left.iter().map(|wish| (wish.kind, wish.target)).collect::<Vec<_>>(), [(WishKind::StopBuild, build)]);
    let id = left[0].id;
    let removed = db.write(|tx| async move { wishes::remove_many(&tx, &[id, 999]).await }).await.expect("removes");
    assert_eq!(removed, 1);
}

async fn triggered_builds_and_properties_of_buildsets(test: &TestDb) {
    let db = &test.db;
    let build = farm(test).await.build;
    assert!(builds::triggered_by(db.read(), build).await.expect("reads").is_empty());
    let buildset = db
        .write(|tx| async move {
            let mut set = Properties::new();
            set.set("scheduler", "trigger", "Scheduler");
            let new = buildsets::NewBuildset { properties: set, ..buildsets::NewBuildset::default() };
            Ok(buildsets::add(&tx, &new, NOW).await?.0.bsid)
        })
        .await
        .expect("adds");
    let wanted = [buildset, BuildsetId(1), BuildsetId(99)];
    let all: BTreeMap<BuildsetId, Properties> = properties::of_buildsets(db.read(), &wanted).await.expect("reads");
    let found = all.get(&buildset).and_then(|properties| properties.get("scheduler"));
    assert_eq!(found.map(|property| property.source().to_owned()), Some("Scheduler".to_owned()));
    assert!(!all.contains_key(&BuildsetId(99)));
}
