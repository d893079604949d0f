//! Random result specs: SQL must answer what the model in memory answers.

use buildguild_db::on_both_databases;
use buildguild_db::query::{self, Kind, Resource, resources as r};
use buildguild_db::test_support::TestDb;
use buildguild_types::spec::{Filter, FilterOp, OrderBy, ResultSpec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

use super::fixtures;

on_both_databases!(sql_answers_what_the_model_answers);

/// Each with the field by which it is finally ordered.
const RESOURCES: [(&Resource, &str); 11] = [
    (&r::BUILDS, "buildid"),
    (&r::BUILDREQUESTS, "buildrequestid"),
    (&r::BUILDSETS, "bsid"),
    (&r::BUILDERS, "builderid"),
    (&r::CHANGES, "changeid"),
    (&r::LOGS, "logid"),
    (&r::MASTERS, "masterid"),
    (&r::PROJECTS, "projectid"),
    (&r::SOURCESTAMPS, "ssid"),
    (&r::STEPS, "stepid"),
    (&r::WORKERS, "workerid"),
];

/// Cases per resource type.
const CASES: u32 = 150;

async fn sql_answers_what_the_model_answers(test: &TestDb) {
    fixtures::fill(test).await;
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    for (resource, key) in RESOURCES {
        let everything = query::list(test.db.read(), resource, &[], &ResultSpec::default()).await.expect("lists");
        let items: Vec<Map<String, Value>> = everything.items.iter().filter_map(Value::as_object).cloned().collect();
        assert!(!items.is_empty(), "{}", resource.plural);
        let specs = spec(resource, key, &items);
        for _ in 0..CASES {
            let spec = specs.new_tree(&mut runner).expect("a spec").current();
            let answer = query::list(test.db.read(), resource, &[], &spec).await;
            let expected = query::list_in_memory(resource, items.clone(), &spec);
            match (answer, expected) {
                (Ok(answer), Ok(expected)) => {
                    assert_eq!(answer.items, expected.items, "{} {spec:?}", resource.plural);
                    let text = query::list_text(test.db.read(), resource, &[], &spec).await.expect("lists");
                    let items: Vec<Value> = serde_json::from_str(&text.items).expect("is JSON");
                    assert_eq!((items, text.total), (answer.items.clone(), answer.total), "{}", resource.plural);
                    let counted = answer.total == expected.total || answer.total == answer.items.len() as u64;
                    assert!(counted, "{} {spec:?}: {} {}", resource.plural, answer.total, expected.total);
                }
                (Err(answer), Err(expected)) => {
                    assert_eq!(answer.to_string(), expected.to_string(), "{} {spec:?}", resource.plural);
                }
                (answer, expected) => panic!("{} {spec:?}: {answer:?}, expected {expected:?}", resource.plural),
            }
        }
    }
}

/// Specs whose values often hit something.
fn spec(resource: &'static Resource, key: &'static str, items: &[Map<String, Value>]) -> BoxedStrategy<ResultSpec> {
    let filter = prop::sample::select(
        resource
            .fields
            .iter()
            // What is told only to those who ask is a matter of scopes.
            .filter(|field| !(resource.plural == "projects" && field.name == "active"))
            .map(|field| (field.name, field.kind, values(field.name, field.kind, items)))
            .collect::<Vec<_>>(),
    )
    .prop_flat_map(|(name, kind, values)| {
        let ops = ops(kind);
        (Just(name), prop::sample::select(ops), prop::collection::vec(prop::sample::select(values), 1..4))
    })
    .prop_map(|(field, op, mut values)| {
        if matches!(op, FilterOp::Lt | FilterOp::Le | FilterOp::Gt | FilterOp::Ge) {
            values.truncate(1);
        }
        Filter { field: field.to_owned(), op, values }
    });
    let orderable: Vec<&'static str> = resource
        .fields
        .iter()
        .filter(|field| {
            let is_object = matches!(field.kind, Kind::Objects | Kind::Json | Kind::Embedded);
            let is_asked = resource.plural == "projects" && field.name == "active";
            // The files of all changes are too many to order by.
            let is_long = field.name == "files";
            !is_object && !is_asked && !is_long
        })
        .map(|field| field.name)
        .collect();
    let order = prop::collection::vec((prop::sample::select(orderable), any::<bool>()), 0..3);
    let page = (prop::option::of(0..15_u64), prop::option::of(0..15_u64));
    (prop::collection::vec(filter, 0..3), order, any::<bool>(), page)
        .prop_map(move |(filters, order, descending, (limit, offset))| {
            let mut order: Vec<OrderBy> =
                order.into_iter().map(|(field, descending)| OrderBy { field: field.to_owned(), descending }).collect();
            order.push(OrderBy { field: key.to_owned(), descending });
            ResultSpec { filters, order, limit, offset, ..ResultSpec::default() }
        })
        .boxed()
}

/// Those that make sense for a type, and some that do not.
fn ops(kind: Kind) -> Vec<FilterOp> {
    match kind {
        Kind::Integers | Kind::Texts => vec![FilterOp::Contains, FilterOp::Contains, FilterOp::Eq, FilterOp::Ne],
        Kind::Objects | Kind::Json | Kind::Embedded => vec![FilterOp::Eq, FilterOp::Ne, FilterOp::Lt],
        _ => {
            vec![FilterOp::Eq, FilterOp::Ne, FilterOp::Lt, FilterOp::Le, FilterOp::Gt, FilterOp::Ge, FilterOp::Contains]
        }
    }
}

/// What the items have, and some more.
fn values(name: &str, kind: Kind, items: &[Map<String, Value>]) -> Vec<String> {
    let mut values: Vec<String> = match kind {
        Kind::Boolean => ["true", "FALSE", "on", "0", "yes", "maybe"].map(str::to_owned).to_vec(),
        Kind::Integer | Kind::Integers | Kind::Time => {
            ["0", "-1", "1700000003", "99999999999999999999", "-99999999999999999999", "x", ""]
                .map(str::to_owned)
                .to_vec()
        }
        _ => ["", "a", "A", "%", "_", "ü", "nothing"].map(str::to_owned).to_vec(),
    };
    if kind != Kind::Boolean {
        for item in items {
            match item.get(name) {
                Some(Value::String(text)) => values.push(text.clone()),
                Some(Value::Number(number)) => values.push(number.to_string()),
                Some(Value::Array(list)) => values.extend(list.iter().map(|element| match element {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })),
                _ => {}
            }
        }
    }
    values
}
