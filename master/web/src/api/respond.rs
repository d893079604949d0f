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
    answer(status, content_type, text)
}

/// What is said of a collection beside its items.
#[derive(Serialize)]
pub(super) struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// Resources: `{"<plural>": [...], "meta": {...}}`.
pub(super) fn items(request: &HttpRequest, plural: &'static str, items: &[Value], meta: Meta) -> HttpResponse {
    json(request, StatusCode::OK, &Body { plural, items, meta })
}

/// Resources that are JSON text already.
pub(super) fn text_items(request: &HttpRequest, plural: &'static str, items: &str, meta: Meta) -> HttpResponse {
    if !wants_json(request) {
        // People are few and patient.
        let items = serde_json::from_str::<Vec<Value>>(items).unwrap_or_default();
        return self::items(request, plural, &items, meta);
    }
    let mut text = Vec::with_capacity(items.len() + plural.len() + 64);
    text.extend_from_slice(b"{\"");
    text.extend_from_slice(plural.as_bytes());
    text.extend_from_slice(b"\":");
    text.extend_from_slice(items.as_bytes());
    text.extend_from_slice(b",\"meta\":");
    serde_json::to_writer(&mut text, &meta).expect("a number and a text");
    text.push(b'}');
    answer(StatusCode::OK, COMPACT, text)
}

/// An answer that is asked for again each time, and only by those who were allowed to see it.
fn answer(status: StatusCode, content_type: &'static str, text: Vec<u8>) -> HttpResponse {
    HttpResponseBuilder::new(status)
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        // The form depends on it; the encoding is added where one is chosen.
        .insert_header((header::VARY, "accept"))
        .content_type(content_type)
        .body(text)
}

struct Body<'a> {
    plural: &'static str,
    items: &'a [Value],
    meta: Meta,
}

impl Serialize for Body<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.plural, self.items)?;
        map.serialize_entry("meta", &self.meta)?;
        map.end()
    }
}
