//! Cross-origin requests: which pages of other sites may use the API (`c['www']['allowed_origins']`).

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderValue},
};
use buildguild_types::farm::FarmConfig;

use super::error::ApiError;
use crate::{
    glob,
    limits::{ProxyRange, forwarded_host},
};

/// Methods that a pre-flight may ask for.
const METHODS: [&str; 3] = ["GET", "POST", "HEAD"];

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// From no page, or from a page of this server.
    Own,
    /// From a page that may use the API.
    Allowed(HeaderValue),
    /// From another page.
    Foreign,
}

/// Looks at the `Origin` header.
pub(super) fn check(request: &HttpRequest, farm: &FarmConfig, proxies: &[ProxyRange]) -> Origin {
    let Some(value) = request.headers().get(header::ORIGIN) else { return Origin::Own };
    let Ok(origin) = value.to_str() else { return Origin::Foreign };
    if farm.www.allowed_origins.iter().any(|pattern| glob::matches(pattern, origin, true)) {
        return Origin::Allowed(value.clone());
    }
    let is_own_url = origin_of(&farm.buildbot_url).is_some_and(|own| own.eq_ignore_ascii_case(origin));
    let host = forwarded_host(request, proxies)
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()));
    let is_own_host = host.is_some_and(|host| {
        origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    });
    if is_own_url || is_own_host { Origin::Own } else { Origin::Foreign }
}

/// Scheme and authority of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    Some(&url[..end])
}

/// Adds what a browser needs to hand the answer to the page.
pub(super) fn add_headers(headers: &mut HeaderMap, origin: &Origin) {
    if let Origin::Allowed(value) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The answer to `OPTIONS`.
pub(super) fn preflight(request: &HttpRequest, origin: &Origin) -> HttpResponse {
    let method = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_method_fine = method.and_then(|m| m.to_str().ok()).is_some_and(|m| METHODS.contains(&m));
    let has_origin = request.headers().contains_key(header::ORIGIN);
    let mut response = match origin {
        Origin::Own if !has_origin => ApiError::Method.respond(),
        Origin::Foreign => ApiError::InvalidOrigin.respond(),
        Origin::Own | Origin::Allowed(_) if !is_method_fine => {
            return ApiError::BadRequest("invalid method".to_owned()).respond();
        }
        Origin::Own | Origin::Allowed(_) => HttpResponse::Ok().content_type("text/html").finish(),
    };
    add_headers(response.headers_mut(), origin);
    response
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn checked(origin: &str) -> Origin {
        let mut farm = FarmConfig { buildbot_url: "https://ci.example.org/sub/".to_owned(), ..FarmConfig::default() };
        farm.www.allowed_origins = vec!["http://*.allowed.example".to_owned()];
        let request = TestRequest::default()
            .insert_header((header::HOST, "127.0.0.1:8010"))
            .insert_header((header::ORIGIN, origin.to_owned()))
            .to_http_request();
        check(&request, &farm, &[])
    }

    #[test]
    fn a_trusted_proxy_says_what_the_own_host_is() {
        let request = TestRequest::default()
            .peer_addr(([10, 0, 0, 1], 4711).into())
            .insert_header((header::HOST, "backend:8010"))
            .insert_header(("x-forwarded-host", "ci.example.org"))
            .insert_header((header::ORIGIN, "https://ci.example.org"))
            .to_http_request();
        let farm = FarmConfig::default();
        assert_eq!(check(&request, &farm, &[]), Origin::Foreign);
        assert_eq!(check(&request, &farm, &["10.0.0.0/8".parse().expect("a range")]), Origin::Own);
    }

    #[test]
    fn origins_are_told_apart() {
        assert_eq!(checked("https://CI.example.org"), Origin::Own);
        assert_eq!(checked("http://127.0.0.1:8010"), Origin::Own);
        let allowed = HeaderValue::from_static("HTTP://ui.allowed.example");
        assert_eq!(checked("HTTP://ui.allowed.example"), Origin::Allowed(allowed));
        for foreign in ["https://evil.test", "https://ci.example.org.evil.test", "null", "http://127.0.0.1:8011"] {
            assert_eq!(checked(foreign), Origin::Foreign, "{foreign}");
        }
    }
}
