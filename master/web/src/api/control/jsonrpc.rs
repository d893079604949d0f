//! The envelope: decoding a call, and the form of errors.

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode};
use buildguild_types::control::ControlError;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{ReadError, auth::access::Denied};

/// A decoded call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
    /// A text, a number, a truth value or null; comes back in the answer.
    pub(super) id: Value,
}

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RpcError {
    status: StatusCode,
    code: i32,
    /// A text; for a force form an object, from field to text.
    message: Value,
}

impl RpcError {
    fn new(status: StatusCode, code: i32, message: impl Into<Value>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, message.into())
    }

    pub(super) fn too_large(max_bytes: usize) -> Self {
        let message = format!("the body is larger than {max_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, message)
    }

    /// What the limits of a client refuse.
    pub(super) fn too_many(message: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, INVALID_REQUEST, message)
    }

    pub(super) fn parse(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, PARSE_ERROR, format!("JSON parse error: {message}"))
    }

    pub(super) fn no_such_path(path: &[&str]) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, format!("Invalid path: {}", path.join("/")))
    }

    pub(super) fn no_such_method(method: &str) -> Self {
        let message = format!("action: {method} is not supported");
        Self::new(StatusCode::NOT_IMPLEMENTED, METHOD_NOT_FOUND, message)
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_PARAMS, message.into())
    }

    /// The answer; without `id` if the call could not be decoded.
    pub(super) fn respond(&self, id: Option<&Value>) -> HttpResponse {
        let mut body = json!({ "jsonrpc": "2.0", "error": { "code": self.code, "message": self.message } });
        if let Some(id) = id {
            body["id"] = id.clone();
        }
        HttpResponseBuilder::new(self.status).content_type("application/json").body(body.to_string())
    }
}

impl From<Denied> for RpcError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden(text) => Self::new(StatusCode::FORBIDDEN, INVALID_REQUEST, text),
            Denied::Unknown(ReadError::Unavailable(cause)) => ControlError::Unavailable(cause).into(),
            Denied::Unknown(error) => ControlError::Internal(error.into()).into(),
        }
    }
}

impl From<ControlError> for RpcError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, error.to_string()),
            ControlError::InvalidForce(fields) => {
                let message: Map<String, Value> = fields.into_iter().map(|(name, text)| (name, text.into())).collect();
                Self::new(StatusCode::BAD_REQUEST, INVALID_PARAMS, message)
            }
            ControlError::InvalidParams(text) => Self::invalid_params(text),
            ControlError::Conflict(text) => Self::new(StatusCode::CONFLICT, INVALID_REQUEST, text),
            ControlError::Starting => Self::new(StatusCode::SERVICE_UNAVAILABLE, INTERNAL_ERROR, error.to_string()),
            ControlError::Unavailable(cause) => {
                tracing::warn!(error = &*cause as &dyn std::error::Error, "a control call found no database");
                let text = "the database cannot be reached; try again later";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, INTERNAL_ERROR, text)
            }
            ControlError::Internal(cause) => {
                let id = Uuid::now_v7();
                tracing::error!(error = &*cause as &dyn std::error::Error, request.id = %id, "a control call failed");
                let text = format!("internal error, see the log of the master for request {id}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR, text)
            }
            other => {
                tracing::error!(error = %other, "a control call failed in an unknown way");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR, "internal error")
            }
        }
    }
}

impl Call {
    /// Decodes a body. Never panics, whatever it holds.
    pub(super) fn decode(body: &[u8]) -> Result<Self, RpcError> {
        let invalid = |message: &str| Err(RpcError::invalid_request(message));
        let mut object = match crate::json::from_slice(body).map_err(RpcError::parse)? {
            Value::Object(object) => object,
            Value::Array(_) => return invalid("JSONRPC batch requests are not supported"),
            _ => return invalid("JSONRPC root object must be an object"),
        };
        let mut take =
            |key: &str| object.remove(key).ok_or_else(|| RpcError::invalid_request(format!("missing key '{key}'")));
        let Value::String(version) = take("jsonrpc")? else { return invalid("'jsonrpc' must be a string") };
        let Value::String(method) = take("method")? else { return invalid("'method' must be a string") };
        let id = take("id")?;
        // A truth value is none of these, but Buildbot takes it for a number.
        if !matches!(id, Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_)) {
            return invalid("'id' must be a string, number or null");
        }
        let Value::Object(params) = take("params")? else { return invalid("'params' must be an object") };
        if version != "2.0" {
            return invalid("only JSONRPC 2.0 is supported");
        }
        // PostgreSQL's texts cannot hold it, and nobody means it.
        if params.iter().any(|(name, value)| name.contains('\0') || has_nul(value)) {
            return Err(RpcError::invalid_params("'params' must not contain the character NUL"));
        }
        Ok(Self { method, params, id })
    }
}

/// Whether a text in `value` has the character NUL. The depth of what was parsed is bounded.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(body: &str) -> (i32, String) {
        let error = Call::decode(body.as_bytes()).expect_err("refused");
        (error.code, error.message.as_str().expect("a text").to_owned())
    }

    #[test]
    fn decodes_a_call() {
        let call = Call::decode(br#"{"jsonrpc":"2.0","method":"stop","params":{"reason":"x"},"id":"i"}"#);
        let call = call.expect("decodes");
        assert_eq!((call.method.as_str(), call.id), ("stop", json!("i")));
        assert_eq!(call.params["reason"], "x");
        let call = Call::decode(br#"{"jsonrpc":"2.0","method":"stop","params":{"reason":"cut \ud83d"},"id":true}"#);
        let call = call.expect("decodes");
        assert_eq!((&call.params["reason"], call.id), (&json!("cut \u{fffd}"), json!(true)));
    }

    #[test]
    fn errors_have_the_texts_of_the_reference() {
        for (body, code, text) in [
            ("[]", -32600, "JSONRPC batch requests are not supported"),
            ("\"x\"", -32600, "JSONRPC root object must be an object"),
            (r#"{"method":"pause","params":{},"id":1}"#, -32600, "missing key 'jsonrpc'"),
            (r#"{"jsonrpc":"1.0","method":"pause","params":{},"id":1}"#, -32600, "only JSONRPC 2.0 is supported"),
            (r#"{"jsonrpc":"2.0","params":{},"id":1}"#, -32600, "missing key 'method'"),
            (r#"{"jsonrpc":"2.0","method":"pause","params":{}}"#, -32600, "missing key 'id'"),
            (r#"{"jsonrpc":"2.0","method":"pause","id":1}"#, -32600, "missing key 'params'"),
            (r#"{"jsonrpc":"2.0","method":"pause","params":[],"id":1}"#, -32600, "'params' must be an object"),
            (
                r#"{"jsonrpc":"2.0","method":"pause","params":{},"id":[]}"#,
                -32600,
                "'id' must be a string, number or null",
            ),
        ] {
            assert_eq!(message(body), (code, text.to_owned()), "{body}");
        }
        for params in [r#"{"reason":"a\u0000b"}"#, r#"{"a\u0000":1}"#, r#"{"files":["a",["\u0000"]]}"#] {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"pause","params":{params},"id":1}}"#);
            assert_eq!(message(&body), (-32602, "'params' must not contain the character NUL".to_owned()), "{body}");
        }
        for body in ["{", "", "nul"] {
            let (code, text) = message(body);
            assert_eq!(code, -32700);
            assert!(text.starts_with("JSON parse error: "), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body in any::<Vec<u8>>()) {
            let _ = Call::decode(&body);
        }
    }
}
