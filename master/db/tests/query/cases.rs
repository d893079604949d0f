//! What the model cannot tell: paging, totals, scopes, attached fields, errors.

use buildguild_db::query::{
    self, BuildRef, BuilderRef, LogRef, Page, ProjectRef, QueryError, Resource, Scope, StepRef, WorkerRef,
    resources as r,
};
use buildguild_db::test_support::TestDb;
use buildguild_db::{execute, on_both_databases};
use buildguild_types::spec::{Filter, FilterOp, OrderBy, ResultSpec};
use serde_json::{Value, json};

use super::fixtures;

on_both_databases!(
    pages_neither_overlap_nor_leave_gaps,
    pages_go_on_after_an_item,
    a_page_goes_on_after_an_item_that_was_deleted,
    what_is_no_cursor_is_refused,
    totals_are_counted_where_that_is_cheap,
    names_and_numbers_lead_to_the_same_object_as_ids,
    scopes_limit_collections,
    properties_are_filled_in_when_asked_for,
    lists_and_embedded_resources_are_attached,
    only_the_fields_asked_for,
    refused_specs_name_the_field,
    what_has_an_object_comes_after_what_has_none,
);

async fn list(test: &TestDb, resource: &'static Resource, scopes: &[Scope], spec: &ResultSpec) -> Page {
    let page = query::list(test.db.read(), resource, scopes, spec).await.expect("lists");
    let text = query::list_text(test.db.read(), resource, scopes, spec).await.expect("lists");
    let items: Vec<Value> = serde_json::from_str(&text.items).expect("JSON");
    assert_eq!((items, text.total), (page.items.clone(), page.total), "the same as text");
    page
}

async fn ids(test: &TestDb, resource: &'static Resource, scope: Scope) -> Vec<i64> {
    let key = resource.fields[0].name;
    let page = list(test, resource, &[scope], &ResultSpec::default()).await;
    page.items.iter().filter_map(|item| item[key].as_i64()).collect()
}

fn order(field: &str, descending: bool) -> OrderBy {
    OrderBy { field: field.to_owned(), descending }
}

fn filter(field: &str, op: FilterOp, value: &str) -> Filter {
    Filter { field: field.to_owned(), op, values: vec![value.to_owned()] }
}

async fn pages_go_on_after_an_item(test: &TestDb) {
    fixtures::fill(test).await;
    let orders = [
        vec![],
        vec![order("buildid", true)],
        vec![order("results", false)],
        vec![order("results", true)],
        vec![order("complete_at", true), order("number", false)],
        vec![order("complete", false), order("state_string", true), order("started_at", false)],
    ];
    let scopes = [vec![], vec![Scope::Builder("builderid", BuilderRef::Id(1))]];
    for (order, scopes) in orders.iter().flat_map(|order| scopes.iter().map(move |scopes| (order, scopes))) {
        let all = ResultSpec { order: order.clone(), ..ResultSpec::default() };
        let all: Vec<i64> = list(test, &r::BUILDS, scopes, &all).await.items.iter().map(buildid).collect();
        assert!(all.len() > 5, "{all:?}");
        let (mut seen, mut cursor): (Vec<i64>, String) = Default::default();
        loop {
            let (page, next) = page_after(test, scopes, order, 4, &cursor).await.expect("reads");
            if page.is_empty() {
                assert_eq!(next.as_ref(), Some(&cursor), "behind the last one is the same place");
                break;
            }
            seen.extend(page);
            cursor = next.expect("a cursor");
            assert!(seen.len() <= all.len(), "{order:?}");
        }
        assert_eq!(seen, all, "{order:?}");
    }
    // Where all are counted, they are counted as if from the beginning.
    let after = |value: &str| vec![filter("after", FilterOp::Eq, value)];
    let first = ResultSpec { filters: after(""), limit: Some(1), ..ResultSpec::default() };
    let first = query::list_text(test.db.read(), &r::BUILDERS, &[], &first).await.expect("reads");
    let second = ResultSpec { filters: after(&first.next.expect("a cursor")), limit: Some(1), ..ResultSpec::default() };
    let second = query::list_text(test.db.read(), &r::BUILDERS, &[], &second).await.expect("reads");
    let every = list(test, &r::BUILDERS, &[], &ResultSpec::default()).await;
    assert_eq!((first.total, second.total), (every.total, every.total));
    assert_ne!(first.items, second.items);
    // Whoever does not page by it is told nothing of it.
    let plain = query::list_text(test.db.read(), &r::BUILDS, &[], &ResultSpec::default()).await.expect("reads");
    assert_eq!(plain.next, None);
}

