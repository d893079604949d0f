//! Builds: their numbers, their life, their properties.

use std::collections::BTreeSet;

use buildguild_db::builds::{self, NewBuild};
use buildguild_db::changes::{self, NewChange};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, plans, properties, steps, wishes};
use buildguild_types::properties::Properties;
use buildguild_types::results::Results;
use serde_json::json;

use crate::support::{Farm, NOW};

async fn builds_that_start_at_once_get_consecutive_numbers(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let request = farm.claimed_request().await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (db, owner, builder, worker) = (farm.db.clone(), farm.owner, farm.builder, farm.worker);
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                for _ in 0..5 {
                    let new = &NewBuild { builder, request, worker, state_string: "starting" };
                    let build = db.write(|tx| async move { builds::add(&tx, new, owner, NOW).await }).await.unwrap();
                    numbers.push(build.number);
                }
                numbers
            })
        })
        .collect();
    let mut numbers = BTreeSet::new();
    for task in tasks {
        numbers.extend(task.await.unwrap());
    }
    assert_eq!(numbers, (1..=40).collect());
}

async fn a_build_lives_and_ends_once(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await;
    let (db, id) = (&farm.db, build.buildid);
    assert_eq!(builds::get(db.read(), id).await.unwrap().unwrap(), build);
    assert_eq!(builds::by_number(db.read(), farm.builder, 1).await.unwrap().unwrap(), build);
    assert_eq!(builds::running_on(db.read(), farm.worker).await.unwrap(), std::slice::from_ref(&build));
    db.write(|tx| async move {
        builds::set_state_string(&tx, id, "building").await?;
        builds::add_locks_duration(&tx, id, 3).await?;
        plans::add(&tx, id, "hash", "{\"version\":1}").await
    })
    .await
    .unwrap();
    assert_eq!(plans::get(db.read(), id).await.unwrap().as_deref(), Some("{\"version\":1}"));
    let done = db
        .write(|tx| async move { builds::finish(&tx, id, Results::Warnings, Some("done"), NOW).await })
        .await
        .unwrap();
    assert_eq!((done.complete, done.results, done.locks_duration_s), (true, Some(Results::Warnings), 3));
    assert_eq!(builds::get(db.read(), id).await.unwrap().unwrap(), done);
    let again = db.write(|tx| async move { builds::finish(&tx, id, Results::Success, None, NOW).await }).await;
    assert!(matches!(again, Err(DbError::AlreadyComplete)));
    assert!(builds::running_on(db.read(), farm.worker).await.unwrap().is_empty());
}

async fn properties_replace_each_other_by_name(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let id = farm.running_build().await.buildid;
    let mut set = Properties::new();
    set.set("a", json!({"deep": [1, null, "x\u{0}y"]}), "Build");
    set.set("b", json!(1.5), "Worker");
    let first = &set.clone();
    farm.db.write(|tx| async move { properties::set_for_build(&tx, id, first).await }).await.unwrap();
    let mut more = Properties::new();
    more.set("b", json!(false), "Step");
    let second = &more;
    farm.db.write(|tx| async move { properties::set_for_build(&tx, id, second).await }).await.unwrap();
    set.extend(&more);
    assert_eq!(properties::of_build(farm.db.read(), id).await.unwrap(), set);
    let some = properties::of_builds(farm.db.read(), &[id], &["b".to_owned()]).await.unwrap();
    assert_eq!(some[&id], more);
    let mut long = Properties::new();
    long.set("n".repeat(257), 1, "Build");
    let long = &long;
    let refused = farm.db.write(|tx| async move { properties::set_for_build(&tx, id, long).await }).await;
    assert!(matches!(refused, Err(DbError::Invalid(_))));
}

