//! Requests and responses over a [`FrameSocket`], for both ends.
//!
//! [`split`] turns a socket into a handle that sends requests ([`Rpc`]) and a stream of the other side's requests
//! ([`Requests`]). Nothing runs in between: responses are matched while somebody waits in [`Requests::next`], so its
//! owner must keep calling it, and must not wait there for a response of its own. In return a reader that is slow
//! makes the peer slow, because the socket is not read ahead.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rmpv::Value;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::FrameSocket;
use crate::error::DecodeError;
use crate::message::{Inbound, Response, WireRequest};

/// What can go wrong with a request, or with the connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The connection has ended.
    #[error("connection closed")]
    Closed,
    /// The other side answered with an exception.
    #[error("{0}")]
    Remote(String),
    /// The other side sent what is no message; the connection is of no use any more.
    #[error("malformed message: {0}")]
    Malformed(#[from] DecodeError),
    /// The other side answered something that was never asked, or answered twice.
    #[error("response to unknown request {0}")]
    UnknownResponse(i64),
}

/// Limits of one connection.
#[derive(Debug, Clone)]
pub struct RpcOptions {
    /// How many requests may wait for their response; sending more waits. This is what bounds the memory of a worker
    /// that produces output faster than its master takes it.
    pub max_open_requests: usize,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self { max_open_requests: 64 }
    }
}

/// Makes the two halves of a connection's use.
#[must_use]
pub fn split<Out: WireRequest, In: WireRequest>(socket: FrameSocket, options: RpcOptions) -> (Rpc<Out>, Requests<In>) {
    let (closed, _) = watch::channel(false);
    let shared = Arc::new(Shared {
        state: Mutex::new(State::default()),
        window: Arc::new(Semaphore::new(options.max_open_requests.max(1))),
        closed,
    });
    let rpc = Rpc { shared: shared.clone(), outgoing: socket.outgoing.clone(), _out: PhantomData };
    let requests =
        Requests { shared, incoming: socket.incoming, outgoing: socket.outgoing, peer: socket.peer, _in: PhantomData };
    (rpc, requests)
}

#[derive(Default)]
struct State {
    next_seq: i64,
    closed: bool,
    open: HashMap<i64, Open>,
}

struct Open {
    answer: oneshot::Sender<Result<Value, String>>,
    _permit: OwnedSemaphorePermit,
}

struct Shared {
    state: Mutex<State>,
    window: Arc<Semaphore>,
    closed: watch::Sender<bool>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails everything that waits, now and later.
    fn close(&self) {
        let open = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.open)
        };
        drop(open);
        self.window.close();
        self.closed.send_replace(true);
    }
}

/// Sends requests. Cheap to clone. When all clones and the [`Requests`] are gone, the connection closes.
pub struct Rpc<Out> {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Bytes>,
    _out: PhantomData<fn(Out)>,
}

impl<Out> Clone for Rpc<Out> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), outgoing: self.outgoing.clone(), _out: PhantomData }
    }
}

impl<Out> std::fmt::Debug for Rpc<Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rpc").finish_non_exhaustive()
    }
}

impl<Out: WireRequest> Rpc<Out> {
    /// Sends a request and waits for its result.
    ///
    /// Cancel safe in that the connection stays usable: a response that nobody waits for any more is dropped.
    ///
    /// # Errors
    /// [`RpcError::Remote`] if the other side answers with an exception, [`RpcError::Closed`] if the connection ends
    /// before an answer.
    pub async fn call(&self, request: &Out) -> Result<Value, RpcError> {
        self.send(request).await?.result().await
    }

    /// Sends a request and returns once it is on its way; requests leave in the order of these calls. Waits while as
    /// many requests are open as may be.
    ///
    /// # Errors
    /// [`RpcError::Closed`] if the connection has ended.
    pub async fn send(&self, request: &Out) -> Result<Pending, RpcError> {
        let permit = self.shared.window.clone().acquire_owned().await.map_err(|_| RpcError::Closed)?;
        let slot = self.outgoing.reserve().await.map_err(|_| RpcError::Closed)?;
        let (answer, pending) = oneshot::channel();
        // The number is drawn and the frame queued under one lock, so that numbers leave in their order.
        let mut state = self.shared.lock();
        if state.closed {
            return Err(RpcError::Closed);
        }
        let seq_number = state.next_seq;
        state.next_seq += 1;
        slot.send(request.encode(seq_number));
        state.open.insert(seq_number, Open { answer, _permit: permit });
        Ok(Pending { answer: pending })
    }