/// The ids of a page of builds, and the cursor of the next one.
async fn page_after(
    test: &TestDb,
    scopes: &[Scope],
    order: &[OrderBy],
    limit: u64,
    cursor: &str,
) -> Result<(Vec<i64>, Option<String>), QueryError> {
    let filters = vec![filter("after", FilterOp::Eq, cursor)];
    let spec = ResultSpec { order: order.to_vec(), limit: Some(limit), filters, ..ResultSpec::default() };
    let page = query::list_text(test.db.read(), &r::BUILDS, scopes, &spec).await?;
    let items: Vec<Value> = serde_json::from_str(&page.items).expect("JSON");
    Ok((items.iter().map(buildid).collect(), page.next))
}

async fn a_page_goes_on_after_an_item_that_was_deleted(test: &TestDb) {
    fixtures::fill(test).await;
    let order = [order("started_at", true)];
    let all = page_after(test, &[], &order, 100, "").await.expect("reads").0;
    let (first, next) = page_after(test, &[], &order, 3, "").await.expect("reads");
    assert_eq!(first, all[..3]);
    // The janitor takes the last one of the page, and the first one of the next.
    let gone = &all[2..4];
    test.db
        .write(|tx| async move {
            for id in gone {
                buildguild_db::execute(&tx, "DELETE FROM builds WHERE id = $1", vec![(*id).into()]).await?;
            }
            Ok(())
        })
        .await
        .expect("deletes");
    let (second, _) = page_after(test, &[], &order, 3, &next.expect("a cursor")).await.expect("reads");
    assert_eq!(second, all[4..7]);
}

