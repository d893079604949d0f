//! The one place that decides who may do what.
//!
//! Closed by default: without `authz`, reading is open, and control is open only while every listener is a loopback
//! address; otherwise it needs a logged-in user. With `authz`, a control call that no rule matches is denied.

use actix_web::{HttpRequest, http::header};

use super::User;
use crate::state::AppState;

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    /// Reading over REST, the WebSocket or SSE.
    Read,
    /// A control call: the parts of its path, and its method.
    Control { path: &'a [&'a str], method: &'a str },
}

/// Why a request is not allowed; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

/// Whether `user` may do it.
pub(crate) fn check(state: &AppState, http: &HttpRequest, user: &User, request: Request<'_>) -> Result<(), Denied> {
    match request {
        Request::Read => Ok(()),
        Request::Control { path, method } => check_control(state, http, user).inspect_err(|denied| {
            tracing::info!(path = %path.join("/"), method, user = ?user, reason = %denied, "refused a control call");
        }),
    }
}

fn check_control(state: &AppState, http: &HttpRequest, user: &User) -> Result<(), Denied> {
    let farm = state.farm();
    if farm.www.authz.is_some() {
        // Rules are not evaluated yet, and what no rule allows is denied.
        return Err(Denied("no rule of c['www']['authz'] allows this".to_owned()));
    }
    if matches!(user, User::Known(_)) {
        return Ok(());
    }
    if !state.is_loopback_only {
        let how = if farm.www.user_passwords.is_some() {
            "log in, or set c['www']['authz'] to say who may do this"
        } else {
            "set c['www']['auth'] so that users can log in, or c['www']['authz'] to say who may do this"
        };
        return Err(Denied(format!("you need to be logged in, because this server listens beyond loopback: {how}")));
    }
    if is_local_name(http) {
        Ok(())
    } else {
        // A page of a foreign site whose name was made to resolve to this address would arrive with that name.
        Err(Denied(
            "without c['www']['authz'] control calls are open only under a loopback name such as localhost".to_owned(),
        ))
    }
}

/// Whether the request was made under a name of this machine's loopback.
fn is_local_name(http: &HttpRequest) -> bool {
    let host = match http.headers().get(header::HOST) {
        Some(host) => host.to_str().unwrap_or_default(),
        None => http.uri().host().unwrap_or_default(),
    };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    let is_name = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_name || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn loopback_names() {
        for (host, expected) in [
            ("localhost:8010", true),
            ("LOCALHOST", true),
            ("127.0.0.1:8010", true),
            ("[::1]:8010", true),
            ("evil.example:8010", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let request = TestRequest::default().insert_header((header::HOST, host)).to_http_request();
            assert_eq!(is_local_name(&request), expected, "{host}");
        }
    }
}
