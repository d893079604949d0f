//! Whatever is asked, the answer is an answer, "not found" or "bad query": never an error of ours.

use buildguild_data::{ErrorKind, Reply};
use buildguild_db::on_both_databases;
use buildguild_db::test_support::TestDb;
use buildguild_types::spec::{Filter, FilterOp, OrderBy, ResultSpec};
use futures::TryStreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::farm::{get, reader};

on_both_databases!(no_question_breaks_anything);

/// Random questions per database.
const CASES: usize = 1_500;

async fn no_question_breaks_anything(test: &TestDb) {
    let reader = reader(test).await;
    // The API's own description says which paths and fields there are.
    let spec = get(&reader, "application.spec").await.expect("lists").items;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let questions = question(&spec);
    for _ in 0..CASES {
        let (path, spec) = questions.new_tree(&mut runner).expect("a question").current();
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        match reader.get(&parts, &spec).await {
            Ok(Reply::Raw(raw)) => {
                raw.body.try_collect::<Vec<bytes::Bytes>>().await.unwrap_or_else(|error| panic!("{path:?}: {error}"));
            }
            Ok(reply) => assert!(reply.into_items().is_some(), "{path:?} {spec:?}"),
            Err(error) => {
                let fine = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::BadQuery);
                assert!(fine, "{path:?} {spec:?}: {error:?}");
            }
        }
    }
}

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["1", "2", "0", "linux", "w1", "compile", "stdio", "alpha", "main", "force"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "\0", "a\0b", "%", "'", "\"", "\\", "$1", "?", "true", "NULL", "-1",
            "9223372036854775807", "9223372036854775808", "-99999999999999999999", "1e9", "٣", "\u{1F600}", "*"])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn question(spec: &[Value]) -> impl Strategy<Value = (Vec<String>, ResultSpec)> + use<> {
    let endpoints: Vec<(String, Vec<String>)> = spec
        .iter()
        .map(|item| {
            let fields = item["type_spec"]["fields"].as_array().cloned().unwrap_or_default();
            let fields = fields.iter().filter_map(|field| Some(field["name"].as_str()?.to_owned())).collect();
            (item["path"].as_str().unwrap_or_default().to_owned(), fields)
        })
        .collect();
    prop::sample::select(endpoints).prop_flat_map(|(path, mut fields)| {
        let parts: Vec<BoxedStrategy<String>> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| match part.contains(':') {
                true => odd_text().boxed(),
                false => Just(part.to_owned()).boxed(),
            })
            .collect();
        fields.extend(["nosuch".to_owned(), "-buildid".to_owned(), String::new()]);
        let field = prop::sample::select(fields);
        let op = prop::sample::select(vec![
            FilterOp::Eq,
            FilterOp::Ne,
            FilterOp::Lt,
            FilterOp::Le,
            FilterOp::Gt,
            FilterOp::Ge,
            FilterOp::Contains,
        ]);
        let filter = (field.clone(), op, prop::collection::vec(odd_text(), 1..3))
            .prop_map(|(field, op, values)| Filter { field, op, values });
        let order = (field.clone(), any::<bool>()).prop_map(|(field, descending)| OrderBy { field, descending });
        let number = || prop::option::of(prop_oneof![0..5_u64, Just(u64::MAX), Just(1 << 63)]);
        let query = (
            prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(field, 1..3)],
            prop_oneof![1 => Just(vec![]), 2 => prop::collection::vec(filter, 1..3)],
            prop_oneof![1 => Just(vec![]), 1 => prop::collection::vec(order, 1..3)],
            (number(), number()),
            prop::collection::vec(odd_text(), 0..2),
        )
            .prop_map(|(fields, filters, order, (limit, offset), properties)| ResultSpec {
                fields,
                filters,
                order,
                limit,
                offset,
                properties,
            });
        (parts, query)
    })
}
