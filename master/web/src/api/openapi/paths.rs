//! The endpoints as paths and operations.

use serde_json::Value;
use utoipa::openapi::{
    ContentBuilder, HttpMethod, Ref, Required, ResponseBuilder, Schema,
    path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathItemBuilder},
    schema::{ObjectBuilder, Type},
};

use super::{
    controls::{self, CONTROLS},
    schemas::{list_of, simple},
};

/// Last parts of paths that are literal and yet name a single resource or a download.
const SINGLES: [&str; 3] = ["properties", "contents", "commits_common_parent"];
const DOWNLOADS: [&str; 3] = ["raw", "raw_inline", "value"];

/// Patterns that differ only in their parameters (by id, by name): they are one path in OpenAPI.
pub(super) struct Template<'a> {
    endpoint: &'a Value,
    /// For each parameter: its names, and whether it is always a number.
    parameters: Vec<(Vec<String>, bool)>,
    last: String,
}

impl<'a> Template<'a> {
    pub(super) fn new(endpoint: &'a Value) -> Self {
        Self { endpoint, parameters: Vec::new(), last: String::new() }
    }

    pub(super) fn add(&mut self, parts: &[&str]) {
        let named = parts.iter().filter_map(|part| part.split_once(':'));
        for (n, (kind, name)) in named.enumerate() {
            if self.parameters.len() == n {
                self.parameters.push((Vec::new(), true));
            }
            let (names, is_number) = &mut self.parameters[n];
            *is_number &= kind == "n";
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        self.last = parts.last().copied().unwrap_or_default().to_owned();
    }

    /// The path with its parameters' names.
    pub(super) fn path(&self, shape: &str) -> String {
        let mut path = shape.to_owned();
        for (names, _) in &self.parameters {
            path = path.replacen("{}", &format!("{{{}}}", names.join("_or_")), 1);
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }

    /// What can be done with it.
    pub(super) fn item(&self, shape: &str) -> PathItem {
        let parameters = self.parameters.iter().map(|(names, is_number)| {
            let schema = if *is_number {
                simple(Type::Integer, false).minimum(Some(0)).maximum(Some(i64::MAX))
            } else {
                simple(Type::String, false).min_length(Some(1))
            };
            ParameterBuilder::new()
                .name(names.join("_or_"))
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(schema))
                .build()
        });
        let item = PathItemBuilder::new()
            .parameters(Some(parameters.collect::<Vec<_>>()))
            .operation(HttpMethod::Get, self.get(shape));
        match CONTROLS.iter().find(|(path, _)| *path == shape) {
            Some((_, methods)) => item.operation(HttpMethod::Post, controls::operation(shape, methods)).build(),
            None => item.build(),
        }
    }

    fn get(&self, shape: &str) -> Operation {
        let is_single = self.last.contains(':') || SINGLES.contains(&self.last.as_str());
        let plural = self.endpoint["plural"].as_str().unwrap_or_default();
        let resource = self.endpoint["type"].as_str().unwrap_or_default();
        let operation = OperationBuilder::new()
            .operation_id(Some(format!("get{}", shape.replace("/{}", "/one").replace(['/', '.'], "_"))))
            .tag(resource)
            .response("400", Ref::from_response_name("bad_query"))
            .response("403", Ref::from_response_name("forbidden"))
            .response("404", Ref::from_response_name("not_found"))
            .response("429", Ref::from_response_name("too_many"))
            .response("503", Ref::from_response_name("unavailable"));
        if DOWNLOADS.contains(&self.last.as_str()) {
            let answer = ResponseBuilder::new()
                .description("The bytes.")
                .content("text/plain", ContentBuilder::new().build())
                .content("text/html", ContentBuilder::new().build())
                .content("application/octet-stream", ContentBuilder::new().build());
            return operation.response("200", answer.build()).build();
        }
        let meta: utoipa::openapi::RefOr<Schema> =
            if is_single { simple(Type::Object, false).into() } else { Ref::from_schema_name("_meta").into() };
        let body = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property(plural, list_of(Ref::from_schema_name(resource)))
            .property("meta", meta)
            .required(plural)
            .required("meta");
        let content = ContentBuilder::new().schema(Some(body)).build();
        // Who does not ask for JSON gets the same indented, as a text.
        let answer = ResponseBuilder::new()
            .description(if is_single { "The resource, in a list of one." } else { "The resources." })
            .content("application/json", content.clone())
            .content("text/plain", content);
        let answer = if self.last == "contents" {
            // Asked for by `Accept`: records `lines` and `complete`.
            answer.content("text/event-stream", ContentBuilder::new().schema(Some(simple(Type::String, false))).build())
        } else {
            answer
        };
        operation.response("200", answer.build()).parameters(Some(self.query(is_single, resource))).build()
    }

    fn query(&self, is_single: bool, resource: &str) -> Vec<Parameter> {
        let query = |name: &str, what: &str| {
            ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(what.to_owned()))
        };
        let list = |name: &str, what: &str| {
            let schema = list_of(simple(Type::String, false));
            query(name, what).explode(Some(true)).required(Required::False).schema(Some(schema)).build()
        };
        let number = |name: &str, what: &str| {
            let schema = simple(Type::Integer, false).minimum(Some(0));
            query(name, what).required(Required::False).schema(Some(schema)).build()
        };
        let mut parameters = vec![list("field", "Only these fields; the others are left out of the items.")];
        if !is_single {
            parameters.push(list("order", "Sort by these fields; `-` before the name for descending."));
        }
        if !is_single || self.last == "contents" {
            parameters.push(number("limit", "At most so many."));
            parameters.push(number("offset", "Skip so many."));
        }
        if !is_single {
            let what = "Pages that go on after each other: empty for the first, then `meta.next` of the page before. \
                Small collections, and those whose items have no id, do not know it.";
            let schema = simple(Type::String, false);
            parameters.push(query("after", what).required(Required::False).schema(Some(schema)).build());
        }
        if self.last == "contents" {
            parameters.push(number(
                "wait",
                "Of a log that grows: seconds to wait for lines after `offset`, at most 60; `meta` says then whether the \
                 log is complete.",
            ));
        }
        if matches!(resource, "build" | "buildrequest") {
            parameters.push(list("property", "Fill in these properties; `*` for all."));
        }
        parameters
    }
}
