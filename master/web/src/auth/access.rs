//! The one place that decides who may do what.
//!
//! Closed by default: without `authz`, reading is open, and control is open only while every listener is a loopback
//! address; otherwise it needs a logged-in user. With `authz`, a control call that no rule matches is denied.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header};
use serde_json::{Map, Value};

use super::{User, rules::Rules, subject};
use crate::{ReadError, limits::comes_from_elsewhere, state::AppState};

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    /// Reading over REST, the WebSocket or SSE.
    Read,
    /// A control call: the parts of its path, its method and its parameters.
    Control { path: &'a [&'a str], method: &'a str, params: Option<&'a Map<String, Value>> },
}

/// Why a request is not allowed; the text is for the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    /// It is not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// What the rules ask for could not be read.
    #[error("could not look up what the rules ask for")]
    Unknown(#[from] ReadError),
}

/// Whether `user` may do it.
pub(crate) async fn check(
    state: &AppState,
    http: &HttpRequest,
    user: &User,
    request: Request<'_>,
) -> Result<(), Denied> {
    let decision = match state.rules() {
        Some(rules) => by_rules(state, &rules, user, request).await,
        None => match request {
            Request::Read => Ok(()),
            Request::Control { .. } => without_rules(state, http, user).map_err(Denied::Forbidden),
        },
    };
    if let (Err(denied), Request::Control { path, method, .. }) = (&decision, request) {
        tracing::info!(path = %path.join("/"), method, user = ?user, reason = %denied, "refused a control call");
    }
    decision
}

async fn by_rules(
    state: &AppState,
    rules: &Result<Arc<Rules>, String>,
    user: &User,
    request: Request<'_>,
) -> Result<(), Denied> {
    let rules = rules.as_ref().map_err(|error| Denied::Forbidden(error.clone()))?;
    let mut owner = None;
    let mut builders = Vec::new();
    if let Request::Control { path, params, .. } = request {
        if rules.needs_owner() && matches!(user, User::Known(_)) {
            owner = subject::owner(&*state.backend, path).await?;
        }
        if rules.needs_builder(request) {
            builders = subject::builders(&*state.backend, path, params).await?;
        }
    }
    let roles = rules.roles_of(user, owner.as_deref());
    let decide = |builder: Option<&str>| {
        rules.decide(request, builder, &roles).map_err(|missing| {
            Denied::Forbidden(match missing {
                Some(role) => format!("you need to have role '{role}'"),
                None => "no rule of c['www']['authz'] allows this".to_owned(),
            })
        })
    };
    // A call about several builders has to be allowed for each.
    if builders.is_empty() { decide(None) } else { builders.iter().try_for_each(|builder| decide(Some(builder))) }
}

fn without_rules(state: &AppState, http: &HttpRequest, user: &User) -> Result<(), String> {
    if matches!(user, User::Known(_)) {
        return Ok(());
    }
    if !state.is_loopback_only {
        let how = if state.farm().www.user_passwords.is_some() {
            "log in, or set c['www']['authz'] to say who may do this"
        } else {
            "set c['www']['auth'] so that users can log in, or c['www']['authz'] to say who may do this"
        };
        return Err(format!("you need to be logged in, because this server listens beyond loopback: {how}"));
    }
    if is_local_name(http) && !comes_from_elsewhere(http) {
        Ok(())
    } else {
        // A page of a foreign site whose name was made to resolve to this address would arrive with that name.
        Err("without c['www']['authz'] control calls are open only on this machine, under a loopback name such as localhost"
            .to_owned())
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
