//! Errors of reads, in the API's form: a status and `{"error": text}`.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use serde_json::json;
use uuid::Uuid;

use crate::{ReadError, auth::access::Denied, query::QueryError};

/// The header that names a request whose failure was logged.
const REQUEST_ID: &str = "x-request-id";

/// An error of a read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("invalid HTTP method")]
    Method,
    #[error("invalid origin")]
    InvalidOrigin,
    #[error("the database cannot be reached; try again later")]
    Unavailable,
    #[error("the answer took too long")]
    TimedOut,
    #[error("internal error, see the log of the master for request {0}")]
    Internal(Uuid),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::BadRequest(_) | Self::Method | Self::InvalidOrigin => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable | Self::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer.
    pub(crate) fn respond(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status());
        response.content_type("text/plain; charset=utf-8");
        match self {
            Self::Unavailable | Self::TimedOut => {
                response.insert_header((header::RETRY_AFTER, "5"));
            }
            Self::Internal(id) => {
                response.insert_header((REQUEST_ID, id.to_string()));
            }
            Self::NotFound(_) | Self::BadRequest(_) | Self::Forbidden(_) | Self::Method | Self::InvalidOrigin => {}
        }
        response.body(json!({ "error": self.to_string() }).to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoSuchPath(_) | ReadError::NotFound(_) => Self::NotFound(error.to_string()),
            ReadError::BadQuery(text) => Self::BadRequest(text),
            ReadError::Unavailable(cause) => {
                tracing::warn!(error = &*cause as &dyn std::error::Error, "a read found no database");
                Self::Unavailable
            }
            ReadError::Internal(cause) => {
                let id = Uuid::now_v7();
                tracing::error!(error = &*cause as &dyn std::error::Error, request.id = %id, "a read failed");
                Self::Internal(id)
            }
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden(text) => Self::Forbidden(text),
            Denied::Unknown(error) => error.into(),
        }
    }
}
