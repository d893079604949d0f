//! Users.

use buildguild_db::test_support::TestDb;
use buildguild_db::users::{self, UserUpdate};
use buildguild_db::{DbError, on_both_databases};
use buildguild_types::ids::UserId;

on_both_databases!(users_are_found_by_attribute, many_at_once_make_one_user, users_are_updated_and_removed,);

async fn users_are_found_by_attribute(test: &TestDb) {
    let (ann, again, bob) = test
        .db
        .write(|tx| async move {
            let ann = users::find_by_attribute(&tx, "Ann", "email", "ann@example.org").await?;
            let again = users::find_by_attribute(&tx, "somebody", "email", "ann@example.org").await?;
            // The label is taken, but this is somebody else.
            let bob = users::find_by_attribute(&tx, "Ann", "email", "other-ann@example.org").await?;
            Ok((ann, again, bob))
        })
        .await
        .expect("finds");
    assert_eq!(ann, again);
    assert_ne!(ann, bob);
    let user = users::get(test.db.read(), ann).await.expect("reads").expect("exists");
    assert_eq!(user.identifier, "Ann");
    assert_eq!(user.attributes.get("email").map(String::as_str), Some("ann@example.org"));
    assert_eq!(users::id_of(test.db.read(), "Ann").await.expect("reads"), Some(ann));
    assert_eq!(users::id_of(test.db.read(), "nobody").await.expect("reads"), None);
    let list = users::list(test.db.read()).await.expect("lists");
    assert_eq!(list.iter().map(|user| user.uid).collect::<Vec<_>>(), [ann, bob]);
}

async fn many_at_once_make_one_user(test: &TestDb) {
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let db = test.db.clone();
            tokio::spawn(async move {
                db.write(|tx| async move { users::find_by_attribute(&tx, "Ann", "git", "Ann <a@b>").await }).await
            })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.expect("runs").expect("finds"));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(users::list(test.db.read()).await.expect("lists").len(), 1);
}

async fn users_are_updated_and_removed(test: &TestDb) {
    let db = &test.db;
    let (ann, bob) = db
        .write(|tx| async move {
            let ann = users::find_by_attribute(&tx, "ann", "email", "a@b").await?;
            let bob = users::find_by_attribute(&tx, "bob", "email", "b@b").await?;
            let update = UserUpdate {
                login: Some(("ann".to_owned(), "hash".to_owned())),
                attribute: Some(("git".to_owned(), "Ann".to_owned())),
                ..UserUpdate::default()
            };
            users::update(&tx, ann, &update).await?;
            Ok((ann, bob))
        })
        .await
        .expect("updates");
    let user = users::get_by_username(db.read(), "ann").await.expect("reads").expect("exists");
    assert_eq!((user.uid, user.identifier.as_str(), user.bb_password.as_deref()), (ann, "ann", Some("hash")));
    assert_eq!(user.attributes.len(), 2);

    let clash = UserUpdate { identifier: Some("ann".to_owned()), ..UserUpdate::default() };
    let clash = &clash;
    let refused = db.write(|tx| async move { users::update(&tx, bob, clash).await }).await;
    assert!(matches!(refused, Err(DbError::Conflict(_))), "{refused:?}");
    let nobody = db.write(|tx| async move { users::update(&tx, UserId(99), &UserUpdate::default()).await }).await;
    assert!(matches!(nobody, Err(DbError::NotFound(_))), "{nobody:?}");

    let removed = db
        .write(|tx| async move { Ok([users::remove(&tx, ann).await?, users::remove(&tx, ann).await?]) })
        .await
        .expect("removes");
    assert_eq!(removed, [true, false]);
    assert_eq!(users::get(db.read(), ann).await.expect("reads"), None);
    assert_eq!(users::get_by_username(db.read(), "ann").await.expect("reads"), None);
}
