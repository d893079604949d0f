//! Build plans and versions of the configuration.

use buildguild_db::config_versions::{self, Part, PartKind};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, on_both_databases, plans};
use buildguild_types::ids::BuildId;

use super::fixtures::{NOW, farm};

on_both_databases!(a_build_keeps_its_plan, a_version_is_stored_once);

async fn a_build_keeps_its_plan(test: &TestDb) {
    let db = &test.db;
    let build = farm(test).await.build;
    db.write(|tx| async move { plans::add(&tx, build, "hash", "{\"version\": 1}").await }).await.expect("adds");
    assert_eq!(plans::get(db.read(), build).await.expect("reads").as_deref(), Some("{\"version\": 1}"));
    assert_eq!(plans::get(db.read(), BuildId(99)).await.expect("reads"), None);
    let again = db.write(|tx| async move { plans::add(&tx, build, "hash", "{}").await }).await;
    assert!(matches!(again, Err(DbError::Conflict(_))), "{again:?}");
}

async fn a_version_is_stored_once(test: &TestDb) {
    let part = |kind, name: &str, content: &[u8]| Part { kind, name: name.to_owned(), content: content.to_vec() };
    let parts = vec![
        part(PartKind::File, "master.cfg", b"c = {}"),
        part(PartKind::Input, "HOME", b"\x00\xff"),
        part(PartKind::File, "lib.star", b""),
    ];
    let other = vec![part(PartKind::File, "master.cfg", b"c = {'title': 'x'}")];
    let (stored, ignored) = (&parts, &other);
    test.db
        .write(|tx| async move {
            config_versions::put(&tx, "hash", stored, NOW).await?;
            config_versions::put(&tx, "hash", ignored, NOW).await
        })
        .await
        .expect("stores");
    let found = config_versions::get(test.db.read(), "hash").await.expect("reads");
    assert_eq!(found, [parts[2].clone(), parts[0].clone(), parts[1].clone()]);
    assert!(config_versions::get(test.db.read(), "none").await.expect("reads").is_empty());
}
