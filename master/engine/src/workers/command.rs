//! A command that runs on a worker, as its owner sees it.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use worker_protocol::rpc::Pending;
use worker_protocol::{CommandId, CommandUpdate, Responder, RpcError, Value, WorkerRequest};

use super::link::{Charge, CommandEvent, Link};

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It ended; what it achieved was said in updates (`rc`). With a text if it ended by a failure of the worker.
    Complete(Option<String>),
    /// It never started: the worker does not know it, or an argument is wrong.
    Refused(String),
    /// The connection was lost while it ran.
    Lost,
}

/// What comes next of a command.
#[derive(Debug)]
pub enum Progress {
    /// News, in order. Their memory is charged to the worker's connection until this is dropped.
    Updates(Updates),
    /// A request of a file transfer.
    Transfer(Transfer),
    /// It is over; nothing follows.
    Ended(CommandEnd),
}

/// News of a command.
#[derive(Debug)]
pub struct Updates {
    /// The news, in order.
    pub items: Vec<CommandUpdate>,
    _charge: Charge,
}

/// A request of a file transfer, which the worker waits for.
#[derive(Debug)]
pub struct Transfer {
    /// The request.
    pub request: WorkerRequest,
    responder: Responder,
    _charge: Charge,
}

impl Transfer {
    /// Answers the worker.
    pub async fn ok(self, value: Value) {
        self.responder.ok(value).await;
    }

    /// Refuses: the worker ends the transfer.
    pub async fn error(self, text: &str) {
        self.responder.error(text).await;
    }
}

/// A running command. Dropping it before its end interrupts it.
pub struct RunningCommand {
    link: Arc<Link>,
    id: CommandId,
    events: mpsc::UnboundedReceiver<CommandEvent>,
    start: Option<BoxFuture<'static, Result<Value, RpcError>>>,
    ended: bool,
}

impl RunningCommand {
    pub(super) fn new(
        link: Arc<Link>,
        id: CommandId,
        events: mpsc::UnboundedReceiver<CommandEvent>,
        start: Pending,
    ) -> Self {
        Self { link, id, events, start: Some(start.result().boxed()), ended: false }
    }

    /// The command's id on the worker.
    pub const fn id(&self) -> &CommandId {
        &self.id
    }

    /// Waits for what comes next. After [`Progress::Ended`] it says `Lost`.
    ///
    /// Cancel safe: yes, because an event is taken from its queue only when it is returned.
    pub async fn next(&mut self) -> Progress {
        loop {
            let Self { start, events, .. } = self;
            let answer = async {
                match start {
                    Some(start) => start.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Events first: a fast command is over before its start is answered.
                biased;
                event = events.recv() => {
                    return match event {
                        Some(event) => self.progress(event),
                        None => self.end(CommandEnd::Lost),
                    };
                }
                answer = answer => {
                    self.start = None;
                    match answer {
                        Ok(_) | Err(RpcError::Closed) => {}
                        Err(RpcError::Remote(text)) => {
                            self.link.forget(&self.id);
                            return self.end(CommandEnd::Refused(text));
                        }
                        Err(_) => return self.end(CommandEnd::Lost),
                    }
                }
            }
        }
    }

    /// What has come already.
    pub fn try_next(&mut self) -> Option<Progress> {
        let event = self.events.try_recv().ok()?;
        Some(self.progress(event))
    }

    fn progress(&mut self, event: CommandEvent) -> Progress {
        match event {
            CommandEvent::Updates(items, charge) => Progress::Updates(Updates { items, _charge: charge }),
            CommandEvent::Transfer(request, responder, charge) => {
                Progress::Transfer(Transfer { request, responder, _charge: charge })
            }
            CommandEvent::Complete(failure) => self.end(CommandEnd::Complete(failure)),
        }
    }

    /// Asks the worker to end it, as configured in its arguments. Its end still comes from [`RunningCommand::next`].
    pub async fn interrupt(&mut self, why: &str) {
        self.link.interrupt(&self.id, why).await;
    }

    fn end(&mut self, end: CommandEnd) -> Progress {
        self.ended = true;
        Progress::Ended(end)
    }
}

impl std::fmt::Debug for RunningCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningCommand").field("id", &self.id).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        if !self.ended {
            self.link.abandon(&self.id);
        }
    }
}
