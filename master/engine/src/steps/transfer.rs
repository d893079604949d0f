//! The master's end of file transfers.

use async_trait::async_trait;
use bytes::Bytes;
use worker_protocol::{Value, WorkerRequest};

use crate::workers::Transfer;

/// Answers the requests of one transfer.
#[async_trait]
pub(crate) trait TransferEnd: Send {
    /// Answers one request.
    async fn handle(&mut self, transfer: Transfer);
}

/// For commands that transfer nothing.
pub(crate) struct NoTransfer;

#[async_trait]
impl TransferEnd for NoTransfer {
    async fn handle(&mut self, transfer: Transfer) {
        transfer.error("this command transfers nothing").await;
    }
}

/// Sends bytes from memory to the worker.
pub(crate) struct SendBytes {
    rest: Bytes,
}

impl SendBytes {
    pub(crate) fn new(content: impl Into<Bytes>) -> Self {
        Self { rest: content.into() }
    }
}

#[async_trait]
impl TransferEnd for SendBytes {
    async fn handle(&mut self, transfer: Transfer) {
        match transfer.request {
            WorkerRequest::ReadFile { length, .. } => {
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.rest.len());
                let block = self.rest.split_to(length);
                transfer.ok(Value::Binary(block.to_vec())).await;
            }
            WorkerRequest::ReadFileClose { .. } => transfer.ok(Value::Nil).await,
            _ => transfer.error("this command only reads").await,
        }
    }
}
