//! Object state, tags.

use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, on_both_databases, state, tags};
use buildguild_types::ids::ObjectId;
use serde_json::json;

on_both_databases!(state_is_kept_per_object_and_name, the_first_of_many_creates_it, tags_are_found_again);

async fn state_is_kept_per_object_and_name(test: &TestDb) {
    let db = &test.db;
    let (one, two) = db
        .write(|tx| async move {
            let one = state::object_id(&tx, "poller", "GitPoller").await?;
            assert_eq!(state::object_id(&tx, "poller", "GitPoller").await?, one);
            let two = state::object_id(&tx, "poller", "HgPoller").await?;
            assert_ne!(one, two);
            state::set(&tx, one, "lastRev", &json!({"main": "cafe"})).await?;
            state::set(&tx, one, "lastRev", &json!({"main": "beef"})).await?;
            state::set(&tx, one, "nothing", &json!(null)).await?;
            Ok((one, two))
        })
        .await
        .expect("sets");
    assert_eq!(state::get(db.read(), one, "lastRev").await.expect("reads"), Some(json!({"main": "beef"})));
    // A null that was set is a value; one that was not is none.
    assert_eq!(state::get(db.read(), one, "nothing").await.expect("reads"), Some(json!(null)));
    assert_eq!(state::get(db.read(), two, "lastRev").await.expect("reads"), None);
    let missing = db.write(|tx| async move { state::set(&tx, ObjectId(99), "x", &json!(1)).await }).await;
    assert!(matches!(missing, Err(DbError::Conflict(_))), "{missing:?}");
}

async fn the_first_of_many_creates_it(test: &TestDb) {
    let db = test.db.clone();
    let object = db.write(|tx| async move { state::object_id(&tx, "web", "Site").await }).await.expect("an object");
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(|tx| async move { state::atomic_create(&tx, object, "secret", &json!(number)).await }).await
            })
        })
        .collect();
    let mut values = Vec::new();
    for task in tasks {
        values.push(task.await.expect("runs").expect("creates"));
    }
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    assert_eq!(state::get(db.read(), object, "secret").await.expect("reads"), Some(values[0].clone()));
}

async fn tags_are_found_again(test: &TestDb) {
    let ids = test
        .db
        .write(|tx| async move {
            Ok([tags::find_id(&tx, "linux").await?, tags::find_id(&tx, "").await?, tags::find_id(&tx, "linux").await?])
        })
        .await
        .expect("finds");
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
}
