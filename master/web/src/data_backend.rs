//! The data layer as the web server's backend.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use buildguild_data::{DataError, ErrorKind, Reader, Reply};
use buildguild_types::control::{ControlCall, ControlError};
use buildguild_types::spec::ResultSpec;
use futures::StreamExt;
use serde_json::Value;

use crate::{Answer, Backend, ReadError};

/// How long the database may take to answer the readiness check.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Carries out control calls.
#[async_trait]
pub trait ControlCalls: Send + Sync + 'static {
    /// Carries out a call that was allowed, and returns its JSON-RPC result.
    async fn call(&self, call: ControlCall) -> Result<Value, ControlError>;

    /// Whether a load balancer should send clients here: the farm config is in force, the master may write to the database,
    /// and it is not about to end.
    fn is_in_service(&self) -> bool {
        true
    }
}

/// Reads from the Data API, and passes control calls on.
///
/// The reader should have a connection pool of its own: its connections are opened by web threads, which end before
/// the rest of the master does, and people must not keep the engine waiting for a connection.
pub struct DataBackend {
    reader: Reader,
    control: Arc<dyn ControlCalls>,
}

impl DataBackend {
    /// A backend that reads with `reader`.
    #[must_use]
    pub fn new(reader: Reader, control: Arc<dyn ControlCalls>) -> Self {
        Self { reader, control }
    }
}

impl From<DataError> for ReadError {
    fn from(error: DataError) -> Self {
        match error.kind() {
            ErrorKind::BadQuery => Self::BadQuery(error.to_string()),
            ErrorKind::NotFound => match error {
                DataError::InvalidPath(path) => Self::NoSuchPath(path),
                other => Self::NotFound(other.to_string()),
            },
            ErrorKind::Unavailable => Self::Unavailable(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

#[async_trait]
impl Backend for DataBackend {
    async fn get(&self, path: &[&str], spec: &ResultSpec) -> Result<Answer, ReadError> {
        Ok(match self.reader.get(path, spec).await? {
            Reply::Items(items) => Answer::Items { plural: items.plural, items: items.items, total: items.total },
            Reply::Text(text) => {
                Answer::Text { plural: text.plural, items: text.items, total: text.total, next: text.next }
            }
            Reply::Raw(raw) => Answer::Raw {
                mime_type: raw.mime_type.to_owned(),
                filename: raw.filename,
                tag: raw.tag,
                body: raw.body.map(|chunk| chunk.map_err(ReadError::from)).boxed(),
            },
        })
    }

    async fn control(&self, call: ControlCall) -> Result<Value, ControlError> {
        self.control.call(call).await
    }

    fn is_in_service(&self) -> bool {
        self.control.is_in_service()
    }

    async fn has_database(&self) -> bool {
        let spec = ResultSpec { limit: Some(1), ..ResultSpec::default() };
        let asked = tokio::time::timeout(READY_TIMEOUT, self.reader.get(&["masters"], &spec)).await;
        matches!(asked, Ok(Ok(_)))
    }
}
