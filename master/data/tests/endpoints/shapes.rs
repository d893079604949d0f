//! The fields of each resource: those of the API reference, with the values that the database has.

use buildguild_db::on_both_databases;
use buildguild_db::test_support::TestDb;
use buildguild_types::resources;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::farm::{get, one, reader};

on_both_databases!(items_are_what_the_resource_types_serialise_to, times_are_whole_seconds_and_null_is_null);

/// Reading an item as its resource type and writing it again changes nothing: no field is missing, none is of another
/// type, and none is unknown to the type.
fn round_trips<T: DeserializeOwned + Serialize>(items: &[Value]) {
    assert!(!items.is_empty());
    for item in items {
        let resource: T = serde_json::from_value(item.clone()).unwrap_or_else(|error| panic!("{item}: {error}"));
        assert_eq!(&serde_json::to_value(resource).expect("serialises"), item);
    }
}

/// A master without what it tells of itself beyond Buildbot's fields: that is for those who ask, not for each event.
fn as_in_events(master: &Value) -> Value {
    let mut master = master.clone();
    let beyond = [
        "config_hash",
        "draining_reason",
        "draining_since",
        "epoch",
        "expire_after",
        "outbox_depth",
        "outbox_since",
        "version",
    ];
    for field in beyond {
        let had = master.as_object_mut().and_then(|fields| fields.remove(field));
        assert!(had.is_some(), "{field}");
    }
    master
}

async fn items_are_what_the_resource_types_serialise_to(test: &TestDb) {
    let reader = reader(test).await;
    let items = async |path: &str| get(&reader, path).await.unwrap_or_else(|error| panic!("{path}: {error}")).items;
    round_trips::<resources::Builder>(&items("builders").await);
    round_trips::<resources::Build>(&items("builds").await);
    round_trips::<resources::BuildRequest>(&items("buildrequests").await);
    round_trips::<resources::Buildset>(&items("buildsets").await);
    round_trips::<resources::Change>(&items("changes").await);
    round_trips::<resources::ChangeSource>(&items("changesources").await);
    round_trips::<resources::Scheduler>(&items("schedulers").await);
    round_trips::<resources::Master>(&items("masters").await.iter().map(as_in_events).collect::<Vec<_>>());
    round_trips::<resources::Worker>(&items("workers").await);
    round_trips::<resources::SourceStamp>(&items("sourcestamps").await);
    round_trips::<resources::Step>(&items("builds/1/steps").await);
    round_trips::<resources::Log>(&items("steps/2/logs").await);
    round_trips::<resources::LogChunk>(&items("logs/2/contents").await);
    round_trips::<resources::BuildData>(&items("builds/1/data").await);
    round_trips::<resources::Project>(&items("projects").await);
    round_trips::<resources::Codebase>(&items("codebases").await);
    round_trips::<resources::Branch>(&items("codebases/1/branches").await);
    round_trips::<resources::Commit>(&items("codebases/1/commits").await);
    round_trips::<resources::CommitGraph>(&items("codebases/1/commit_range/1/2/commits_common_parent").await);
    round_trips::<resources::TestResultSet>(&items("test_result_sets").await);
    round_trips::<resources::TestResult>(&items("test_result_sets/1/results").await);
}

async fn times_are_whole_seconds_and_null_is_null(test: &TestDb) {
    let reader = reader(test).await;
    assert_eq!(
        one(&reader, "builds/1").await,
        json!({
            "buildid": 1, "number": 1, "builderid": 1, "buildrequestid": 1, "workerid": 1, "masterid": 1,
            "started_at": 1_700_000_000, "complete": true, "complete_at": 1_700_000_000, "results": 0,
            "state_string": "build successful", "locks_duration_s": 0, "properties": {},
        })
    );
    let running = one(&reader, "builds/2").await;
    assert_eq!((&running["complete"], &running["results"]), (&json!(false), &Value::Null));
    let pending = one(&reader, "buildrequests/3").await;
    assert_eq!((&pending["claimed"], &pending["results"]), (&json!(false), &json!(-1)));
    assert_eq!((&pending["claimed_at"], &pending["properties"]), (&Value::Null, &Value::Null));
    let change = one(&reader, "changes/2").await;
    assert_eq!((&change["files"], &change["parent_changeids"]), (&json!(["z.c", "a.c"]), &json!([1])));
    assert_eq!(change["properties"], json!({"ticket": [42, "Change"]}));
    let stamp = one(&reader, "sourcestamps/4").await;
    assert_eq!((&stamp["patch"]["level"], &stamp["patch"]["body"]), (&json!(1), &Value::Null));
    let builder = one(&reader, "builders/1").await;
    assert_eq!((&builder["tags"], &builder["masterids"]), (&json!(["linux", "ci"]), &json!([1])));
    let worker = one(&reader, "workers/w1").await;
    assert_eq!(worker["workerinfo"], json!({"version": "4.3.0"}));
}
