//! Every path leads where the reference says, and wrong ones to the right error.

use buildguild_data::{DataError, ErrorKind};
use buildguild_db::on_both_databases;
use buildguild_db::test_support::TestDb;
use buildguild_types::spec::{Filter, FilterOp, OrderBy, ResultSpec};
use serde_json::{Value, json};

use super::farm::{each, get, get_with, one, reader};

on_both_databases!(
    a_build_has_three_names,
    a_log_has_many_names,
    collections_are_limited_by_their_path,
    workers_show_what_belongs_to_the_path,
    properties_come_as_an_object_or_a_list,
    the_changes_of_a_build_are_those_since_the_last_good_one,
    projects_can_be_asked_for_by_activity,
    force_schedulers_come_from_the_configuration,
    commits_have_a_common_parent,
    the_api_describes_itself,
    errors_say_what_is_wrong,
);

async fn a_build_has_three_names(test: &TestDb) {
    let reader = reader(test).await;
    let build = one(&reader, "builds/1").await;
    assert_eq!(one(&reader, "builders/1/builds/1").await, build);
    assert_eq!(one(&reader, "builders/linux/builds/1").await, build);
    assert_eq!(one(&reader, "builders/deploy prod").await["builderid"], json!(2));
    for prefix in ["builds/1", "builders/1/builds/1", "builders/linux/builds/1"] {
        assert_eq!(each(&reader, &format!("{prefix}/data"), "name").await, ["coverage"]);
        assert_eq!(one(&reader, &format!("{prefix}/data/coverage")).await["length"], json!(9));
        assert_eq!(each(&reader, &format!("{prefix}/steps"), "number").await, [0, 1, 2]);
        assert_eq!(one(&reader, &format!("{prefix}/steps/1")).await["name"], json!("compile"));
        assert_eq!(one(&reader, &format!("{prefix}/steps/compile")).await["number"], json!(1));
        assert!(get(&reader, &format!("{prefix}/steps/two words")).await.is_err(), "reachable by number only");
    }
}

async fn a_log_has_many_names(test: &TestDb) {
    let reader = reader(test).await;
    let log = one(&reader, "logs/3").await;
    assert_eq!((&log["name"], &log["slug"], &log["type"]), (&json!("page.html"), &json!("page_html"), &json!("h")));
    for step in [
        "steps/2",
        "builds/1/steps/1",
        "builds/1/steps/compile",
        "builders/1/builds/1/steps/1",
        "builders/1/builds/1/steps/compile",
        "builders/linux/builds/1/steps/1",
        "builders/linux/builds/1/steps/compile",
    ] {
        assert_eq!(one(&reader, &format!("{step}/logs/page_html")).await, log);
        assert_eq!(one(&reader, &format!("{step}/logs/notes/contents")).await["content"], json!("first\nsecond é\n"));
        assert_eq!(each(&reader, &format!("{step}/logs"), "slug").await, ["stdio", "notes", "page_html", "empty"]);
    }
}

