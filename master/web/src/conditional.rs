//! Answers that a client may keep: entity tags, and 304 for whoever has the answer already.
//!
//! A tag is a hash of the text, made when the text is there: asking again saves the transfer, not the read. It is weak,
//! because the same text leaves compressed in several ways. Answers of the API are never used without asking, because
//! even a finished build changes (it is deleted some day), and never by others, because rules may say who sees what.

use std::hash::Hasher;

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody, None as NoBody},
    http::{
        Method, StatusCode,
        header::{self, EntityTag, Header, HeaderValue, IfNoneMatch},
    },
};

/// Gives an answer to a read its tag, and leaves its body out if the client has it. An answer that is streamed is left as
/// it is, unless it has a tag already.
pub(crate) fn answer(request: &HttpRequest, response: HttpResponse) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) || response.status() != StatusCode::OK {
        return response;
    }
    let given = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()?.parse().ok());
    let (mut response, body) = response.into_parts();
    let (tag, body) = match (given, body.try_into_bytes()) {
        (Some(tag), Ok(body)) => (tag, BoxBody::new(body)),
        (None, Ok(body)) => {
            let tag = tag_of(&body);
            if let Ok(value) = HeaderValue::from_str(&tag.to_string()) {
                response.headers_mut().insert(header::ETAG, value);
            }
            (tag, BoxBody::new(body))
        }
        (Some(tag), Err(stream)) => (tag, stream),
        (None, Err(stream)) => return response.set_body(stream),
    };
    if !has(request, &tag) {
        return response.set_body(body);
    }
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for of_the_body in [header::CONTENT_TYPE, header::CONTENT_DISPOSITION] {
        response.headers_mut().remove(of_the_body);
    }
    response.set_body(BoxBody::new(NoBody::new()))
}

/// The same for the same text, in one version of the program: another one may hash otherwise, and clients ask once more.
pub(crate) fn tag_of(body: &[u8]) -> EntityTag {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(body);
    EntityTag::new_weak(format!("{:x}-{:016x}", body.len(), hasher.finish()))
}

/// Whether the client says that it has what `tag` stands for.
fn has(request: &HttpRequest, tag: &EntityTag) -> bool {
    request.headers().contains_key(header::IF_NONE_MATCH)
        && match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(tag)),
            // What is no list of tags names none.
            Err(_) => false,
        }
}
