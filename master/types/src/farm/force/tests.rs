//! The form and its validation, against what a real Buildbot 4.3 answered to the same calls.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ForceCall, ForceErrors, ForceRequest, form, validate};
use crate::{
    farm::{CodebaseParameter, ForceConfig, ForceParameter, ForceParameterKind, SchedulerConfig, SchedulerKind},
    render::Renderable,
};

fn parameter(name: &str, default: Value, kind: ForceParameterKind) -> ForceParameter {
    ForceParameter {
        name: name.to_owned(),
        label: name.to_owned(),
        tablabel: name.to_owned(),
        default: Renderable::literal(default),
        required: false,
        multiple: false,
        regex: None,
        hide: false,
        maxsize: None,
        autopopulate: None,
        tooltip: String::new(),
        kind,
    }
}

fn string(name: &str, default: &str) -> ForceParameter {
    parameter(name, default.into(), ForceParameterKind::String { size: 10 })
}

fn nested(name: &str, form_type: &str, fields: Vec<ForceParameter>) -> ForceParameter {
    parameter(
        name,
        "".into(),
        ForceParameterKind::Nested {
            form_type: form_type.to_owned(),
            layout: "vertical".to_owned(),
            columns: Some(1),
            fields,
        },
    )
}

fn choice(name: &str, default: Value, strict: bool) -> ForceParameter {
    let choices = vec!["a".to_owned(), "b".to_owned()];
    parameter(name, default, ForceParameterKind::Choice { choices, strict })
}

fn scheduler() -> SchedulerConfig {
    let int = |name: &str, default: i64| parameter(name, default.into(), ForceParameterKind::Int { size: 10 });
    let required = |p: ForceParameter| ForceParameter { required: true, ..p };
    let multiple = |p: ForceParameter| ForceParameter { multiple: true, ..p };
    let codebase = |name: &str| CodebaseParameter {
        codebase: name.to_owned(),
        label: format!("Codebase: {name}"),
        branch: Some(string("branch", "")),
        revision: Some(string("revision", "")),
        repository: Some(string("repository", "")),
        project: Some(string("project", "")),
        patch: None,
    };
    let patch = vec![
        parameter("body", "".into(), ForceParameterKind::File),
        int("level", 1),
        string("author", ""),
        string("comment", ""),
        string("subdir", "."),
    ];
    let fixed = parameter("repository", "R".into(), ForceParameterKind::Fixed);
    SchedulerConfig {
        name: "g".to_owned(),
        builder_names: Renderable::literal(json!(["b", "b2"])),
        properties: Default::default(),
        codebases: Default::default(),
        priority: None,
        reason: None,
        kind: SchedulerKind::Force(Box::new(ForceConfig {
            label: "g".to_owned(),
            button_name: "g".to_owned(),
            reason_string: "A build was forced by '%(owner)s': %(reason)s".to_owned(),
            username: parameter("username", "".into(), ForceParameterKind::Username { size: 30, need_email: true }),
            reason: ForceParameter { label: "Why".to_owned(), ..required(string("reason", "")) },
            priority: int("priority", 0),
            codebases: vec![
                CodebaseParameter { branch: Some(required(string("branch", "dev"))), ..codebase("one") },
                CodebaseParameter {
                    repository: Some(fixed),
                    patch: Some(nested("patch", "nested", patch)),
                    ..codebase("two")
                },
            ],
            properties: vec![
                ForceParameter { maxsize: Some(3), ..string("short", "x") },
                int("n", 5),
                parameter("bo", true.into(), ForceParameterKind::Bool),
                choice("ch", "a".into(), true),
                multiple(choice("mu", json!(["a"]), true)),
                multiple(choice("mul", "".into(), false)),
                nested("ne", "nested", vec![required(string("q", "")), int("z", 0)]),
                nested(
                    "",
                    "nested",
                    vec![
                        string("inner", "i"),
                        nested("any", "any_property", vec![string("name", ""), string("value", "")]),
                    ],
                ),
                parameter("fx", "F".into(), ForceParameterKind::Fixed),
                ForceParameter {
                    regex: Some("^[a-z0-9-]*$".to_owned()),
                    label: "Tag".to_owned(),
                    ..string("tag", "none")
                },
            ],
        })),
    }
}

fn call(params: Value) -> Result<ForceRequest, ForceErrors> {
    let params = params.as_object().expect("an object").clone();
    validate(&scheduler(), ForceCall { params: &params, user: None, builder_by_id: None })
}

fn errors(params: Value) -> Value {
    json!(call(params).expect_err("it is refused"))
}

