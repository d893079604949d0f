//! Build data, and where steps come from.

use buildguild_db::origins::{self, Origin};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, build_data, builds, on_both_databases};
use buildguild_types::ids::{BuildId, StepId};
use buildguild_types::results::Results;

use super::fixtures::{NOW, farm};

on_both_databases!(data_is_set_read_and_deleted, a_step_knows_where_it_comes_from);

async fn data_is_set_read_and_deleted(test: &TestDb) {
    let db = &test.db;
    let build = farm(test).await.build;
    db.write(|tx| async move {
        build_data::set(&tx, build, "notes", b"old", "me").await?;
        build_data::set(&tx, build, "notes", b"\x00\xff binary", "you").await?;
        build_data::set(&tx, build, "empty", b"", "me").await
    })
    .await
    .expect("sets");
    let value = build_data::get(db.read(), build, "notes").await.expect("reads").expect("exists");
    assert_eq!((value.value.as_slice(), value.source.as_str()), (b"\x00\xff binary".as_slice(), "you"));
    let without = build_data::get_no_value(db.read(), build, "notes").await.expect("reads").expect("exists");
    assert_eq!((without.length, without.value), (9, None));
    assert_eq!(build_data::get(db.read(), build, "none").await.expect("reads"), None);
    let names: Vec<String> =
        build_data::list_no_values(db.read(), build).await.expect("lists").into_iter().map(|data| data.name).collect();
    assert_eq!(names, ["empty", "notes"]);
    let missing = db.write(|tx| async move { build_data::set(&tx, BuildId(99), "x", b"", "me").await }).await;
    assert!(matches!(missing, Err(DbError::Conflict(_))), "{missing:?}");

    let second = std::time::Duration::from_secs(1);
    let later = NOW.plus(second);
    let deleted = db.write(|tx| async move { build_data::delete_old(&tx, later).await }).await.expect("deletes");
    assert_eq!(deleted, 0, "the build is running");
    db.write(|tx| async move { builds::finish(&tx, build, Results::Success, None, NOW).await }).await.expect("ends");
    let deleted = db.write(|tx| async move { build_data::delete_old(&tx, NOW).await }).await.expect("deletes");
    assert_eq!(deleted, 0, "it is not older than that");
    let deleted = db.write(|tx| async move { build_data::delete_old(&tx, later).await }).await.expect("deletes");
    assert_eq!(deleted, 2);
}

async fn a_step_knows_where_it_comes_from(test: &TestDb) {
    let farm = farm(test).await;
    let origin = origins::of_step(test.db.read(), farm.step).await.expect("reads");
    let expected =
        Origin { builder: "linux".to_owned(), number: 1, worker: "w1".to_owned(), step: "compile".to_owned() };
    assert_eq!(origin, Some(expected));
    assert_eq!(origins::of_step(test.db.read(), StepId(99)).await.expect("reads"), None);
    assert!(farm.owner.epoch > 0);
}
