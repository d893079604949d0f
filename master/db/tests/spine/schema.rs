//! The schema: upgrading at once, and databases of other versions.

use buildguild_db::test_support::{TestDb, postgres_url};
use buildguild_db::{Db, DbError, DbOptions, SchemaState, execute};

/// An empty database for two programs.
async fn upgrade_together(one: Db, two: Db) {
    assert_eq!(one.schema_state().await.unwrap(), SchemaState::Outdated);
    let (first, second) = tokio::join!(one.upgrade(), two.upgrade());
    first.unwrap();
    second.unwrap();
    assert_eq!(two.schema_state().await.unwrap(), SchemaState::Current);
    one.upgrade().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_upgrade_a_sqlite_database_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = DbOptions::new(format!("sqlite:///{}", directory.path().join("state.sqlite").display()));
    upgrade_together(Db::connect(&options).await.unwrap(), Db::connect(&options).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_upgrade_a_postgresql_database_at_once() {
    let server = postgres_url().await.unwrap();
    let admin = Db::connect(&DbOptions::new(server)).await.unwrap();
    let name = format!("upgrade_{}", uuid::Uuid::new_v4().simple());
    execute(admin.read(), format!("CREATE DATABASE {name}"), vec![]).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let options = DbOptions::new(format!("{base}/{name}"));
    upgrade_together(Db::connect(&options).await.unwrap(), Db::connect(&options).await.unwrap()).await;
}

async fn a_newer_schema_is_recognised_and_left_alone(test: &TestDb) {
    let db = &test.db;
    assert_eq!(db.schema_state().await.unwrap(), SchemaState::Current);
    db.write(|tx| async move {
        execute(&tx, "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)", vec![]).await
    })
    .await
    .unwrap();
    // A newer program that only added something lets this one go on.
    assert_eq!(db.schema_state().await.unwrap(), SchemaState::NewerCompatible);
    db.upgrade().await.unwrap();
    db.write(|tx| async move { execute(&tx, "UPDATE schema_compatibility SET minimum = 9999", vec![]).await })
        .await
        .unwrap();
    assert_eq!(db.schema_state().await.unwrap(), SchemaState::Newer);
    assert!(matches!(db.upgrade().await, Err(DbError::Schema(_))));
}

buildguild_db::on_both_databases!(a_newer_schema_is_recognised_and_left_alone);
