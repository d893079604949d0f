//! Rendering against the examples of the manual's page on properties.

use std::collections::BTreeMap;

use async_trait::async_trait;
use buildguild_types::ids::SourceStampId;
use buildguild_types::properties::Properties;
use buildguild_types::render::{CallableRef, Operator, Renderable};
use buildguild_types::resources::SourceStamp;
use buildguild_types::time::Timestamp;
use serde_json::{Value, json};

use super::{Call, CallFailed, Calls, RenderError, Scope};

/// Answers calls by the function's name.
struct Functions;

#[async_trait]
impl Calls for Functions {
    async fn call(&self, function: &CallableRef, call: Call) -> Result<Renderable, CallFailed> {
        match function.name.as_str() {
            "join" => Ok(Renderable::literal(call.args.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/"))),
            "renderer" => {
                assert!(call.scope.is_some(), "a renderer sees the build");
                Ok(Renderable::Property { name: "os".to_owned(), default: None, default_when_false: true })
            }
            "endless" => {
                Ok(Renderable::Callable { callable: function.clone(), args: Vec::new(), kwargs: BTreeMap::new() })
            }
            _ => Err(CallFailed { message: "no such function".to_owned(), transient: false }),
        }
    }
}

fn function(name: &str) -> CallableRef {
    CallableRef { path: format!("test/{name}"), name: name.to_owned(), location: "master.cfg:1".to_owned() }
}

async fn render(value: Renderable) -> Result<Value, RenderError> {
    let properties: Properties = [
        ("os", json!("linux")),
        ("empty", json!("")),
        ("zero", json!(0)),
        ("none", Value::Null),
        ("list", json!(["a", "b"])),
    ]
    .into_iter()
    .fold(Properties::new(), |mut properties, (name, value)| {
        properties.set(name, value, "Test");
        properties
    });
    let sources = [SourceStamp {
        ssid: SourceStampId(1),
        branch: Some("main".to_owned()),
        revision: None,
        repository: "/srv/repo".to_owned(),
        project: "alpha".to_owned(),
        codebase: "lib".to_owned(),
        created_at: Timestamp::from_micros(0),
        patch: None,
    }];
    let scope = Scope {
        properties: &properties,
        sources: &sources,
        worker: &BTreeMap::from([("numcpus".to_owned(), json!(2))]),
        secrets: &BTreeMap::from([("token".to_owned(), "hush".to_owned())]),
        build_url: "http://localhost:8010/#/builders/1/builds/7",
        build: &Value::Null,
        calls: &Functions,
    };
    scope.render(&value).await
}

fn interpolate(format: &str) -> Renderable {
    Renderable::Interpolate {
        format: format.to_owned(),
        args: Vec::new(),
        kwargs: BTreeMap::from([(
            "what".to_owned(),
            Renderable::Property { name: "os".to_owned(), default: None, default_when_false: true },
        )]),
    }
}

#[tokio::test]
async fn interpolate_knows_all_its_sources_and_substitutions() {
    for (format, wanted) in [
        ("%(prop:os)s", "linux"),
        ("%(prop:gone)s|%(prop:none)s", "|"),
        ("%(prop:gone:-x)s %(prop:empty:-x)s", "x "),
        ("%(prop:gone:~x)s %(prop:empty:~x)s %(prop:zero:~x)s %(prop:os:~x)s", "x x x linux"),
        ("%(prop:os:+x)s %(prop:gone:+x)s", "x "),
        ("%(prop:os:?|y|n)s %(prop:gone:?|y|n)s %(prop:empty:?|y|n)s", "y n y"),
        ("%(prop:os:#?:y:n)s %(prop:zero:#?:y:n)s", "y n"),
        ("%(prop:gone:-%(src:lib:branch)s)s", "main"),
        ("%(src:lib:repository)s@%(src:lib:revision)s", "/srv/repo@"),
        ("%(src:other:branch)s%(src:other:branch:-none)s", "none"),
        ("%(kw:what)s %(kw:gone)s", "linux "),
        ("%(secret:token)s %(worker:numcpus)03d 100%%", "hush 002 100%"),
        ("%(prop:list)s", "['a', 'b']"),
    ] {
        assert_eq!(render(interpolate(format)).await.expect(format), json!(wanted), "{format}");
    }
    assert!(matches!(render(interpolate("%(secret:gone)s")).await, Err(RenderError::UnknownSecret(_))));
}

#[tokio::test]
async fn positional_arguments_are_rendered_and_counted() {
    let positional =
        |args: Vec<Renderable>| Renderable::Interpolate { format: "%s-%d".to_owned(), args, kwargs: BTreeMap::new() };
    let os = Renderable::Property { name: "os".to_owned(), default: None, default_when_false: true };
    let value = render(positional(vec![os, Renderable::literal(3)])).await.expect("renders");
    assert_eq!(value, json!("linux-3"));
    assert!(matches!(
        render(positional(vec![Renderable::literal(1)])).await,
        Err(RenderError::ArgumentCount { wanted: 2, given: 1 })
    ));
}

#[tokio::test]
async fn properties_have_defaults() {
    let property = |name: &str, default_when_false| Renderable::Property {
        name: name.to_owned(),
        default: Some(Box::new(Renderable::literal("d"))),
        default_when_false,
    };
    assert_eq!(render(property("os", true)).await.expect("renders"), json!("linux"));
    assert_eq!(render(property("zero", true)).await.expect("renders"), json!("d"));
    assert_eq!(render(property("zero", false)).await.expect("renders"), json!(0));
    assert_eq!(render(property("gone", false)).await.expect("renders"), json!("d"));
}

#[tokio::test]
async fn containers_functions_and_operators_nest() {
    let os = || Renderable::Property { name: "os".to_owned(), default: None, default_when_false: true };
    let value = Renderable::Dict {
        entries: vec![
            (
                os(),
                Renderable::FlattenList {
                    nested: Box::new(Renderable::List {
                        items: vec![
                            Renderable::literal(json!(["make", ["-j", ["2"]]])),
                            Renderable::Transform {
                                function: Box::new(Renderable::Callable {
                                    callable: function("join"),
                                    args: Vec::new(),
                                    kwargs: BTreeMap::new(),
                                }),
                                args: vec![Renderable::literal("src"), os()],
                                kwargs: BTreeMap::new(),
                            },
                        ],
                    }),
                },
            ),
            (
                Renderable::literal("r"),
                Renderable::Callable { callable: function("renderer"), args: Vec::new(), kwargs: BTreeMap::new() },
            ),
            (
                Renderable::literal("o"),
                Renderable::Operation {
                    operator: Operator::Add,
                    left: Box::new(os()),
                    right: Box::new(Renderable::literal("-x")),
                },
            ),
            (Renderable::literal("u"), Renderable::UrlForBuild),
        ],
    };
    assert_eq!(
        render(value).await.expect("renders"),
        json!({
            "linux": ["make", "-j", "2", "src/linux"],
            "r": "linux",
            "o": "linux-x",
            "u": "http://localhost:8010/#/builders/1/builds/7",
        })
    );
}

#[tokio::test]
async fn with_properties_still_works() {
    let value = Renderable::WithProperties {
        format: "%(os)s %(gone:-x)s %(empty:~y)s %(os:+z)s %(f)s".to_owned(),
        args: Vec::new(),
        lambdas: BTreeMap::from([("f".to_owned(), function("renderer"))]),
    };
    assert_eq!(render(value).await.expect("renders"), json!("linux x y z linux"));
    let value = Renderable::WithProperties {
        format: "%s-%s".to_owned(),
        args: vec!["os".to_owned(), "none".to_owned()],
        lambdas: BTreeMap::new(),
    };
    assert_eq!(render(value).await.expect("renders"), json!("linux-"));
}

#[tokio::test]
async fn failures_name_the_function_and_never_overflow_the_stack() {
    let call =
        |name: &str| Renderable::Callable { callable: function(name), args: Vec::new(), kwargs: BTreeMap::new() };
    let error = render(call("missing")).await.expect_err("fails");
    assert_eq!(error.to_string(), "'missing' (master.cfg:1) failed: no such function");
    assert!(matches!(render(call("endless")).await, Err(RenderError::TooDeep)));
}
