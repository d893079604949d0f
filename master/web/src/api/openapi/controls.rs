//! The control calls as operations.

use serde_json::Value;
use utoipa::openapi::{
    Content, ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
    path::{Operation, OperationBuilder},
    request_body::RequestBodyBuilder,
    schema::{AnyOfBuilder, ObjectBuilder, SchemaType, Type},
    security::SecurityRequirement,
};

use super::schemas::{anything, simple};

/// A method of a control call.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// Names of its parameters, their types, and whether they are required.
    params: &'static [(&'static str, Type, bool)],
    what: &'static str,
}

const REASON: (&str, Type, bool) = ("reason", Type::String, false);

const fn method(name: &'static str, params: &'static [(&'static str, Type, bool)], what: &'static str) -> Method {
    Method { name, params, what }
}

/// The control calls: the shape of the path with the methods it knows.
pub(super) const CONTROLS: &[(&str, &[Method])] = &[
    (
        "/builds/{}",
        &[
            method("stop", &[REASON], "Stops the build. A finished one stays as it is."),
            method("rebuild", &[], "Builds the same again; the result is `[bsid, {builderid: buildrequestid}]`."),
        ],
    ),
    (
        "/buildrequests/{}",
        &[
            method("cancel", &[REASON], "Cancels the request; if its build runs, stops it."),
            method("set_priority", &[("priority", Type::Integer, true)], "Changes its place in the queue."),
        ],
    ),
    ("/buildsets/{}", &[method("cancel", &[REASON], "Cancels all requests that are not complete.")]),
    (
        "/forceschedulers/{}",
        &[method(
            "force",
            &[("builderid", Type::Integer, false), ("builderNames", Type::Array, false)],
            "Forces a build; other parameters are the form's values by `fullName`. The result is \
             `[bsid, {builderid: buildrequestid}]`.",
        )],
    ),
    ("/masters/{}", &[method("drain", &[REASON], "Lets it finish its builds, take no more, and leave the cluster.")]),
    ("/schedulers/{}", &[method("enable", &[("enabled", Type::Boolean, true)], "Enables or disables the scheduler.")]),
    (
        "/workers/{}",
        &[
            method("pause", &[REASON], "Gives it no new builds."),
            method("unpause", &[], "Gives it builds again."),
            method("stop", &[REASON], "Lets it finish its builds and leave."),
            method("kill", &[REASON], "Disconnects it; its builds are tried again."),
        ],
    ),
    (
        "/changes",
        &[method(
            "submit",
            &[("author", Type::String, true), ("comments", Type::String, true), ("revision", Type::String, false)],
            "Adds a change; further parameters are a change's fields. The result is its id.",
        )],
    ),
];

fn params_schema(method: &Method) -> Schema {
    let builder = method.params.iter().fold(
        ObjectBuilder::new().schema_type(Type::Object),
        |builder, (name, kind, is_required)| {
            let builder = builder.property(*name, simple(kind.clone(), false));
            if *is_required { builder.required(*name) } else { builder }
        },
    );
    builder.description(Some(method.what)).build().into()
}

/// `{"jsonrpc": "2.0", "method": ..., "params": ..., "id": ...}` for one method.
fn call_schema(method: &Method) -> Schema {
    let exactly = |text: &'static str| simple(Type::String, false).enum_values(Some([text]));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .title(Some(method.name))
        .property("jsonrpc", exactly("2.0"))
        .required("jsonrpc")
        .property("method", exactly(method.name))
        .required("method")
        .property("params", params_schema(method))
        .required("params")
        .property(
            "id",
            ObjectBuilder::new().schema_type(SchemaType::Array(vec![Type::String, Type::Integer, Type::Null])),
        )
        .required("id")
        .build()
        .into()
}

fn json(schema: impl Into<RefOr<Schema>>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

/// The answer of a call that went well.
pub(super) fn result_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("jsonrpc", simple(Type::String, false))
        .property("id", anything())
        .property("result", anything())
        .required("jsonrpc")
        .required("id")
        .required("result")
        .build()
        .into()
}

/// The answer of a call that did not.
pub(super) fn error_schema() -> Schema {
    let message: Schema = AnyOfBuilder::new()
        .item(simple(Type::String, false))
        .item(
            simple(Type::Object, false)
                .description(Some("Of a force form: from the field's `fullName` to what is wrong with it."))
                .additional_properties(Some(RefOr::T(Schema::from(simple(Type::String, false))))),
        )
        .build()
        .into();
    let error = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("code", simple(Type::Integer, false))
        .property("message", message)
        .required("message");
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("jsonrpc", simple(Type::String, false))
        .property("id", anything())
        .property("error", error)
        .required("error")
        .build()
        .into()
}

fn answer(what: &str, schema: &str) -> Response {
    let content = json(Ref::from_schema_name(schema));
    ResponseBuilder::new().description(what).content("application/json", content).build()
}

/// `POST` to a path of `shape`.
pub(super) fn operation(shape: &str, methods: &[Method]) -> Operation {
    let body: Schema = match methods {
        [one] => call_schema(one),
        several => {
            let one_of = several.iter().fold(AnyOfBuilder::new(), |builder, method| builder.item(call_schema(method)));
            one_of.build().into()
        }
    };
    let names: Vec<&str> = methods.iter().map(|method| method.name).collect();
    let example = serde_json::json!({ "jsonrpc": "2.0", "method": names.first(), "params": Value::Object(serde_json::Map::new()), "id": 1 });
    let content = ContentBuilder::new().schema(Some(body)).example(Some(example)).build();
    OperationBuilder::new()
        .operation_id(Some(format!("control{}", shape.replace("/{}", "").replace('/', "_"))))
        .summary(Some(format!("Control by JSON-RPC: {}.", names.join(", "))))
        .tag("control")
        .securities(Some([SecurityRequirement::new("session", Vec::<String>::new()), SecurityRequirement::default()]))
        .request_body(Some(
            RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", content).build(),
        ))
        .response("200", answer("Done; `result` is the method's.", "_result"))
        .response("400", answer("The call is wrong.", "_rpc_error"))
        .response("403", answer("Not allowed.", "_rpc_error"))
        .response("404", answer("No such object.", "_rpc_error"))
        .response("409", answer("Not possible in the state it is in.", "_rpc_error"))
        .response("413", answer("The body is too large.", "_rpc_error"))
        .response("501", answer("No such method.", "_rpc_error"))
        .build()
}
