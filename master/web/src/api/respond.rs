//! JSON answers: compact for programs, indented for people.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::conditional;

const COMPACT: &str = "application/json; charset=utf-8";
const INDENTED: &str = "text/plain; charset=utf-8";

/// How JSON is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Compact,
    Indented,
}

/// JSON as it is sent, with its tag.
pub(crate) struct Text {
    form: Form,
    body: Bytes,
    tag: HeaderValue,
}

/// What is said of a collection beside its items.
#[derive(Serialize)]
pub(super) struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl Form {
    /// The form that a client asks for.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let mut accepts = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
        if accepts.any(|value| value.contains("application/json")) { Self::Compact } else { Self::Indented }
    }

    fn write(self, body: &impl Serialize) -> Text {
        let written = match self {
            Self::Compact => serde_json::to_vec(body),
            Self::Indented => serde_json::to_vec_pretty(body),
        };
        Text::new(self, written.expect("the bodies are made of texts, numbers, lists and maps with text keys"))
    }

    /// Resources: `{"<plural>": [...], "meta": {...}}`.
    pub(super) fn items(self, plural: &'static str, items: &[Value], meta: &Meta) -> Text {
        self.write(&Body { plural, items, meta })
    }

    /// Resources that are JSON text already.
    pub(super) fn text_items(self, plural: &'static str, items: &str, meta: &Meta) -> Text {
        match self {
            // People are few and patient.
            Self::Indented => self.items(plural, &serde_json::from_str::<Vec<Value>>(items).unwrap_or_default(), meta),
            Self::Compact => {
                let mut text = Vec::with_capacity(items.len() + plural.len() + 64);
                text.extend_from_slice(b"{\"");
                text.extend_from_slice(plural.as_bytes());
                text.extend_from_slice(b"\":");
                text.extend_from_slice(items.as_bytes());
                text.extend_from_slice(b",\"meta\":");
                serde_json::to_writer(&mut text, meta).expect("a number and a text");
                text.push(b'}');
                Text::new(self, text)
            }
        }
    }
}

impl Text {
    fn new(form: Form, body: Vec<u8>) -> Self {
        let tag = HeaderValue::try_from(conditional::tag_of(&body).to_string()).expect("it is made of digits");
        Self { form, body: body.into(), tag }
    }

    /// An answer that is asked for again each time, and only by those who were allowed to see it.
    pub(super) fn respond(&self) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "private, no-cache"))
            // The form depends on it; the encoding is added where one is chosen.
            .insert_header((header::VARY, "accept"))
            .insert_header((header::ETAG, self.tag.clone()))
            .content_type(match self.form {
                Form::Compact => COMPACT,
                Form::Indented => INDENTED,
            })
            .body(self.body.clone())
    }
}

/// `body` in the form that the request asks for.
pub(super) fn json(request: &HttpRequest, body: &impl Serialize) -> HttpResponse {
    Form::of(request).write(body).respond()
}

struct Body<'a> {
    plural: &'static str,
    items: &'a [Value],
    meta: &'a Meta,
}

impl Serialize for Body<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.plural, self.items)?;
        map.serialize_entry("meta", self.meta)?;
        map.end()
    }
}