    /// Ends the connection from this side: all waiting requests fail, and [`Requests::next`] returns.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Waits until the connection has ended. Cancel safe.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        // The sender lives as long as `self.shared`.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }
}

/// A request that was sent.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Value, String>>,
}

impl Pending {
    /// Waits for the result.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub async fn result(self) -> Result<Value, RpcError> {
        match self.answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(text)) => Err(RpcError::Remote(text)),
            Err(_) => Err(RpcError::Closed),
        }
    }
}

/// The other side's requests.
pub struct Requests<In> {
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Bytes>,
    peer: String,
    _in: PhantomData<fn() -> In>,
}

impl<In> std::fmt::Debug for Requests<In> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<In> Drop for Requests<In> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<In: WireRequest> Requests<In> {
    /// The next request. Responses are matched on the way; requests that cannot be understood are answered here.
    /// `None` at the end of the connection.
    ///
    /// Cancel safe: yes, because a frame is handled between two points of waiting, except that the answer to a
    /// request that was not understood may be lost.
    ///
    /// # Errors
    /// If the other side breaks the protocol; the connection is then closed.
    pub async fn next(&mut self) -> Result<Option<Incoming<In>>, RpcError> {
        loop {
            let mut closed = self.shared.closed.subscribe();
            let frame = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => None,
                frame = self.incoming.recv() => frame,
            };
            let Some(frame) = frame else {
                self.shared.close();
                return Ok(None);
            };
            match self.handle(&frame).await {
                Ok(None) => {}
                Ok(Some(incoming)) => return Ok(Some(incoming)),
                Err(error) => {
                    self.shared.close();
                    return Err(error);
                }
            }
        }
    }

    /// Who the other side is, for log lines.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    async fn handle(&mut self, frame: &Bytes) -> Result<Option<Incoming<In>>, RpcError> {
        match Inbound::<In>::decode(frame)? {
            Inbound::Request { seq_number, request } => {
                Ok(Some(Incoming { request, responder: self.responder(seq_number) }))
            }
            Inbound::BadRequest { seq_number, error } => {
                tracing::warn!(peer = %self.peer, %error, "request was not understood");
                self.responder(seq_number).error(error.to_string()).await;
                Ok(None)
            }
            Inbound::Response(response) => {
                let open = self.shared.lock().open.remove(&response.seq_number);
                let open = open.ok_or(RpcError::UnknownResponse(response.seq_number))?;
                // Nobody may wait for it any more.
                let _ = open.answer.send(response.result);
                Ok(None)
            }
            Inbound::Ignored(reason) => {
                tracing::warn!(peer = %self.peer, reason, "message was ignored");
                Ok(None)
            }
        }
    }

    fn responder(&self, seq_number: i64) -> Responder {
        Responder { inner: Some((self.outgoing.clone(), self.shared.clone())), seq_number }
    }
}

/// A request of the other side.
#[derive(Debug)]
pub struct Incoming<In> {
    /// The request.
    pub request: In,
    /// Where its answer goes.
    pub responder: Responder,
}

/// Answers one request, once. Dropped without an answer it sends an exception, so that the other side never waits for
/// ever.
#[must_use]
pub struct Responder {
    inner: Option<(mpsc::Sender<Bytes>, Arc<Shared>)>,
    seq_number: i64,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("seq_number", &self.seq_number).finish_non_exhaustive()
    }
}

impl Responder {
    /// Answers with a result. A connection that has ended is no error here.
    pub async fn ok(self, value: Value) {
        self.answer(Ok(value)).await;
    }

    /// Answers with an exception.
    pub async fn error(self, text: impl Into<String>) {
        self.answer(Err(text.into())).await;
    }

    async fn answer(mut self, result: Result<Value, String>) {
        let frame = Response { seq_number: self.seq_number, result }.encode();
        let Some((outgoing, _)) = &self.inner else {
            return;
        };
        // Kept until the frame is queued: if this future is dropped while waiting, the drop still answers.
        if let Ok(slot) = outgoing.reserve().await {
            slot.send(frame);
        }
        self.inner = None;
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let Some((outgoing, shared)) = self.inner.take() else {
            return;
        };
        let response = Response { seq_number: self.seq_number, result: Err("request was dropped".to_owned()) };
        if let Err(mpsc::error::TrySendError::Full(_)) = outgoing.try_send(response.encode()) {
            // A request without an answer would block the other side for ever; a closed connection does not.
            shared.close();
        }
    }
}
