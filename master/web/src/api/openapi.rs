//! `/api/openapi.json`: the API as an OpenAPI 3.1 document, made of the same tables that answer requests
//! (`application.spec`), so that it cannot lag behind them.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use buildguild_types::spec::ResultSpec;
use serde_json::{Map, Value, json};

use super::{error::ApiError, respond};
use crate::{
    Answer,
    auth::{access, user_of},
    state::AppState,
};

/// Last parts of paths that are literal and yet name a single resource or a download.
const SINGLES: [&str; 3] = ["properties", "contents", "commits_common_parent"];
const DOWNLOADS: [&str; 3] = ["raw", "raw_inline", "value"];
/// Control calls: the template of the path, with its methods.
const CONTROLS: [(&str, &[&str]); 6] = [
    ("/builds/{}", &["stop", "rebuild"]),
    ("/buildrequests/{}", &["cancel", "set_priority"]),
    ("/buildsets/{}", &["cancel"]),
    ("/forceschedulers/{}", &["force"]),
    ("/schedulers/{}", &["enable"]),
    ("/workers/{}", &["pause", "unpause", "stop", "kill"]),
];

/// `GET /api/openapi.json`.
pub(crate) async fn openapi(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    match document(&request, &state).await {
        Ok(document) => respond::json(&request, StatusCode::OK, &document),
        Err(error) => error.respond(),
    }
}

async fn document(request: &HttpRequest, state: &AppState) -> Result<Value, ApiError> {
    access::check(state, request, &user_of(request, state), access::Request::Read).await?;
    let endpoints = match state.backend.get(&["application.spec"], &ResultSpec::default()).await? {
        Answer::Items { items, .. } => items,
        Answer::Text { items, .. } => serde_json::from_str(&items).unwrap_or_default(),
        Answer::Raw { .. } => Vec::new(),
    };
    let base = state.farm().buildbot_url.trim_end_matches('/').to_owned();
    Ok(generate(&endpoints, &format!("{base}/api/v2")))
}

/// The document for the items of `application.spec`.
fn generate(endpoints: &[Value], server: &str) -> Value {
    let types: BTreeSet<&str> = endpoints.iter().filter_map(|endpoint| endpoint["type"].as_str()).collect();
    let mut schemas = Map::new();
    let mut paths: BTreeMap<String, Template> = BTreeMap::new();
    for endpoint in endpoints {
        if let Some(name) = endpoint["type"].as_str() {
            schemas.entry(name).or_insert_with(|| resource_schema(&endpoint["type_spec"], &types));
        }
        let parts: Vec<&str> =
            endpoint["path"].as_str().unwrap_or_default().split('/').filter(|p| !p.is_empty()).collect();
        let shape: String =
            parts.iter().map(|p| if p.contains(':') { "/{}".to_owned() } else { format!("/{p}") }).collect();
        // Patterns that differ only in their parameters (by id, by name) are one path in OpenAPI.
        paths.entry(shape).or_insert_with(|| Template::new(endpoint)).add(&parts);
    }
    let methods: BTreeMap<&str, &[&str]> = CONTROLS.into_iter().collect();
    let paths: Map<String, Value> = paths
        .into_iter()
        .map(|(shape, template)| {
            let mut item = json!({ "parameters": template.parameters(), "get": template.get(&shape) });
            if let Some(methods) = methods.get(shape.as_str()) {
                item["post"] = control(&shape, methods);
            }
            (template.path(&shape), item)
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Buildguild",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The REST API of Buildbot 4. Any field of a collection can also be used as a filter: \
                `field=value`, or `field__op=value` with eq, ne, lt, le, gt, ge, contains, in, notin.",
        },
        "servers": [{ "url": server }],
        "paths": paths,
        "components": {
            "schemas": with_meta(schemas),
            "responses": {
                "bad_query": error_response("The query does not fit the resource type."),
                "not_found": error_response("No such path or object."),
            },
            "securitySchemes": { "session": { "type": "apiKey", "in": "cookie", "name": "TWISTED_SESSION" } },
        },
    })
}

