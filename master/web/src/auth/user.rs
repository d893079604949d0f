//! The user of a request.

use actix_web::HttpRequest;
use buildguild_types::control::Caller;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::session::COOKIE;
use crate::state::AppState;

/// What is known about a logged-in user; part of the session cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserInfo {
    pub(crate) username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) full_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum User {
    /// Nobody known; also what a missing, expired or forged cookie gives.
    Anonymous,
    /// Someone who logged in.
    Known(UserInfo),
}

impl User {
    /// As `/config` shows it.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Anonymous => json!({ "anonymous": true }),
            Self::Known(info) => serde_json::to_value(info).unwrap_or_else(|_| json!({ "anonymous": true })),
        }
    }

    /// As control calls carry it.
    pub(crate) fn to_caller(&self) -> Caller {
        match self {
            Self::Anonymous => Caller::default(),
            Self::Known(info) => Caller { username: Some(info.username.clone()), email: info.email.clone() },
        }
    }
}

/// The user that the request's cookie names. If there are several cookies of the name, one valid one is enough.
pub(crate) fn user_of(request: &HttpRequest, state: &AppState) -> User {
    if !request.headers().contains_key(actix_web::http::header::COOKIE) {
        return User::Anonymous;
    }
    let Ok(cookies) = request.cookies() else { return User::Anonymous };
    cookies
        .iter()
        .filter(|cookie| cookie.name() == COOKIE)
        .find_map(|cookie| state.session_key.verify(cookie.value(), std::time::SystemTime::now()))
        .map_or(User::Anonymous, User::Known)
}
