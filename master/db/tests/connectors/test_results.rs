//! Test result sets and test results.

use buildguild_db::codebase_commits::{self, NewCommit};
use buildguild_db::test_result_sets::{self, NewTestResultSet, TestResultSetFilter};
use buildguild_db::test_results::{self, NewTestResult};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, codebases, on_both_databases, projects};
use buildguild_types::ids::{BuildId, TestResultId, TestResultSetId};

use super::fixtures::{Farm, NOW, farm};

on_both_databases!(sets_are_added_listed_and_completed, sets_are_found_by_commit, results_share_names_and_paths,);

fn new_set(farm: &Farm) -> NewTestResultSet {
    NewTestResultSet {
        builder: farm.builder,
        build: farm.build,
        step: farm.step,
        description: Some("unit tests".to_owned()),
        category: "pass_fail".to_owned(),
        value_unit: "boolean".to_owned(),
    }
}

async fn sets_are_added_listed_and_completed(test: &TestDb) {
    let db = &test.db;
    let farm = &farm(test).await;
    let id = db.write(|tx| async move { test_result_sets::add(&tx, &new_set(farm)).await }).await.expect("adds");
    let set = test_result_sets::get(db.read(), id).await.expect("reads").expect("exists");
    assert_eq!((set.complete, set.tests_passed, set.description.as_deref()), (false, None, Some("unit tests")));
    let open = TestResultSetFilter { complete: Some(false), step: Some(farm.step), ..TestResultSetFilter::default() };
    assert_eq!(test_result_sets::list(db.read(), open).await.expect("lists").len(), 1);
    db.write(|tx| async move { test_result_sets::complete(&tx, id, Some(3), None).await }).await.expect("completes");
    assert!(test_result_sets::list(db.read(), open).await.expect("lists").is_empty());
    let all =
        TestResultSetFilter { builder: Some(farm.builder), build: Some(farm.build), ..TestResultSetFilter::default() };
    let sets = test_result_sets::list(db.read(), all).await.expect("lists");
    assert_eq!((sets[0].complete, sets[0].tests_passed, sets[0].tests_failed), (true, Some(3), None));

    let again = db.write(|tx| async move { test_result_sets::complete(&tx, id, None, None).await }).await;
    assert!(matches!(again, Err(DbError::AlreadyComplete)), "{again:?}");
    let none = TestResultSetId(99);
    let missing = db.write(|tx| async move { test_result_sets::complete(&tx, none, None, None).await }).await;
    assert!(matches!(missing, Err(DbError::NotFound(_))), "{missing:?}");
    let orphan = NewTestResultSet { build: BuildId(99), ..new_set(farm) };
    let orphan = &orphan;
    let orphan = db.write(|tx| async move { test_result_sets::add(&tx, orphan).await }).await;
    assert!(matches!(orphan, Err(DbError::Conflict(_))), "{orphan:?}");
}

async fn sets_are_found_by_commit(test: &TestDb) {
    let db = &test.db;
    let farm = &farm(test).await;
    let (built, other, set) = db
        .write(|tx| async move {
            let project = projects::find_id(&tx, "alpha", true).await?;
            let codebase = codebases::find_id(&tx, project, "repo", true).await?;
            let commit = |revision: &str| NewCommit {
                codebase,
                author: "ann".to_owned(),
                committer: None,
                comments: String::new(),
                when: NOW,
                revision: revision.to_owned(),
                parent: None,
            };
            let (built, _) = codebase_commits::add(&tx, &commit("cafe")).await?;
            let (other, _) = codebase_commits::add(&tx, &commit("beef")).await?;
            Ok((built, other, test_result_sets::add(&tx, &new_set(farm)).await?))
        })
        .await
        .expect("adds");
    let found = test_result_sets::list_for_commits(db.read(), &[built, other]).await.expect("lists");
    assert_eq!(found.iter().map(|set| set.test_result_setid).collect::<Vec<_>>(), [set]);
    assert!(test_result_sets::list_for_commits(db.read(), &[other]).await.expect("lists").is_empty());
    assert!(test_result_sets::list_for_commits(db.read(), &[]).await.expect("lists").is_empty());
}

async fn results_share_names_and_paths(test: &TestDb) {
    let db = &test.db;
    let farm = &farm(test).await;
    let set = db.write(|tx| async move { test_result_sets::add(&tx, &new_set(farm)).await }).await.expect("adds");
    let result = |value: &str, name: Option<&str>, path: Option<&str>, line: Option<i64>| NewTestResult {
        value: value.to_owned(),
        test_name: name.map(str::to_owned),
        test_code_path: path.map(str::to_owned),
        line,
        duration_ns: line.map(|line| line * 1_000),
    };
    let mut results = vec![
        result("1", Some("suite_a.ü%"), None, None),
        result("0", Some("suite_b"), Some("src/lib.rs"), Some(7)),
        result("1", None, Some("src/main.rs"), Some(8)),
        result("1", Some("suite_b"), Some("src/lib.rs"), Some(9)),
    ];
    results.extend((0..2_500).map(|number| result("1", Some(&format!("many.{number:04}")), None, None)));
    let results = &results;
    db.write(|tx| async move { test_results::add(&tx, farm.builder, set, results).await }).await.expect("adds");

    let found = test_results::list(db.read(), farm.builder, set).await.expect("lists");
    assert_eq!(found.len(), results.len());
    for (found, added) in found.iter().zip(results) {
        assert_eq!((&found.value, &found.test_name), (&added.value, &added.test_name));
        assert_eq!((&found.test_code_path, found.line), (&added.test_code_path, added.line));
        assert_eq!(found.duration_ns, added.duration_ns);
    }
    let one = test_results::get(db.read(), found[1].test_resultid).await.expect("reads");
    assert_eq!(one.as_ref(), Some(&found[1]));
    assert_eq!(test_results::get(db.read(), TestResultId(99_999)).await.expect("reads"), None);
    let names = test_results::names(db.read(), farm.builder, "suite_").await.expect("lists");
    assert_eq!(names, ["suite_a.ü%", "suite_b"]);
    assert!(test_results::names(db.read(), farm.builder, "SUITE").await.expect("lists").is_empty());
    assert!(test_results::names(db.read(), farm.builder, "%").await.expect("lists").is_empty());
    let paths = test_results::code_paths(db.read(), farm.builder, "").await.expect("lists");
    assert_eq!(paths, ["src/lib.rs", "src/main.rs"]);

    let nameless = vec![result("1", None, None, None)];
    let nameless = &nameless;
    let refused = db.write(|tx| async move { test_results::add(&tx, farm.builder, set, nameless).await }).await;
    assert!(matches!(refused, Err(DbError::Invalid(_))), "{refused:?}");
}
