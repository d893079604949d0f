//! What a master does with workers that connect, independent of where the connection came in (its own port, the web
//! port, in process).

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::FrameSocket;

/// A worker that may connect: the proof that its password was right.
#[derive(Clone)]
pub struct Admission {
    /// The worker's name.
    pub worker_name: String,
    /// What the acceptor wants to remember between [`WorkerAcceptor::authenticate`] and [`WorkerAcceptor::serve`].
    pub context: Option<Arc<dyn Any + Send + Sync>>,
}

impl Admission {
    /// An admission without context.
    #[must_use]
    pub fn new(worker_name: impl Into<String>) -> Self {
        Self { worker_name: worker_name.into(), context: None }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("worker_name", &self.worker_name).finish_non_exhaustive()
    }
}

/// Why a worker may not connect. Decides the status of the HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No credentials were sent: 401.
    #[error("no credentials")]
    NoCredentials,
    /// The credentials cannot be read: 400.
    #[error("malformed credentials")]
    MalformedCredentials,
    /// Unknown name or wrong password; the two are not told apart: 401.
    #[error("unknown worker or wrong password")]
    BadCredentials,
    /// This master takes no workers now (it starts, drains, or has lost its database): 503. Workers try again.
    #[error("master takes no workers now")]
    Unavailable,
}

impl Refusal {
    /// The HTTP status that answers the handshake.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NoCredentials | Self::BadCredentials => 401,
            Self::MalformedCredentials => 400,
            Self::Unavailable => 503,
        }
    }
}

/// Admits workers and serves their connections. Every place where connections come in (the worker port, the web
/// port's `/worker`, in-process workers) calls the two methods in this order.
#[async_trait]
pub trait WorkerAcceptor: Send + Sync {
    /// Checks a worker's name and password before the WebSocket is accepted. Must answer within about three seconds:
    /// the stock worker gives up after five.
    async fn authenticate(&self, name: &str, password: &str) -> Result<Admission, Refusal>;

    /// Serves one connection until it ends. Dropping the socket's `outgoing` closes the connection. Refusing a
    /// duplicate is done here, by returning: the stock worker sees a close frame and tries again.
    async fn serve(&self, admission: Admission, socket: FrameSocket);
}