async fn collections_are_limited_by_their_path(test: &TestDb) {
    let reader = reader(test).await;
    for (path, field, expected) in [
        ("builders", "builderid", json!([1, 2])),
        ("masters/1/builders", "builderid", json!([1, 2])),
        ("projects/1/builders", "builderid", json!([1])),
        ("workers/2/builders", "builderid", json!([2])),
        ("buildrequests", "buildrequestid", json!([1, 2, 3])),
        ("builders/2/buildrequests", "buildrequestid", json!([3])),
        ("builds", "buildid", json!([1, 2])),
        ("builders/1/builds", "buildid", json!([1, 2])),
        ("builders/linux/builds", "buildid", json!([1, 2])),
        ("builders/2/builds", "buildid", json!([])),
        ("builders/999/builds", "buildid", json!([])),
        ("buildrequests/2/builds", "buildid", json!([2])),
        ("changes/1/builds", "buildid", json!([1])),
        ("changes/2/builds", "buildid", json!([])),
        ("workers/1/builds", "buildid", json!([1, 2])),
        ("builds/1/triggered_builds", "buildid", json!([2])),
        ("builds/2/triggered_builds", "buildid", json!([])),
        ("changes", "changeid", json!([3, 2, 1])),
        ("sourcestamps/2/changes", "changeid", json!([2])),
        ("buildsets", "bsid", json!([1, 2, 3])),
        ("buildsets/2/sourcestamps", "ssid", json!([3])),
        ("sourcestamps", "ssid", json!([1, 2, 3, 4])),
        ("masters", "masterid", json!([1])),
        ("builders/1/masters", "masterid", json!([1])),
        ("builders/99/masters", "masterid", json!([])),
        ("schedulers", "schedulerid", json!([1, 2])),
        ("masters/1/schedulers", "schedulerid", json!([2])),
        ("changesources", "changesourceid", json!([1])),
        ("masters/1/changesources", "changesourceid", json!([1])),
        ("codebases", "codebaseid", json!([1])),
        ("codebases/1/branches", "name", json!(["main"])),
        ("codebases/1/commits", "commitid", json!([1, 2])),
        ("test_result_sets", "test_result_setid", json!([1])),
        ("builds/1/test_result_sets", "test_result_setid", json!([1])),
        ("builders/1/test_result_sets", "test_result_setid", json!([1])),
        ("builders/linux/test_result_sets", "test_result_setid", json!([1])),
        ("builders/2/test_result_sets", "test_result_setid", json!([])),
        ("steps/2/test_result_sets", "test_result_setid", json!([1])),
        ("codebases/1/commit_range/1/2/test_result_sets", "test_result_setid", json!([1])),
        ("test_result_sets/1/results", "test_name", json!(["t"])),
    ] {
        assert_eq!(json!(each(&reader, path, field).await), expected, "{path}");
    }
    for (path, field, expected) in [
        ("masters/1/builders/2", "builderid", json!(2)),
        ("builders/1/masters/1", "masterid", json!(1)),
        ("masters/1", "name", json!("host:/master")),
        ("masters/1/schedulers/2", "name", json!("nightly")),
        ("schedulers/1", "name", json!("force")),
        ("masters/1/changesources/1", "name", json!("poller")),
        ("changesources/1", "name", json!("poller")),
        ("buildsets/2", "parent_buildid", json!(1)),
        ("projects/1", "name", json!("alpha")),
        ("projects/alpha", "projectid", json!(1)),
        ("codebases/1", "slug", json!("repo")),
        ("projects/1/codebases/repo", "codebaseid", json!(1)),
        ("branches/1", "commitid", json!(2)),
        ("commits/1", "revision", json!("r1")),
        ("codebases/1/commits_by_revision/r1", "commitid", json!(1)),
        ("codebases/1/commits_by_revision/0123", "commitid", json!(2)),
        ("test_result_sets/1", "category", json!("pass_fail")),
    ] {
        assert_eq!(one(&reader, path).await[field], expected, "{path}");
    }
}

async fn workers_show_what_belongs_to_the_path(test: &TestDb) {
    let reader = reader(test).await;
    let both = json!([{"builderid": 1, "masterid": 1}, {"builderid": 2, "masterid": 1}]);
    assert_eq!(one(&reader, "workers/1").await["configured_on"], both);
    assert_eq!(one(&reader, "masters/1/workers/w1").await["configured_on"], both);
    for path in ["builders/1/workers/1", "masters/1/builders/1/workers/w1", "builders/1/workers/w1"] {
        let worker = one(&reader, path).await;
        assert_eq!(worker["configured_on"], json!([{"builderid": 1, "masterid": 1}]), "{path}");
        assert_eq!(worker["connected_to"], json!([{"masterid": 1}]), "{path}");
    }
    assert_eq!(each(&reader, "workers", "name").await, ["w1", "w-absent"]);
    assert_eq!(each(&reader, "builders/1/workers", "name").await, ["w1"]);
    assert_eq!(each(&reader, "masters/1/workers", "name").await, ["w1", "w-absent"]);
    assert_eq!(each(&reader, "masters/1/builders/2/workers", "name").await, ["w1", "w-absent"]);
    for path in ["builders/1/workers/2", "builders/1/workers/w-absent", "masters/2/workers/1", "workers/none"] {
        assert!(matches!(get(&reader, path).await, Err(DataError::NotFound(_))), "{path}");
    }
}