#[test]
fn all_errors_come_at_once() {
    assert_eq!(
        errors(json!({"reason": " ", "ne_q": "", "short": "abcde", "n": "z", "two_patch_level": "x"})),
        json!({
            "reason": "'Why' needs to be specified",
            "one_branch": "'branch' needs to be specified",
            "two_patch_level": "invalid literal for int() with base 10: 'x'",
            "short": "short: is too large 5 > 3",
            "n": "invalid literal for int() with base 10: 'z'",
            "ne_q": "'q' needs to be specified",
        })
    );
    assert_eq!(
        errors(json!({"reason": "r", "ne_q": "1", "one_branch": "f", "ch": "c", "mu": ["a", "c"], "tag": "BAD",
                      "username": "joe", "builderNames": ["zz"], "priority": "high"})),
        json!({
            "ch": "'c' does not belong to list of available choices '['a', 'b']'",
            "mu": "'c' does not belong to list of available choices '['a', 'b']'",
            "tag": "Tag:'BAD' does not match pattern '^[a-z0-9-]*$'",
            "username": "username: please fill in email address in the form 'User <email@email.com>'",
            "builderNames": "'zz' is not a builder of this scheduler",
            "priority": "invalid literal for int() with base 10: 'high'",
        })
    );
    // What is no name is not left out either.
    let builders = errors(json!({"reason": "r", "ne_q": "1", "one_branch": "f", "builderNames": ["b2", 5]}));
    assert_eq!(builders, json!({"builderNames": "'5' is not a builder of this scheduler"}));
}

#[test]
fn a_full_form_gives_properties_and_source_stamps() {
    let request = call(json!({
        "reason": "r", "ne_q": "1", "short": "abc", "n": -3, "bo": "false", "ch": "b", "mu": "a", "mul": "zz",
        "fx": "changed", "one_branch": "feat", "two_repository": "evil", "two_revision": "9", "priority": "7",
        "two_patch_body": "--- a", "two_patch_level": "2", "two_patch_author": "me", "inner": "in", "any_name": "k",
        "any_value": "v", "builderNames": "b2", "unknown": 1, "owner": "evil", "username": "joe <j@x.org>",
    }))
    .expect("it is accepted");
    assert_eq!(request.builder_names, ["b2"]);
    assert_eq!(request.priority, 7);
    assert_eq!(request.reason, "A build was forced by 'joe <j@x.org>': r");
    let f = "Force Build Form";
    assert_eq!(
        json!(request.properties),
        json!({
            "bo": [false, f], "ch": ["b", f], "fx": ["F", f], "inner": ["in", f], "k": ["v", f], "mu": [["a"], f],
            "mul": [["zz"], f], "n": [-3, f], "ne": [{"q": "1", "z": 0}, f], "owner": ["joe <j@x.org>", f],
            "reason": ["r", f], "scheduler": ["g", "Scheduler"], "short": ["abc", f], "tag": ["none", f],
        })
    );
    assert_eq!(
        json!(request.sourcestamps),
        json!([
            {"codebase": "one", "branch": "feat", "revision": "", "repository": "", "project": "", "patch": null},
            {"codebase": "two", "branch": "", "revision": "9", "repository": "R", "project": "",
             "patch": {"body": "--- a", "level": 2, "author": "me", "comment": "", "subdir": "."}},
        ])
    );
}

#[test]
fn blanks_take_defaults_and_the_logged_in_user_is_the_owner() {
    let params = json!({
        "reason": "r", "ne_q": "1", "one_branch": ["f"], "n": "  ", "mu": [], "username": "nobody", "builderid": 3,
    });
    let params = params.as_object().expect("an object");
    let call = ForceCall { params, user: Some("dev@example.org"), builder_by_id: Some("b") };
    let request = validate(&scheduler(), call).expect("it is accepted");
    assert_eq!(request.builder_names, ["b"]);
    assert_eq!(request.properties.value("owner"), Some(&json!("dev@example.org")));
    assert_eq!(request.properties.value("n"), Some(&json!(5)));
    assert_eq!(request.properties.value("mu"), Some(&json!(["a"])));
    assert_eq!(request.properties.value("mul"), Some(&json!([])));
    assert_eq!(request.properties.value("bo"), Some(&json!(true)));
    assert_eq!(request.sourcestamps[0].branch, "f");
    let unknown = ForceCall { builder_by_id: None, ..call };
    assert!(validate(&scheduler(), unknown).expect_err("it is refused").0.contains_key("builderid"));
}