async fn what_is_no_cursor_is_refused(test: &TestDb) {
    use base64::Engine;

    fixtures::fill(test).await;
    let by_state = [order("state_string", true)];
    let cursor = page_after(test, &[], &by_state, 1, "").await.expect("reads").1.expect("a cursor");
    let made = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    // What a client makes itself is as good, if its values fit.
    page_after(test, &[], &by_state, 1, &made(r#"["-state_string","x",5]"#)).await.expect("reads");
    let wrong = [
        "x".to_owned(),
        "4711".to_owned(),
        "\u{e9}".to_owned(),
        made("{}"),
        made("[]"),
        made(r#"["-state_string","x"]"#),
        made(r#"["-state_string",7,5]"#),
        made(r#"["-state_string","x","5"]"#),
        made(r#"["-state_string","x",null]"#),
        made(r#"["-state_string","\u0000",5]"#),
        made(r#"["state_string","x",5]"#),
        format!("{cursor}!"),
    ];
    for wrong in wrong {
        let refused = page_after(test, &[], &by_state, 1, &wrong).await;
        assert!(matches!(refused, Err(QueryError::InvalidCursor)), "{wrong}: {refused:?}");
    }
    let elsewhere = page_after(test, &[], &[order("started_at", true)], 1, &cursor).await;
    assert!(matches!(elsewhere, Err(QueryError::InvalidCursor)), "{elsewhere:?}");
    // Properties have no id.
    let spec = ResultSpec { filters: vec![filter("after", FilterOp::Eq, "")], ..ResultSpec::default() };
    let refused = query::list_text(test.db.read(), &r::BUILD_PROPERTIES, &[], &spec).await.expect_err("refused");
    assert!(matches!(refused, QueryError::UnknownParameter(_)), "{refused}");
}

fn buildid(item: &Value) -> i64 {
    item["buildid"].as_i64().expect("an id")
}

async fn pages_neither_overlap_nor_leave_gaps(test: &TestDb) {
    fixtures::fill(test).await;
    for (field, descending) in [("results", false), ("results", true), ("complete_at", true), ("complete", false)] {
        let mut seen = Vec::new();
        for page in 0..9 {
            let spec = ResultSpec {
                order: vec![order(field, descending)],
                limit: Some(5),
                offset: Some(page * 5),
                ..ResultSpec::default()
            };
            let page = list(test, &r::BUILDS, &[], &spec).await;
            seen.extend(page.items.iter().filter_map(|item| item["buildid"].as_i64()));
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=40).collect::<Vec<i64>>(), "{field}");
    }
}

async fn totals_are_counted_where_that_is_cheap(test: &TestDb) {
    fixtures::fill(test).await;
    let page = |limit, offset| ResultSpec { limit, offset, ..ResultSpec::default() };
    let total = async |resource, spec: ResultSpec| list(test, resource, &[], &spec).await.total;
    assert_eq!(total(&r::STEPS, page(None, None)).await, 30);
    assert_eq!(total(&r::STEPS, page(Some(7), None)).await, 30);
    assert_eq!(total(&r::STEPS, page(Some(7), Some(28))).await, 30);
    assert_eq!(total(&r::STEPS, page(None, Some(28))).await, 30);
    assert_eq!(total(&r::STEPS, page(Some(0), None)).await, 30);
    assert_eq!(total(&r::STEPS, page(Some(5), Some(1_000))).await, 30);
    let hidden = ResultSpec { filters: vec![filter("hidden", FilterOp::Eq, "true")], ..page(Some(2), None) };
    assert_eq!(total(&r::STEPS, hidden).await, 7);
    // Counting builds would read the whole table.
    assert_eq!(total(&r::BUILDS, page(Some(7), None)).await, 7);
    assert_eq!(total(&r::BUILDS, page(None, None)).await, 40);
}

async fn names_and_numbers_lead_to_the_same_object_as_ids(test: &TestDb) {
    fixtures::fill(test).await;
    // The fixtures use names as their own hashes, which names in paths do not go through.
    for (table, key) in [("builders", "id"), ("projects", "id")] {
        rehash(test, table, key).await;
    }
    let find = async |resource, scope| {
        let spec = ResultSpec::default();
        query::find(test.db.read(), resource, &[scope], &spec).await.expect("finds")
    };
    let linux = BuilderRef::Name("b2".to_owned());
    assert_eq!(
        find(&r::BUILDERS, Scope::Builder("builderid", linux.clone())).await.map(|item| item["builderid"].clone()),
        Some(json!(2))
    );
    // Build 7: builder 2, number 2; its steps are 19, 20, 21.
    let build = BuildRef::Number(linux, 2);
    let by_number = find(&r::BUILDS, Scope::Build("buildid", build.clone())).await;
    assert_eq!(by_number, find(&r::BUILDS, Scope::Id("buildid", 7)).await);
    assert!(by_number.is_some());
    let step = StepRef::Name(build.clone(), "step20".to_owned());
    assert_eq!(
        find(&r::STEPS, Scope::Step("stepid", step.clone())).await,
        find(&r::STEPS, Scope::Step("stepid", StepRef::Number(build.clone(), 1))).await
    );
    let log = LogRef::Slug(step, "s20".to_owned());
    assert_eq!(
        find(&r::LOGS, Scope::Log("logid", log)).await,
        find(&r::LOGS, Scope::Log("logid", LogRef::Id(20))).await
    );
    let worker = find(&r::WORKERS, Scope::Worker("workerid", WorkerRef::Name("w3".to_owned()))).await;
    assert_eq!(worker.map(|item| item["workerid"].clone()), Some(json!(3)));
    let project = find(&r::PROJECTS, Scope::Project("projectid", ProjectRef::Name("p".to_owned()))).await;
    assert_eq!(project.map(|item| item["projectid"].clone()), Some(json!(1)));
    let nowhere = BuildRef::Number(BuilderRef::Name("none".to_owned()), 2);
    assert_eq!(find(&r::BUILDS, Scope::Build("buildid", nowhere)).await, None);
}

/// Gives rows the hashes of their names.
async fn rehash(test: &TestDb, table: &str, key: &str) {
    let rows = buildguild_db::fetch_all(test.db.read(), format!("SELECT {key} AS id, name FROM {table}"), vec![])
        .await
        .expect("reads");
    let updates: Vec<String> = rows
        .iter()
        .map(|row| {
            let id: i64 = row.try_get("", "id").expect("an id");
            let name: String = row.try_get("", "name").expect("a name");
            format!("UPDATE {table} SET name_hash = '{}' WHERE {key} = {id}", buildguild_db::name_hash(&name))
        })
        .collect();
    let updates = &updates;
    test.db
        .write(|tx| async move {
            for update in updates {
                buildguild_db::execute(&tx, update.as_str(), vec![]).await?;
            }
            Ok(())
        })
        .await
        .expect("updates");
}

async fn scopes_limit_collections(test: &TestDb) {
    fixtures::fill(test).await;
    assert_eq!(ids(test, &r::BUILDERS, Scope::BuildersOfMaster(1)).await, [1, 3, 5]);
    assert_eq!(ids(test, &r::MASTERS, Scope::MastersOfBuilder(2)).await, [2]);
    let builds = ids(test, &r::BUILDS, Scope::Builder("builderid", BuilderRef::Id(3))).await;
    assert_eq!(builds, [2, 8, 14, 20, 26, 32, 38]);
    assert_eq!(ids(test, &r::STEPS, Scope::Build("buildid", BuildRef::Id(2))).await, [4, 5, 6]);
    assert!(ids(test, &r::STEPS, Scope::Build("buildid", BuildRef::Id(999))).await.is_empty());
    assert_eq!(ids(test, &r::PROJECTS, Scope::ActiveProjects(true)).await, [1]);
    assert!(ids(test, &r::PROJECTS, Scope::ActiveProjects(false)).await.is_empty());
    assert_eq!(ids(test, &r::CHANGES, Scope::Ids("changeid", vec![5, 2, 77])).await, [5, 2]);
    assert!(ids(test, &r::CHANGES, Scope::Ids("changeid", vec![])).await.is_empty());
    assert_eq!(ids(test, &r::CHANGES, Scope::ChangesOfSourceStamp(2)).await, [7, 1]);
    assert_eq!(ids(test, &r::SOURCESTAMPS, Scope::SourceStampsOfBuildset(2)).await, [3, 4]);
    // Change 1 has source stamp 2, which buildset 1 checks out, which has requests 5, 10, 15, 20.
    let builds = ids(test, &r::BUILDS, Scope::BuildsOfChange(1)).await;
    assert_eq!(builds, [4, 9, 14, 19, 24, 29, 34, 39]);
    let workers = Scope::WorkersConfiguredOn { masterid: Some(1), builderid: None };
    let configured = ids(test, &r::WORKERS, workers).await;
    assert!(!configured.is_empty() && configured.len() < 5, "{configured:?}");
    assert!(ids(test, &r::BUILDS, Scope::BuildsTriggeredBy(1)).await.is_empty());
}

async fn properties_are_filled_in_when_asked_for(test: &TestDb) {
    fixtures::fill(test).await;
    let build = async |properties: &[&str]| {
        let properties = properties.iter().map(|name| (*name).to_owned()).collect();
        let spec = ResultSpec { properties, ..ResultSpec::default() };
        let item = query::find(test.db.read(), &r::BUILDS, &[Scope::Id("buildid", 2)], &spec).await.expect("finds");
        item.expect("exists")["properties"].clone()
    };
    assert_eq!(build(&[]).await, json!({}));
    assert_eq!(build(&["revision", "none"]).await, json!({"revision": ["r2", "Build"]}));
    assert_eq!(build(&["*"]).await, json!({"revision": ["r2", "Build"], "branch": [null, "Build"]}));
    assert_eq!(build(&["\0"]).await, json!({}));
    let request = async |id, properties: &[&str]| {
        let properties = properties.iter().map(|name| (*name).to_owned()).collect();
        let spec = ResultSpec { properties, ..ResultSpec::default() };
        let scope = [Scope::Id("buildrequestid", id)];
        let item = query::find(test.db.read(), &r::BUILDREQUESTS, &scope, &spec).await.expect("finds");
        item.expect("exists")["properties"].clone()
    };
    // Request 5 is of buildset 1, request 1 of buildset 2.
    assert_eq!(request(5, &[]).await, Value::Null);
    assert_eq!(request(5, &["x"]).await, json!({"x": [1, "Form"]}));
    assert_eq!(request(5, &["*"]).await.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(request(1, &["*"]).await, json!({}));
}

async fn lists_and_embedded_resources_are_attached(test: &TestDb) {
    fixtures::fill(test).await;
    let builders = list(test, &r::BUILDERS, &[], &ResultSpec::default()).await.items;
    assert_eq!(builders[0]["tags"], json!(["a", "a_"]), "in configured order");
    // Master 3 has builders too, but is not active.
    assert_eq!(builders[0]["masterids"], json!([1]));
    let changes = list(test, &r::CHANGES, &[], &ResultSpec::default()).await.items;
    assert_eq!(changes[0]["changeid"], json!(12), "the newest first");
    let third = changes.iter().find(|change| change["changeid"] == json!(3)).expect("exists");
    assert_eq!(third["files"], json!(["b", "ab%", "a_"]));
    assert_eq!(third["properties"], json!({"ticket": [42, "Change"]}));
    assert_eq!(third["sourcestamp"]["ssid"], json!(4));
    assert_eq!(third["sourcestamp"]["patch"], Value::Null);
    let buildsets = list(test, &r::BUILDSETS, &[], &ResultSpec::default()).await.items;
    let stamps = buildsets[1]["sourcestamps"].as_array().expect("a list");
    assert_eq!(stamps.iter().map(|stamp| stamp["ssid"].clone()).collect::<Vec<_>>(), [json!(3), json!(4)]);
    let steps = list(test, &r::STEPS, &[], &ResultSpec::default()).await.items;
    assert_eq!(steps[0]["urls"], json!([{"name": "n", "url": "u"}]));
    let workers = list(test, &r::WORKERS, &[], &ResultSpec::default()).await.items;
    assert_eq!(workers[0]["workerinfo"], json!({"version": "4.3"}));
    assert_eq!(workers[0]["connected_to"], json!([]));
}

async fn only_the_fields_asked_for(test: &TestDb) {
    fixtures::fill(test).await;
    let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let spec = ResultSpec { fields: fields(&["name", "tags"]), ..ResultSpec::default() };
    for item in list(test, &r::BUILDERS, &[], &spec).await.items {
        let keys: Vec<&String> = item.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["name", "tags"]);
    }
    let spec = ResultSpec { fields: fields(&["-tags", "-description_html", "-masterids"]), ..ResultSpec::default() };
    for item in list(test, &r::BUILDERS, &[], &spec).await.items {
        let keys: Vec<&String> = item.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["builderid", "description", "description_format", "name", "projectid"]);
    }
    let spec = ResultSpec { fields: fields(&["value"]), ..ResultSpec::default() };
    assert!(list(test, &r::BUILD_DATA, &[], &spec).await.items.is_empty());
}

async fn refused_specs_name_the_field(test: &TestDb) {
    fixtures::fill(test).await;
    let refuse = async |spec: ResultSpec| {
        query::list(test.db.read(), &r::BUILDS, &[], &spec).await.expect_err("is refused").to_string()
    };
    let base = ResultSpec::default;
    let unknown = ResultSpec { fields: vec!["nosuch".to_owned()], ..base() };
    assert_eq!(refuse(unknown).await, "no such field 'nosuch'");
    let unknown = ResultSpec { filters: vec![filter("nosuch", FilterOp::Eq, "1")], ..base() };
    assert_eq!(refuse(unknown).await, "unrecognized query parameter 'nosuch'");
    let unknown = ResultSpec { order: vec![order("nosuch", false)], ..base() };
    assert_eq!(refuse(unknown).await, "no such field 'nosuch'");
    let bad = ResultSpec { filters: vec![filter("number", FilterOp::Eq, "two")], ..base() };
    assert_eq!(refuse(bad).await, "invalid filter value for number");
    let bad = ResultSpec { filters: vec![filter("state_string", FilterOp::Eq, "nul\0")], ..base() };
    assert_eq!(refuse(bad).await, "invalid filter value for state_string");
    let bad = ResultSpec { filters: vec![filter("complete", FilterOp::Contains, "true")], ..base() };
    assert_eq!(refuse(bad).await, "field 'complete' cannot be filtered with 'contains'");
    let bad = ResultSpec { filters: vec![filter("properties", FilterOp::Ne, "x")], ..base() };
    assert_eq!(refuse(bad).await, "invalid filter value for properties");
    let by_properties = ResultSpec { order: vec![order("properties", false)], ..base() };
    assert_eq!(list(test, &r::BUILDS, &[], &by_properties).await, list(test, &r::BUILDS, &[], &base()).await);
    let bad = ResultSpec { properties: vec!["*".to_owned()], ..by_properties };
    assert_eq!(refuse(bad).await, "cannot order by 'properties'");
    let fields = vec!["buildid".to_owned()];
    let left_out = ResultSpec { fields: fields.clone(), filters: vec![filter("number", FilterOp::Eq, "1")], ..base() };
    assert_eq!(refuse(left_out).await, "cannot filter on un-selected fields: 'number'");
    let left_out = ResultSpec { fields, order: vec![order("number", false)], ..base() };
    assert_eq!(refuse(left_out).await, "cannot order on un-selected fields: 'number'");
    let huge = Filter { field: "buildid".to_owned(), op: FilterOp::Eq, values: vec!["1".to_owned(); 5_000] };
    assert_eq!(refuse(ResultSpec { filters: vec![huge], ..base() }).await, "too many filters or values");
    let long = ResultSpec { order: vec![order("number", false); 60], ..base() };
    assert_eq!(refuse(long).await, "too many filters or values");
    let single = ResultSpec { filters: vec![filter("number", FilterOp::Eq, "1")], ..base() };
    let refused = query::find(test.db.read(), &r::BUILDS, &[Scope::Id("buildid", 1)], &single).await;
    assert!(matches!(refused, Err(QueryError::NotACollection)), "{refused:?}");
    let single = ResultSpec { order: vec![order("nosuch", false)], ..base() };
    let refused = query::find(test.db.read(), &r::BUILDS, &[Scope::Id("buildid", 1)], &single).await;
    assert!(matches!(refused, Err(QueryError::UnknownField(_))), "{refused:?}");
    let single = ResultSpec { order: vec![order("number", true)], ..base() };
    let found = query::find(test.db.read(), &r::BUILDS, &[Scope::Id("buildid", 1)], &single).await;
    assert!(matches!(found, Ok(Some(_))), "{found:?}");
}

/// An object has no order, but whether there is one has.
async fn what_has_an_object_comes_after_what_has_none(test: &TestDb) {
    fixtures::fill(test).await;
    let patch = "INSERT INTO patches (id, patchlevel, patch_base64, patch_author, patch_comment)
                 VALUES (1, 1, '', 'a', 'c')";
    test.db
        .write(|tx| async move {
            execute(&tx, patch, vec![]).await?;
            execute(&tx, "UPDATE sourcestamps SET patchid = 1 WHERE id IN (2, 4)", vec![]).await
        })
        .await
        .expect("makes patches");
    for descending in [false, true] {
        let spec = ResultSpec { order: vec![order("patch", descending)], ..ResultSpec::default() };
        let page = list(test, &r::SOURCESTAMPS, &[], &spec).await;
        let mut patched: Vec<bool> = page.items.iter().map(|item| !item["patch"].is_null()).collect();
        assert!(patched.contains(&true) && patched.contains(&false), "{patched:?}");
        if descending {
            patched.reverse();
        }
        assert!(patched.is_sorted(), "{patched:?}");
    }
}