async fn properties_come_as_an_object_or_a_list(test: &TestDb) {
    let reader = reader(test).await;
    let expected = json!({"revision": ["r1", "Build"], "list": [[1, {"a": null}], "Form"]});
    for path in ["builds/1/properties", "builders/1/builds/1/properties"] {
        assert_eq!(one(&reader, path).await, expected, "{path}");
    }
    assert_eq!(one(&reader, "builds/2/properties").await, json!({}));
    for path in ["buildsets/1/properties", "buildrequests/1/properties"] {
        assert_eq!(one(&reader, path).await, json!({"scheduler": ["force", "Scheduler"]}), "{path}");
    }
    let list = get(&reader, "builds/1/property_list").await.expect("lists").items;
    assert_eq!(list[1], json!({"name": "revision", "source": "Build", "value": "\"r1\""}));
    let list = get(&reader, "buildsets/1/properties_list").await.expect("lists").items;
    assert_eq!(list, [json!({"name": "scheduler", "source": "Scheduler", "value": "\"force\""})]);
    let list = get(&reader, "changes/1/properties_list").await.expect("lists").items;
    assert_eq!(list, [json!({"name": "ticket", "source": "Change", "value": "42"})]);
    let spec = ResultSpec { properties: vec!["revision".to_owned()], ..ResultSpec::default() };
    let build = get_with(&reader, "builds/1", &spec).await.expect("reads").items.remove(0);
    assert_eq!(build["properties"], json!({"revision": ["r1", "Build"]}));
}

async fn the_changes_of_a_build_are_those_since_the_last_good_one(test: &TestDb) {
    let reader = reader(test).await;
    assert_eq!(each(&reader, "builds/2/changes", "changeid").await, [3, 2]);
    assert_eq!(each(&reader, "builders/1/builds/2/changes", "changeid").await, [3, 2]);
    assert_eq!(each(&reader, "builds/1/changes", "changeid").await, [1]);
    assert!(each(&reader, "builds/99/changes", "changeid").await.is_empty());
}

async fn projects_can_be_asked_for_by_activity(test: &TestDb) {
    let reader = reader(test).await;
    assert_eq!(each(&reader, "projects", "active").await, [Value::Null, Value::Null]);
    for (value, name) in [("true", "alpha"), ("0", "empty")] {
        let filter = Filter { field: "active".to_owned(), op: FilterOp::Eq, values: vec![value.to_owned()] };
        let spec = ResultSpec { filters: vec![filter], ..ResultSpec::default() };
        let items = get_with(&reader, "projects", &spec).await.expect("lists").items;
        assert_eq!(items.len(), 1);
        assert_eq!((&items[0]["name"], &items[0]["active"]), (&json!(name), &json!(value == "true")));
    }
}

async fn force_schedulers_come_from_the_configuration(test: &TestDb) {
    let reader = reader(test).await;
    assert_eq!(each(&reader, "forceschedulers", "name").await, ["force"]);
    assert_eq!(each(&reader, "builders/1/forceschedulers", "name").await, ["force"]);
    assert!(each(&reader, "builders/2/forceschedulers", "name").await.is_empty());
    let force = one(&reader, "forceschedulers/force").await;
    assert_eq!((&force["enabled"], &force["builder_names"]), (&json!(true), &json!(["linux"])));
    assert!(force["all_fields"].as_array().is_some_and(|fields| !fields.is_empty()));
    test.db
        .write(|tx| async move { buildguild_db::schedulers::enable(&tx, 1.into(), false).await })
        .await
        .expect("disables");
    assert_eq!(one(&reader, "forceschedulers/force").await["enabled"], json!(false));
    assert!(matches!(get(&reader, "forceschedulers/nightly").await, Err(DataError::NotFound(_))));
}

async fn commits_have_a_common_parent(test: &TestDb) {
    let reader = reader(test).await;
    assert_eq!(
        one(&reader, "codebases/1/commit_range/1/2/commits_common_parent").await,
        json!({"common": 1, "to1": [1], "to2": [1, 2]})
    );
    for path in
        ["codebases/1/commit_range/1/9/commits_common_parent", "codebases/2/commit_range/1/2/commits_common_parent"]
    {
        assert!(matches!(get(&reader, path).await, Err(DataError::NotFound(_))), "{path}");
    }
}

