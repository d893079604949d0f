//! `GET`: from path and query to the answer.

use std::{cell::Cell, rc::Rc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        header::{self, EntityTag, HeaderValue},
        uri::PathAndQuery,
    },
    web,
};
use buildguild_types::spec::ResultSpec;
use futures::StreamExt;

use super::{
    error::ApiError,
    follow,
    respond::{Form, Meta, Text},
    shared::SharedReads,
};
use crate::{
    Answer,
    auth::{access, user_of},
    query::parse_spec,
    state::AppState,
};

/// Answers a read.
pub(super) async fn handle(request: &HttpRequest, state: &web::Data<AppState>, path: &[&str]) -> HttpResponse {
    match read(request, state, path).await {
        Ok(response) => response,
        Err(error) => error.respond(),
    }
}

async fn read(request: &HttpRequest, state: &web::Data<AppState>, path: &[&str]) -> Result<HttpResponse, ApiError> {
    access::check(state, request, &user_of(request, state), access::Request::Read).await?;
    let mut spec = parse_spec(request.query_string())?;
    if let Some(follow) = follow::wanted(request, path)? {
        spec.filters.retain(|filter| filter.field != "wait");
        return follow::answer(request, state, path, &spec, follow).await;
    }
    let form = Form::of(request);
    let question = Question { form, path: request.uri().path_and_query().cloned() };
    let reads = request.app_data::<web::Data<Reads>>().expect("every web thread has its reads");
    let answer = async {
        let read = || find(state, path, &spec, form);
        match reads.get(&question, read).await?.take() {
            Some(response) => Ok(response),
            None => Ok(read().await?.take().expect("nobody else has it")),
        }
    };
    tokio::time::timeout(state.options.read_timeout, answer).await.unwrap_or(Err(ApiError::TimedOut))
}

/// What is read: equal questions have equal answers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    form: Form,
    path: Option<PathAndQuery>,
}

/// Whoever may read at all gets the same answer.
pub(crate) type Reads = SharedReads<Question, Result<Found, ApiError>>;

/// An answer for all who asked.
#[derive(Clone)]
pub(crate) enum Found {
    Resources(Rc<Text>),
    /// What streams can go to one of them only; the others read it for themselves.
    Download(Rc<Cell<Option<HttpResponse>>>),
}

impl Found {
    /// The answer, unless it was a download and somebody else has it.
    fn take(&self) -> Option<HttpResponse> {
        match self {
            Self::Resources(text) => Some(text.respond()),
            Self::Download(response) => response.take(),
        }
    }
}

/// Reads an answer.
fn find(
    state: &web::Data<AppState>,
    path: &[&str],
    spec: &ResultSpec,
    form: Form,
) -> impl Future<Output = Result<Found, ApiError>> + use<> {
    let (state, spec) = (state.clone(), spec.clone());
    let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
    async move {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Ok(match state.backend.get(&path, &spec).await? {
            Answer::Items { plural, items, total } => {
                Found::Resources(Rc::new(form.items(plural, &items, &Meta { total, next: None })))
            }
            Answer::Text { plural, items, total, next } => {
                Found::Resources(Rc::new(form.text_items(plural, &items, &Meta { total, next })))
            }
            Answer::Raw { mime_type, filename, tag, body } => {
                let response = download(&mime_type, filename.as_deref(), tag, body);
                Found::Download(Rc::new(Cell::new(Some(response))))
            }
        })
    }
}

/// A download, streamed as it is read.
fn download(
    mime_type: &str,
    filename: Option<&str>,
    tag: Option<String>,
    body: futures::stream::BoxStream<'static, Result<bytes::Bytes, crate::ReadError>>,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type(mime_type);
    match filename {
        Some(filename) => {
            if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename={}", quoted(filename))) {
                response.insert_header((header::CONTENT_DISPOSITION, value));
            }
        }
        // What a job printed is shown in place: it must not run as a page of this site.
        None => {
            response.insert_header((header::CONTENT_SECURITY_POLICY, "sandbox"));
        }
    }
    if let Some(tag) = tag {
        response.insert_header((header::ETAG, EntityTag::new_weak(tag).to_string()));
    }
    response.insert_header((header::CACHE_CONTROL, "private, no-cache"));
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    response.streaming(body.map(|chunk| chunk.map_err(|error| ApiError::from(error).to_string())))
}

/// A file name as a header parameter (RFC 6266): a token as it is, everything else quoted.
fn quoted(filename: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$&+-.^_`|~".contains(c);
    if !filename.is_empty() && filename.chars().all(is_token) {
        return filename.to_owned();
    }
    let safe = |c: char| if c.is_control() || c == '"' || c == '\\' || !c.is_ascii() { '_' } else { c };
    format!("\"{}\"", filename.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn file_names_are_quoted_if_need_be() {
        assert_eq!(quoted("compile_build_1_step_publish_log_page_html"), "compile_build_1_step_publish_log_page_html");
        assert_eq!(quoted("deploy prod\"\r\nX: y"), "\"deploy prod___X: y\"");
    }
}