async fn steps_are_numbered_and_their_names_are_unique(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let build = farm.running_build().await.buildid;
    let db = &farm.db;
    let mut names = Vec::new();
    for name in ["compile", "compile", "clean up", "compile"] {
        let step = db.write(|tx| async move { steps::add(&tx, build, name, "pending").await }).await.unwrap();
        names.push((step.number, step.name));
    }
    let expected = ["compile", "compile_1", "clean up", "compile_2"];
    assert_eq!(names, expected.iter().enumerate().map(|(n, name)| (n as i64, (*name).to_owned())).collect::<Vec<_>>());
    let step = steps::by_number(db.read(), build, 0).await.unwrap().unwrap();
    let id = step.stepid;
    let step = db
        .write(|tx| async move {
            steps::start(&tx, id, NOW, false).await?;
            steps::set_locks_acquired(&tx, id, NOW).await?;
            steps::add_url(&tx, id, "b", "http://b").await?;
            steps::add_url(&tx, id, "a", "http://a").await?;
            steps::add_url(&tx, id, "b", "http://b").await?;
            steps::add_journal_entry(&tx, id, 0, "1").await?;
            steps::add_journal_entry(&tx, id, 1, "2").await?;
            steps::finish(&tx, id, Results::Failure, true, Some("failed"), NOW).await
        })
        .await
        .unwrap();
    assert_eq!(step.urls.iter().map(|url| url.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert!(step.hidden && step.complete && step.started_at == Some(NOW) && step.locks_acquired_at == Some(NOW));
    assert_eq!(steps::get(db.read(), id).await.unwrap().unwrap(), step);
    assert_eq!(steps::by_name(db.read(), build, "compile").await.unwrap().unwrap(), step);
    assert_eq!(steps::journal(db.read(), id).await.unwrap(), ["1", "2"]);
    let again = db.write(|tx| async move { steps::finish(&tx, id, Results::Success, false, None, NOW).await }).await;
    assert!(matches!(again, Err(DbError::AlreadyComplete)));
    let rest = db.write(|tx| async move { steps::finish_all(&tx, build, Results::Retry, NOW).await }).await.unwrap();
    assert_eq!(rest.iter().map(|step| step.number).collect::<Vec<_>>(), [1, 2, 3]);
}

async fn a_wish_is_made_once_and_settled_by_the_end(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let id = farm.running_build().await.buildid;
    let add = |reason: &'static str| {
        farm.db.write(move |tx| async move {
            wishes::add(&tx, wishes::WishKind::StopBuild, id.get(), Some(reason), NOW).await
        })
    };
    assert!(add("first").await.unwrap());
    assert!(!add("second").await.unwrap());
    let list = wishes::list(farm.db.read()).await.unwrap();
    assert_eq!((list.len(), list[0].reason.as_deref()), (1, Some("first")));
    assert_eq!(farm.db.write(|tx| async move { wishes::remove_settled(&tx).await }).await.unwrap(), 0);
    farm.db.write(|tx| async move { builds::finish(&tx, id, Results::Success, None, NOW).await }).await.unwrap();
    assert_eq!(farm.db.write(|tx| async move { wishes::remove_settled(&tx).await }).await.unwrap(), 1);
}

async fn changes_form_lines_and_builds_know_their_changes(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let db = &farm.db;
    let mut added = Vec::new();
    for number in 0..5 {
        let change = &NewChange {
            author: "A <a@example.org>".to_owned(),
            comments: format!("change {number}"),
            files: vec!["b.c".to_owned(), "a.c".to_owned()],
            revision: Some(format!("r{number}")),
            branch: Some("main".to_owned()),
            repository: "repo".to_owned(),
            properties: [("p".to_owned(), buildguild_types::properties::Property::new(number, "Change"))]
                .into_iter()
                .collect(),
            ..NewChange::default()
        };
        added.push(db.write(|tx| async move { changes::add(&tx, change, NOW).await }).await.unwrap());
    }
    assert!(added[0].parent_changeids.is_empty());
    assert_eq!(added[4].parent_changeids, [added[3].changeid]);
    assert_eq!(added[0].files, ["b.c", "a.c"]);
    assert_eq!(changes::get(db.read(), added[2].changeid).await.unwrap().unwrap(), added[2]);
    assert_eq!(changes::list_after(db.read(), added[1].changeid, 2).await.unwrap(), added[2..4]);
    assert_eq!(changes::latest_id(db.read()).await.unwrap(), Some(added[4].changeid));
    assert_eq!(changes::count(db.read()).await.unwrap(), 5);

    // A successful build of change 1, then one of change 4: it has changes 2, 3 and 4.
    let mut builds_made = Vec::new();
    for (number, results) in [(1, Results::Success), (3, Results::Failure), (4, Results::Success)] {
        let new = &buildguild_db::buildsets::NewBuildset {
            sourcestamps: vec![buildguild_db::buildsets::StampRef::Id(added[number].sourcestamp.ssid)],
            builders: vec![farm.builder],
            ..Default::default()
        };
        let owner = farm.owner;
        let (_, requests) =
            db.write(|tx| async move { buildguild_db::buildsets::add(&tx, new, NOW).await }).await.unwrap();
        let request = requests[0].buildrequestid;
        db.write(|tx| async move { buildguild_db::buildrequests::claim(&tx, &[request], owner, NOW).await })
            .await
            .unwrap();
        let build = farm.build(request).await;
        db.write(|tx| async move { builds::finish(&tx, build.buildid, results, None, NOW).await }).await.unwrap();
        builds_made.push(build);
    }
    let previous = builds::previous_successful(db.read(), &builds_made[2]).await.unwrap().unwrap();
    assert_eq!(previous.buildid, builds_made[0].buildid);
    let new: Vec<_> = changes::for_build(db.read(), builds_made[2].buildid).await.unwrap();
    let ids: Vec<_> = new.iter().map(|change| change.changeid).collect();
    assert_eq!(ids, [added[4].changeid, added[3].changeid, added[2].changeid]);
    let of_change = builds::for_change(db.read(), added[4].changeid).await.unwrap();
    assert_eq!(of_change.len(), 1);

    assert_eq!(db.write(|tx| async move { changes::prune(&tx, 2).await }).await.unwrap(), 3);
    assert_eq!(changes::count(db.read()).await.unwrap(), 2);
}

buildguild_db::on_both_databases!(
    builds_that_start_at_once_get_consecutive_numbers,
    a_build_lives_and_ends_once,
    properties_replace_each_other_by_name,
    steps_are_numbered_and_their_names_are_unique,
    a_wish_is_made_once_and_settled_by_the_end,
    changes_form_lines_and_builds_know_their_changes,
);