async fn the_api_describes_itself(test: &TestDb) {
    let reader = reader(test).await;
    let links = each(&reader, "", "name").await;
    assert_eq!((links.len(), &links[0], &links[13]), (14, &json!("builders"), &json!("projects")));
    let spec = get(&reader, "application.spec").await.expect("lists");
    assert!(spec.items.len() >= 138, "{}", spec.items.len());
    let builder = spec.items.iter().find(|item| item["path"] == json!("builders/n:builderid")).expect("is there");
    assert_eq!((&builder["plural"], &builder["type"]), (&json!("builders"), &json!("builder")));
    let fields = builder["type_spec"]["fields"].as_array().expect("a list");
    assert_eq!(
        fields[3],
        json!({"name": "description", "type": "string or None",
               "type_spec": {"name": "string", "can_be_null": true}})
    );
    assert_eq!(
        fields[7],
        json!({"name": "tags", "type": "list", "type_spec": {"type": "list", "of": {"name": "string"}}})
    );
    let field = |path: &str, name: &str| {
        let item = spec.items.iter().find(|item| item["path"] == json!(path)).expect("is there");
        let fields = item["type_spec"]["fields"].as_array().expect("a list");
        fields.iter().find(|field| field["name"] == json!(name)).cloned().expect("a field")
    };
    let results = json!({"name": "results", "type": "integer or None",
                         "type_spec": {"name": "integer", "can_be_null": true}});
    assert_eq!(field("buildrequests", "results"), results);
    let master = field("schedulers", "master");
    let last_active = json!({"name": "last_active", "type": "datetime", "type_spec": {"name": "datetime"}});
    assert_eq!((&master["type"], &master["type_spec"]["type"]), (&json!("master or None"), &json!("master")));
    assert_eq!(master["type_spec"]["fields"][3], last_active);
    assert_eq!(field("changes", "sourcestamp")["type_spec"]["fields"][6]["type_spec"]["fields"][1]["name"], "body");
    assert_eq!(field("builds", "properties")["type"], "sourcedproperties or None");
}

async fn errors_say_what_is_wrong(test: &TestDb) {
    let reader = reader(test).await;
    for path in [
        "nosuch",
        "builders/2/nosuch",
        "builds/abc",
        "builds/-1",
        "builders/",
        "builds/1/",
        "builders/1/test_names",
        "builders/linux/builds/1/steps/compile/logs/",
    ] {
        match get(&reader, path).await {
            Err(error @ DataError::InvalidPath(_)) => {
                assert_eq!((error.to_string(), error.kind()), (format!("Invalid path: {path}"), ErrorKind::NotFound));
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    for path in [
        "builders/99",
        "builders/none",
        "builders/nul\0",
        "builds/99999999999999999999",
        "builders/none/builds/1",
        "builders/1/builds/99",
        "steps/99",
        "logs/99/contents",
        "logs/99/raw",
        "builds/99/properties",
        "buildrequests/99/properties",
        "builds/1/data/none",
        "builds/1/data/none/value",
        "projects/none",
    ] {
        match get(&reader, path).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{path}: {error}"),
            Ok(items) => panic!("{path}: {items:?}"),
        }
    }
    let filter = Filter { field: "number".to_owned(), op: FilterOp::Eq, values: vec!["1".to_owned()] };
    let spec = ResultSpec { filters: vec![filter], ..ResultSpec::default() };
    for path in ["builds/1", "builds/1/properties", "forceschedulers/force", "workers/1"] {
        match get_with(&reader, path, &spec).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::BadQuery, "{path}: {error}"),
            Ok(items) => panic!("{path}: {items:?}"),
        }
    }
    let order = OrderBy { field: "nosuch".to_owned(), descending: true };
    let spec = ResultSpec { order: vec![order], ..ResultSpec::default() };
    for path in
        ["builds", "builds/1", "builds/99", "workers/1", "forceschedulers/none", "logs/1/contents", "logs/1/raw"]
    {
        match get_with(&reader, path, &spec).await {
            Err(error) => assert_eq!(error.to_string(), "no such field 'nosuch'", "{path}"),
            Ok(items) => panic!("{path}: {items:?}"),
        }
    }
    let spec = ResultSpec { fields: vec!["nosuch".to_owned()], ..ResultSpec::default() };
    for path in ["builds", "builds/1", "workers", "forceschedulers", "", "logs/1/contents"] {
        match get_with(&reader, path, &spec).await {
            Err(error) => assert_eq!(error.to_string(), "no such field 'nosuch'", "{path}"),
            Ok(items) => panic!("{path}: {items:?}"),
        }
    }
}
