//! What the web layer needs of the data layer: reads and control calls. The web layer knows HTTP and nothing of where the
//! answers come from.

use std::error::Error;

use async_trait::async_trait;
use buildguild_types::control::{ControlCall, ControlError};
use buildguild_types::spec::ResultSpec;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;

/// The endpoint tree and the control calls.
///
/// Methods may be called from any thread and at any rate; they bound their own work. Futures may be dropped when
/// those who waited have left: reads stop, control calls either happened or not.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The answer to a GET of `path` below `/api/v2`, its parts decoded.
    async fn get(&self, path: &[&str], spec: &ResultSpec) -> Result<Answer, ReadError>;

    /// Carries out a control call that was allowed, and returns its JSON-RPC result.
    async fn control(&self, call: ControlCall) -> Result<Value, ControlError>;

    /// Whether a load balancer should send clients here.
    fn is_in_service(&self) -> bool {
        true
    }

    /// Whether the database answers, for the readiness check.
    async fn has_database(&self) -> bool;
}

/// The answer to a read.
#[non_exhaustive]
pub enum Answer {
    /// Resources of one type.
    Items {
        /// The plural name of the type: the key of the list.
        plural: &'static str,
        /// The resources; exactly one if the path names a single resource.
        items: Vec<Value>,
        /// `meta.total`; `None` for a single resource.
        total: Option<u64>,
    },
    /// Resources of one type as text, which is sent as it is.
    Text {
        /// The plural name of the type.
        plural: &'static str,
        /// The resources: a JSON list.
        items: String,
        /// `meta.total`.
        total: Option<u64>,
        /// `meta.next`: where the next page begins, for those who page by `after`.
        next: Option<String>,
    },
    /// A download.
    Raw {
        /// The media type.
        mime_type: String,
        /// The name to save it under; `None` for what a browser shows in place.
        filename: Option<String>,
        /// What tells this text from every other that was here; `None` if it may still change.
        tag: Option<String>,
        /// The bytes; dropping the stream ends the reading.
        body: BoxStream<'static, Result<Bytes, ReadError>>,
    },
}

impl Answer {
    /// The resources; none if it is a download.
    pub(crate) fn into_items(self) -> Vec<Value> {
        match self {
            Self::Items { items, .. } => items,
            // The text was written as JSON a moment ago.
            Self::Text { items, .. } => serde_json::from_str(&items).unwrap_or_default(),
            Self::Raw { .. } => Vec::new(),
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No endpoint has this path.
    #[error("Invalid path: {0}")]
    NoSuchPath(String),
    /// The path is right, but there is no such object.
    #[error("{0} not found")]
    NotFound(String),
    /// The query does not fit the resource type; the text names the field or parameter.
    #[error("{0}")]
    BadQuery(String),
    /// The database cannot be reached now.
    #[error("reach the database")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Anything unexpected; the cause is for the log, not for the client.
    #[error("read the data")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}