#[test]
fn any_worker_is_no_property() {
    let mut scheduler = scheduler();
    let SchedulerKind::Force(config) = &mut scheduler.kind else { panic!("it is a force scheduler") };
    config.properties = vec![parameter("workername", "".into(), ForceParameterKind::WorkerChoice)];
    for (sent, expected) in [("", Some(json!(""))), ("-any-", None), ("w1", Some(json!("w1")))] {
        let params = json!({"reason": "r", "one_branch": "f", "workername": sent});
        let params = params.as_object().expect("an object");
        let request = validate(&scheduler, ForceCall { params, user: None, builder_by_id: None }).expect("accepted");
        assert_eq!(request.properties.value("workername"), expected.as_ref());
    }
    let form = form(&scheduler, true, &["w1".to_owned()]).expect("a form");
    assert_eq!(form.all_fields[3]["choices"], json!(["-any-", "w1"]));
}

#[test]
fn texts_have_limits_and_a_strict_choice_has_to_be_made() {
    let mut scheduler = scheduler();
    let SchedulerKind::Force(config) = &mut scheduler.kind else { panic!("it is a force scheduler") };
    config.properties = vec![
        string("s", ""),
        parameter("t", "".into(), ForceParameterKind::Text { cols: 80, rows: 20 }),
        ForceParameter { maxsize: Some(2), ..string("m", "") },
        choice("c", "".into(), true),
        choice("free", "".into(), false),
    ];
    let form = |reason: usize, text: usize, more: Value| {
        let mut params = json!({"one_branch": "f", "reason": "r".repeat(reason), "t": "t".repeat(text)});
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let params = params.as_object().expect("an object");
        validate(&scheduler, ForceCall { params, user: None, builder_by_id: None }).map(drop)
    };
    assert_eq!(form(65_536, 1_048_576, json!({"m": "ää", "c": "a"})), Ok(()));
    let errors = form(65_537, 1_048_577, json!({"m": "abc", "free": "f".repeat(65_537)})).expect_err("too large").0;
    let expected = [
        ("c", "'' does not belong to list of available choices '['a', 'b']'"),
        ("free", "free: is too large 65537 > 65536"),
        ("m", "m: is too large 3 > 2"),
        ("reason", "Why: is too large 65537 > 65536"),
        ("t", "t: is too large 1048577 > 1048576"),
    ];
    assert_eq!(errors, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
}

#[test]
fn the_form_is_what_clients_of_buildbot_know() {
    let form = form(&scheduler(), true, &["w1".to_owned()]).expect("it is a force scheduler");
    assert_eq!(form.builder_names, ["b", "b2"]);
    let names: Vec<&Value> = form.all_fields.iter().map(|f| &f["fullName"]).collect();
    assert_eq!(
        json!(names),
        json!([null, "one", "two", "short", "n", "bo", "ch", "mu", "mul", "ne", null, "fx", "tag"])
    );
    assert_eq!(form.all_fields[1]["columns"], 2);
    assert_eq!(form.all_fields[2]["columns"], 1);
    assert_eq!(form.all_fields[2]["fields"][4]["fields"][0]["fullName"], "two_patch_body");
    assert_eq!(
        form.all_fields[4],
        json!({"autopopulate": null, "default": 5, "fullName": "n", "hide": false, "label": "n", "maxsize": null,
               "multiple": false, "name": "n", "regex": null, "required": false, "size": 10, "tablabel": "n",
               "tooltip": "", "type": "int"})
    );
    assert_eq!(form.all_fields[11]["hide"], true);
    let inner = &form.all_fields[10]["fields"];
    assert_eq!((&inner[0]["fullName"], &inner[1]["fields"][0]["fullName"]), (&json!("inner"), &json!("any_name")));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        "[0-9_ -]{0,25}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever is sent, the answer is a request of the right shape or errors about fields that exist.
    #[test]
    fn no_form_breaks_the_validation(
        values in prop::collection::btree_map(
            prop::sample::select(vec![
                "reason", "ne_q", "ne_z", "one_branch", "short", "n", "bo", "ch", "mu", "mul", "tag", "username",
                "priority", "two_patch_body", "two_patch_level", "any_name", "any_value", "builderNames", "builderid",
            ]),
            any_json(),
            0..19,
        ),
    ) {
        let params = Value::Object(values.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        match call(params) {
            Ok(request) => {
                prop_assert!(!request.builder_names.is_empty());
                prop_assert_eq!(request.sourcestamps.len(), 2);
                prop_assert!(request.properties.value("n").is_some_and(Value::is_i64));
                prop_assert!(request.properties.value("bo").is_some_and(Value::is_boolean));
                prop_assert!(request.properties.value("mu").is_some_and(Value::is_array));
                prop_assert!(request.properties.value("short").is_some_and(Value::is_string));
                prop_assert!(!request.sourcestamps[0].branch.trim().is_empty());
            }
            Err(errors) => prop_assert!(!errors.0.is_empty()),
        }
    }
}
