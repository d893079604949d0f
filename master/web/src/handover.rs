//! Sockets that leave the HTTP server: an event stream lives for hours on a socket, of which HTTP is over after the
//! response's head. The server's dispatcher would keep its buffers for reading and writing all the time (16 KiB and more),
//! which is most of what a subscriber costs.
//!
//! A handler that answers with a [`Handover`] as the body passes its [`LiveStream`] on to the connection as soon as the head
//! is encoded. When the head is with the kernel, the dispatcher is told that the connection is over, and goes; the task
//! that ran it, which the server counts and waits for as before, then runs the stream on the bare socket ([`serve`]).

use std::{
    cell::RefCell,
    convert::Infallible,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    HttpRequest,
    body::{BodySize, MessageBody},
    dev::Payload,
};
use bytes::Bytes;
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use crate::limits::Connection;

/// How long a client may leave a part of its stream, some ten kilobytes, without taking it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What one side of a socket says and hears when HTTP is done with it.
pub(crate) trait LiveStream {
    /// Takes what the client has sent already.
    fn take_input(&mut self, _bytes: &[u8]) {}

    /// The next bytes for the client, or `None` if it has had them all. Reads from the socket, too.
    fn poll_next(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// Reads what has arrived; nothing is the end.
pub(crate) fn poll_read(socket: &TcpStream, into: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        match socket.try_read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
    }
}

/// A connection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Socket(Rc<Shared>);

struct Shared {
    /// `None` after the handover.
    io: RefCell<Option<TcpStream>>,
    heir: RefCell<Option<Box<dyn LiveStream>>>,
    limit: Option<Connection>,
}

impl Socket {
    /// A connection, and its place among those of its address.
    pub(crate) fn new(io: TcpStream, limit: Option<Connection>) -> Self {
        Self(Rc::new(Shared { io: RefCell::new(Some(io)), heir: RefCell::default(), limit }))
    }

    /// Whether its address has more connections than it may have.
    pub(crate) fn is_too_many(&self) -> bool {
        self.0.limit.as_ref().is_some_and(Connection::is_too_many)
    }

    /// To be called when HTTP has ended: goes on with what a handler has left on the socket, if one has.
    pub(crate) async fn serve_heir(self) {
        let (io, heir) = (self.0.io.take(), self.0.heir.take());
        if let (Some(io), Some(heir)) = (io, heir) {
            serve(io, heir).await;
        }
    }

    fn with_io<T>(&self, operation: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.0.io.borrow_mut().as_mut() {
            Some(io) => operation(Pin::new(io)),
            None => Poll::Ready(Err(handed_over())),
        }
    }
}

fn handed_over() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was handed over")
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with_io(|io| io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with_io(|io| io.poll_write(cx, bytes))
    }

    /// The dispatcher flushes when everything that it had has been written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.heir.borrow().is_some() {
            return Poll::Ready(Err(handed_over()));
        }
        self.with_io(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_io(|io| io.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with_io(|io| io.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// The body of a response after whose head the socket belongs to a stream.
pub(crate) struct Handover {
    socket: Socket,
    stream: Option<Box<dyn LiveStream>>,
    payload: Payload,
}

impl Handover {
    /// Hands the socket of `request` over to `stream`. `None` if the request did not come over a [`Socket`].
    pub(crate) fn new(request: &HttpRequest, payload: Payload, stream: impl LiveStream + 'static) -> Option<Self> {
        let socket = request.conn_data::<Socket>()?.clone();
        Some(Self { socket, stream: Some(Box::new(stream)), payload })
    }
}

impl MessageBody for Handover {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    /// The dispatcher asks for the body when it has encoded the head.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let mut heir = this.socket.0.heir.borrow_mut();
        if let Some(stream) = this.stream.take() {
            *heir = Some(stream);
        }
        if let Some(heir) = heir.as_mut() {
            while let Poll::Ready(Some(Ok(bytes))) = Pin::new(&mut this.payload).poll_next(cx) {
                heir.take_input(&bytes);
            }
        }
        Poll::Pending
    }
}

/// Runs a stream until it ends or its client has gone or does not take it.
async fn serve(mut socket: TcpStream, mut stream: Box<dyn LiveStream>) {
    // What is to be sent is gathered by the stream; waiting for more would only delay it.
    let _ = socket.set_nodelay(true);
    while let Some(mut bytes) = std::future::poll_fn(|cx| stream.poll_next(&socket, cx)).await {
        if !matches!(timeout(WRITE_TIMEOUT, socket.write_all_buf(&mut bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
    // The client may have gone.
    let _ = socket.shutdown().await;
}
