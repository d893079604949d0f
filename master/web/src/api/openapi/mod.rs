//! `/api/openapi.json`: the API as an OpenAPI 3.1 document. It is built with `utoipa`'s model of such documents from the
//! same tables that answer requests (`application.spec`), so that it cannot lag behind them: there is no handler per
//! endpoint that could be annotated.

mod controls;
mod paths;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpRequest, HttpResponse, web};
use buildguild_types::spec::ResultSpec;
use serde_json::Value;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, Response,
    ResponseBuilder, ServerBuilder,
    schema::{ObjectBuilder, Type},
    security::{ApiKey, ApiKeyValue, SecurityScheme},
};

use self::paths::Template;
use super::{error::ApiError, respond};
use crate::{
    auth::{access, user_of},
    conditional,
    state::AppState,
};

/// `GET /api/openapi.json`.
pub(crate) async fn openapi(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    match document(&request, &state).await {
        Ok(document) => conditional::answer(&request, respond::json(&request, &document)),
        Err(error) => error.respond(),
    }
}

async fn document(request: &HttpRequest, state: &AppState) -> Result<OpenApi, ApiError> {
    access::check(state, request, &user_of(request, state), access::Request::Read).await?;
    let endpoints = state.backend.get(&["application.spec"], &ResultSpec::default()).await?.into_items();
    let base = state.farm().buildbot_url.trim_end_matches('/').to_owned();
    Ok(generate(&endpoints, &format!("{base}/api/v2")))
}

/// The document for the items of `application.spec`.
fn generate(endpoints: &[Value], server: &str) -> OpenApi {
    let types: BTreeSet<&str> = endpoints.iter().filter_map(|endpoint| endpoint["type"].as_str()).collect();
    let mut resources = BTreeMap::new();
    let mut templates: BTreeMap<String, Template> = BTreeMap::new();
    for endpoint in endpoints {
        if let Some(name) = endpoint["type"].as_str() {
            resources.entry(name).or_insert_with(|| schemas::resource(name, &endpoint["type_spec"], &types));
        }
        let parts: Vec<&str> =
            endpoint["path"].as_str().unwrap_or_default().split('/').filter(|p| !p.is_empty()).collect();
        let shape: String =
            parts.iter().map(|p| if p.contains(':') { "/{}".to_owned() } else { format!("/{p}") }).collect();
        templates.entry(shape).or_insert_with(|| Template::new(endpoint)).add(&parts);
    }
    let paths = templates
        .into_iter()
        .fold(PathsBuilder::new(), |paths, (shape, template)| paths.path(template.path(&shape), template.item(&shape)));
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("TWISTED_SESSION")));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(resources)
        .schemas_from_iter(schemas::helpers())
        .schema("_result", controls::result_schema())
        .schema("_rpc_error", controls::error_schema())
        .schema("_error", error_schema())
        .response("bad_query", error("The query does not fit the resource type."))
        .response("forbidden", error("Not allowed."))
        .response("not_found", error("No such path or object."))
        .response("too_many", error("Too many requests; `Retry-After` says when to come back."))
        .response("unavailable", error("Not now; `Retry-After` says when to come back."))
        .security_scheme("session", cookie);
    let description = "The REST API of Buildbot 4. Any field of a collection can also be used as a filter: \
        `field=value`, or `field__op=value` with eq, ne, lt, le, gt, ge, contains, in, notin.";
    let info = InfoBuilder::new().title("Buildguild").version(env!("CARGO_PKG_VERSION")).description(Some(description));
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(server).build()]))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn error_schema() -> utoipa::openapi::schema::Object {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("error", schemas::simple(Type::String, false))
        .required("error")
        .build()
}

fn error(what: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("_error"))).build();
    ResponseBuilder::new().description(what).content("text/plain", content).build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json_of(document: OpenApi) -> Value {
        serde_json::to_value(document).expect("a document is JSON")
    }

    fn endpoint(path: &str, plural: &str, resource: &str) -> Value {
        json!({ "path": path, "plural": plural, "type": resource, "type_spec": { "type": resource, "fields": [
            { "name": "builderid", "type_spec": { "name": "integer" } },
            { "name": "tags", "type_spec": { "type": "list", "of": { "name": "string" } } },
            { "name": "description", "type_spec": { "name": "string", "can_be_null": true } },
        ] } })
    }

    #[test]
    fn patterns_become_paths_and_types_schemas() {
        let document = json_of(generate(
            &[
                endpoint("", "rootlinks", "rootlink"),
                endpoint("builders", "builders", "builder"),
                endpoint("builders/n:builderid", "builders", "builder"),
                endpoint("builders/s:buildername", "builders", "builder"),
                endpoint("builds/n:buildid", "builds", "build"),
                endpoint("logs/n:logid/raw", "logchunks", "logchunk"),
            ],
            "http://x/api/v2",
        ));
        assert_eq!(document["openapi"], "3.1.0");
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
        let types = ["build", "buildset", "sourcestamp", "change", "step", "worker", "forcescheduler"];
        let endpoints: Vec<Value> = types.iter().map(|name| endpoint(&format!("{name}s"), name, name)).collect();
        let document = json_of(generate(&endpoints, "http://x"));
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("its end");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
