//! `/auth/login` and `/auth/logout`: HTTP basic authentication against the configured users, then a session cookie.

use std::time::SystemTime;

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite, time::Duration},
    http::header,
    web,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    session::{COOKIE, LIFETIME},
    user::UserInfo,
};
use crate::{query::parameters, state::AppState};

/// What a browser shows when its question for a name and password was answered with "cancel".
const NOT_LOGGED_IN: &str = "<!doctype html><meta name=viewport content='width=device-width'>\
    <title>Not logged in</title><h1>Not logged in</h1><p>The user name or the password is wrong, or there was none.\
    <p><a href=''>Try again</a> or <a href='../'>go back to the page</a>.\n";

/// The name and password of an `Authorization: Basic` header.
pub(crate) fn basic_credentials(request: &HttpRequest) -> Option<(String, String)> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// `GET /auth/login`.
pub(crate) async fn login(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let farm = state.farm();
    let Some(passwords) = &farm.www.user_passwords else {
        return HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("nobody can log in here: c['www']['auth'] is not set");
    };
    let user = basic_credentials(&request).filter(|(name, password)| {
        // An unknown name costs as much as a wrong password.
        let known = passwords.get(name);
        let is_right = state.session_key.is_same_secret(known.map_or("", String::as_str), password);
        known.is_some() && is_right
    });
    let Some((username, _)) = user else {
        return HttpResponse::Unauthorized()
            .insert_header((header::WWW_AUTHENTICATE, "basic realm=\"buildbot\""))
            .content_type("text/html; charset=utf-8")
            .body(NOT_LOGGED_IN);
    };
    // As in Buildbot, the name counts as the address if nothing else is known.
    let info = UserInfo { email: Some(username.clone()), username, full_name: None, groups: Vec::new() };
    tracing::info!(user.name = %info.username, "logged in");
    let cookie = Cookie::build(COOKIE, state.session_key.sign(&info, SystemTime::now()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(farm.buildbot_url.starts_with("https:"))
        .max_age(Duration::try_from(LIFETIME).unwrap_or(Duration::WEEK))
        .finish();
    to_page(&request, &farm.buildbot_url).cookie(cookie).finish()
}

/// `GET /auth/logout`.
pub(crate) async fn logout(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let cookie = Cookie::build(COOKIE, "").path("/").http_only(true).max_age(Duration::ZERO).finish();
    to_page(&request, &state.farm().buildbot_url).cookie(cookie).finish()
}

/// A redirect to the page, at the place that `?redirect=` names. The place is part of the fragment, so that it can be
/// nothing outside this site.
fn to_page(request: &HttpRequest, base_url: &str) -> actix_web::HttpResponseBuilder {
    let place = parameters(request.query_string())
        .find(|(name, _)| name == "redirect")
        .map(|(_, value)| value.into_owned())
        .filter(|place| place.chars().all(|c| c.is_ascii_graphic()))
        .unwrap_or_default();
    let place = place.trim_start_matches('#').trim_start_matches('/');
    let mut response = HttpResponse::Found();
    response.insert_header((header::LOCATION, format!("{base_url}#/{place}"))).content_type("text/html");
    response
}
