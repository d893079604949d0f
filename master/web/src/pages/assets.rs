//! The user interface's files, embedded in the binary when they were built before it, and the page itself.

use std::{
    borrow::Cow,
    path::{Component, Path},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, ContentType},
    },
    web,
};
use base64::Engine;
use bytes::Bytes;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::bootstrap::{REVALIDATE, config_of, script};
use crate::{auth::user_of, conditional, query::decode_path_part, state::AppState};

/// What `npm run build` made of `www/`; empty if it was not run.
#[derive(RustEmbed)]
#[folder = "../../www/dist"]
#[allow_missing = true]
struct Embedded;

/// The page where the user interface was not built.
const NOT_BUILT: &str = include_str!("not_built.html");

/// A file of the user interface.
struct File {
    content: Cow<'static, [u8]>,
    hash: [u8; 32],
}

/// The file at `path`, from the directory that the options name or from the binary.
async fn find(state: &AppState, path: &str) -> Option<File> {
    let Some(directory) = &state.options.static_dir else {
        let file = Embedded::get(path)?;
        return Some(File { hash: file.metadata.sha256_hash(), content: file.data });
    };
    // Neither parents nor drives nor hidden files: only names below the directory.
    let is_below = Path::new(path).components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
    });
    if !is_below || path.is_empty() {
        return None;
    }
    let content = tokio::fs::read(directory.join(path)).await.ok()?;
    Some(File { hash: Sha256::digest(&content).into(), content: content.into() })
}

/// `GET /`: the page, with the configuration for this user.
pub(crate) async fn index(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let file = find(&state, "index.html").await;
    let page = file.as_ref().map_or(NOT_BUILT.into(), |file| String::from_utf8_lossy(&file.content));
    let script = script(&config_of(&state, &user_of(&request, &state)));
    let element = format!("<script id=\"bb-config\">{script}</script>");
    let page = match page.find("<script").or_else(|| page.find("</head>")) {
        Some(at) => format!("{}{element}\n{}", &page[..at], &page[at..]),
        None => format!("{element}\n{page}"),
    };
    let mut response = HttpResponse::Ok();
    response.insert_header(REVALIDATE).content_type("text/html; charset=utf-8");
    // Of a page that somebody else made it is not known what it needs.
    if state.options.static_dir.is_none() {
        response.insert_header((header::CONTENT_SECURITY_POLICY, policy(&script)));
    }
    conditional::answer(&request, response.body(page))
}

/// What the page may do: run its own scripts and the one with the configuration, and talk to its own server. Styles may
/// be inline, and pictures (of users, in descriptions) may come from elsewhere.
fn policy(script: &str) -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
    format!(
        "default-src 'self'; script-src 'self' 'sha256-{hash}'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data: https: http:; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'self'; \
         form-action 'self'; frame-ancestors 'self'"
    )
}

/// Any other path: a file of the user interface, or 404.
pub(crate) async fn asset(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return HttpResponse::MethodNotAllowed().finish();
    }
    let path = decode_path_part(request.uri().path().trim_start_matches('/')).into_owned();
    let found = if path == "index.html" { None } else { find(&state, &path).await };
    let Some(file) = found else {
        return HttpResponse::NotFound().content_type(ContentType::plaintext()).body("404 Not Found");
    };
    // The build gives files under assets/ names that change with their content.
    let caching = if path.starts_with("assets/") { "public,max-age=31536000,immutable" } else { "public,max-age=0" };
    let content = match file.content {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => read.into(),
    };
    let response = HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, caching))
        .insert_header((header::ETAG, header::EntityTag::new_weak(hex(&file.hash[..16])).to_string()))
        .content_type(mime_guess::from_path(&path).first_or_octet_stream().as_ref())
        .body(content);
    conditional::answer(&request, response)
}

/// `GET /robots.txt`: build pages are many, change all the time, and are of no use in a search engine.
pub(crate) async fn robots() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("User-agent: *\nDisallow: /\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