/// The patterns that make one path.
struct Template<'a> {
    endpoint: &'a Value,
    /// For each parameter: its names, and whether it is always a number.
    parameters: Vec<(Vec<String>, bool)>,
    last: String,
}

impl<'a> Template<'a> {
    fn new(endpoint: &'a Value) -> Self {
        Self { endpoint, parameters: Vec::new(), last: String::new() }
    }

    fn add(&mut self, parts: &[&str]) {
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

    fn path(&self, shape: &str) -> String {
        let mut path = shape.to_owned();
        for (names, _) in &self.parameters {
            path = path.replacen("{}", &format!("{{{}}}", names.join("_or_")), 1);
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }

    fn parameters(&self) -> Vec<Value> {
        let schema = |is_number| {
            if is_number { json!({ "type": "integer", "minimum": 0 }) } else { json!({ "type": "string" }) }
        };
        let one = |(names, is_number): &(Vec<String>, bool)| json!({ "name": names.join("_or_"), "in": "path", "required": true, "schema": schema(*is_number) });
        self.parameters.iter().map(one).collect()
    }

    fn get(&self, shape: &str) -> Value {
        let is_single = self.last.contains(':') || SINGLES.contains(&self.last.as_str());
        let plural = self.endpoint["plural"].as_str().unwrap_or_default();
        let resource = self.endpoint["type"].as_str().unwrap_or_default();
        let operation = format!("get{}", shape.replace("/{}", "/one").replace(['/', '.'], "_"));
        let (content, query) = if DOWNLOADS.contains(&self.last.as_str()) {
            (json!({ "*/*": {} }), Vec::new())
        } else {
            let meta =
                if is_single { json!({ "type": "object" }) } else { json!({ "$ref": "#/components/schemas/_meta" }) };
            let list = json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{resource}") } });
            let properties = json!({ plural: list, "meta": meta });
            let body = json!({ "type": "object", "required": [plural, "meta"], "properties": properties });
            (json!({ "application/json": { "schema": body } }), self.query(is_single, resource))
        };
        json!({
            "operationId": operation,
            "tags": [resource],
            "parameters": query,
            "responses": {
                "200": { "description": "The resources.", "content": content },
                "400": { "$ref": "#/components/responses/bad_query" },
                "404": { "$ref": "#/components/responses/not_found" },
            },
        })
    }

    fn query(&self, is_single: bool, resource: &str) -> Vec<Value> {
        let list = |name: &str, what: &str| {
            let schema = json!({ "type": "array", "items": { "type": "string" } });
            json!({ "name": name, "in": "query", "description": what, "explode": true, "schema": schema })
        };
        let number = |name: &str, what: &str| {
            let schema = json!({ "type": "integer", "minimum": 0 });
            json!({ "name": name, "in": "query", "description": what, "schema": schema })
        };
        let mut query = vec![list("field", "Only these fields.")];
        if !is_single {
            query.push(list("order", "Sort by these fields; `-` before the name for descending."));
        }
        if !is_single || self.last == "contents" {
            query.push(number("limit", "At most so many."));
            query.push(number("offset", "Skip so many."));
        }
        if matches!(resource, "build" | "buildrequest") {
            query.push(list("property", "Fill in these properties; `*` for all."));
        }
        query
    }
}

fn control(shape: &str, methods: &[&str]) -> Value {
    let text_or_number = json!({ "type": ["string", "number", "null"] });
    let call = json!({
        "type": "object",
        "required": ["jsonrpc", "method", "params", "id"],
        "properties": {
            "jsonrpc": { "const": "2.0" },
            "method": { "enum": methods },
            "params": { "type": "object" },
            "id": text_or_number,
        },
    });
    let answer = |what: &str| json!({ "description": what, "content": { "application/json": { "schema": { "type": "object" } } } });
    json!({
        "operationId": format!("control{}", shape.replace("/{}", "").replace('/', "_")),
        "tags": ["control"],
        "security": [{ "session": [] }, {}],
        "requestBody": { "required": true, "content": { "application/json": { "schema": call } } },
        "responses": {
            "200": answer("Done; `result` is the method's."),
            "400": answer("The call is wrong; for `force`, `error.message` is an object from field to text."),
            "403": answer("Not allowed."),
            "404": answer("No such object."),
            "501": answer("No such method."),
        },
    })
}

fn with_meta(mut schemas: Map<String, Value>) -> Map<String, Value> {
    let meta = json!({ "type": "object", "required": ["total"], "properties": { "total": { "type": "integer" } } });
    schemas.insert("_meta".to_owned(), meta);
    schemas
}

fn error_response(what: &str) -> Value {
    let schema = json!({ "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } });
    json!({ "description": what, "content": { "text/plain": { "schema": schema } } })
}

fn resource_schema(type_spec: &Value, types: &BTreeSet<&str>) -> Value {
    let fields = type_spec["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = fields.iter().filter_map(|field| Some((field["name"].as_str()?, &field["type_spec"])));
    let properties: Map<String, Value> =
        named.map(|(name, type_spec)| (name.to_owned(), field_schema(type_spec, types))).collect();
    if properties.is_empty() {
        return json!({ "type": "object" });
    }
    json!({ "type": "object", "properties": properties })
}

fn field_schema(type_spec: &Value, types: &BTreeSet<&str>) -> Value {
    if type_spec["type"] == "list" {
        return json!({ "type": "array", "items": field_schema(&type_spec["of"], types) });
    }
    let can_be_null = type_spec["can_be_null"] == true;
    let simple = |name: &str| if can_be_null { json!({ "type": [name, "null"] }) } else { json!({ "type": name }) };
    match type_spec["name"].as_str().unwrap_or_default() {
        "integer" => simple("integer"),
        "datetime" => {
            let mut schema = simple("integer");
            schema["description"] = "Seconds since 1970-01-01 UTC.".into();
            schema
        }
        "string" | "identifier" => simple("string"),
        "boolean" => simple("boolean"),
        name if types.contains(name) => {
            let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
            if can_be_null { json!({ "anyOf": [reference, { "type": "null" }] }) } else { reference }
        }
        // Opaque JSON.
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(path: &str, plural: &str, resource: &str) -> Value {
        json!({ "path": path, "plural": plural, "type": resource, "type_spec": { "type": resource, "fields": [
            { "name": "builderid", "type_spec": { "name": "integer" } },
            { "name": "tags", "type_spec": { "type": "list", "of": { "name": "string" } } },
            { "name": "description", "type_spec": { "name": "string", "can_be_null": true } },
        ] } })
    }

    #[test]
    fn patterns_become_paths_and_types_schemas() {
        let document = generate(
            &[
                endpoint("", "rootlinks", "rootlink"),
                endpoint("builders", "builders", "builder"),
                endpoint("builders/n:builderid", "builders", "builder"),
                endpoint("builders/s:buildername", "builders", "builder"),
                endpoint("builds/n:buildid", "builds", "build"),
                endpoint("logs/n:logid/raw", "logchunks", "logchunk"),
            ],
            "http://x/api/v2",
        );
        let paths: Vec<_> = document["paths"].as_object().expect("an object").keys().map(String::as_str).collect();
        let expected =
            ["/", "/builders", "/builders/{builderid_or_buildername}", "/builds/{buildid}", "/logs/{logid}/raw"];
        assert_eq!(paths, expected);
        let one = &document["paths"]["/builders/{builderid_or_buildername}"];
        assert_eq!(one["parameters"][0]["schema"]["type"], "string");
        assert_eq!(document["paths"]["/builds/{buildid}"]["parameters"][0]["schema"]["type"], "integer");
        assert!(document["paths"]["/builds/{buildid}"]["post"].is_object());
        let builder = &document["components"]["schemas"]["builder"]["properties"];
        assert_eq!(builder["tags"], json!({ "type": "array", "items": { "type": "string" } }));
        assert_eq!(builder["description"], json!({ "type": ["string", "null"] }));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = generate(&[endpoint("builders", "builders", "builder")], "http://x");
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("its end");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
