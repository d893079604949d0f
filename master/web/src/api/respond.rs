//! JSON answers: compact for programs, indented for people.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use serde::Serialize;
use serde_json::Value;

const COMPACT: &str = "application/json; charset=utf-8";
const INDENTED: &str = "text/plain; charset=utf-8";

/// Whether the client asked for JSON as such.
fn wants_json(request: &HttpRequest) -> bool {
    let accepts = request.headers().get_all(header::ACCEPT);
    accepts.into_iter().filter_map(|value| value.to_str().ok()).any(|value| value.contains("application/json"))
}

/// `body` in the form that the request asks for.
pub(super) fn json(request: &HttpRequest, status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let (content_type, text) = if wants_json(request) {
        (COMPACT, serde_json::to_vec(body))
    } else {
        (INDENTED, serde_json::to_vec_pretty(body))
    };
    let text = text.expect("the bodies are made of texts, numbers, lists and maps with text keys");
    HttpResponseBuilder::new(status).content_type(content_type).body(text)
}

/// Resources: `{"<plural>": [...], "meta": {...}}`.
pub(super) fn items(request: &HttpRequest, plural: &'static str, items: &[Value], total: Option<u64>) -> HttpResponse {
    json(request, StatusCode::OK, &Body { plural, items, total })
}

/// Resources that are JSON text already.
pub(super) fn text_items(request: &HttpRequest, plural: &'static str, items: &str, total: Option<u64>) -> HttpResponse {
    if !wants_json(request) {
        // People are few and patient.
        let items = serde_json::from_str::<Vec<Value>>(items).unwrap_or_default();
        return self::items(request, plural, &items, total);
    }
    let mut text = String::with_capacity(items.len() + plural.len() + 48);
    text.push_str("{\"");
    text.push_str(plural);
    text.push_str("\":");
    text.push_str(items);
    text.push_str(",\"meta\":{");
    if let Some(total) = total {
        text.push_str("\"total\":");
        text.push_str(&total.to_string());
    }
    text.push_str("}}");
    HttpResponse::Ok().content_type(COMPACT).body(text)
}

struct Body<'a> {
    plural: &'static str,
    items: &'a [Value],
    total: Option<u64>,
}

impl Serialize for Body<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        #[derive(Serialize)]
        struct Meta {
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<u64>,
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.plural, self.items)?;
        map.serialize_entry("meta", &Meta { total: self.total })?;
        map.end()
    }
}
