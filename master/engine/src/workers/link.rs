//! One connection to a worker: commands go out, their events come back to whoever started them.
//!
//! The reader of a connection hands every update to its command without waiting for it, and charges it to the
//! connection's byte budget until it was dealt with. When a log writer is behind, the budget runs out, the reader stops,
//! and with it the socket: a worker that produces faster than the database takes is slowed down, whatever protocol it
//! speaks. That also bounds the queues of the commands, which are unbounded by themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use worker_protocol::{
    Command, CommandId, CommandUpdate, MasterRequest, Requests, Responder, Rpc, RpcError, StartCommand, Value,
    WorkerRequest,
};

use super::command::RunningCommand;

/// What a connection may have in memory of what its worker sent.
const BUDGET_BYTES: usize = 4 * 1024 * 1024;

/// What any event is charged at least: the size of its bookkeeping, which bounds their number.
const EVENT_BYTES: usize = 512;

/// How long an interrupt may wait for its turn on the connection.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a command's owner hears of it.
#[derive(Debug)]
pub(super) enum CommandEvent {
    /// News, in order.
    Updates(Vec<CommandUpdate>, Charge),
    /// A request of a file transfer, to be answered.
    Transfer(WorkerRequest, Responder, Charge),
    /// It has ended; with the failure's text if it ended by one.
    Complete(Option<String>),
}

/// A part of the connection's budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Charge(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    rpc: Rpc<MasterRequest>,
    commands: Mutex<HashMap<CommandId, mpsc::UnboundedSender<CommandEvent>>>,
    budget: Arc<Semaphore>,
    /// Commands whose owner went away; their number is bounded by that of the commands.
    orphans: mpsc::UnboundedSender<CommandId>,
}

impl Link {
    pub(super) fn new(rpc: Rpc<MasterRequest>) -> (Arc<Self>, mpsc::UnboundedReceiver<CommandId>) {
        let (orphans, orphaned) = mpsc::unbounded_channel();
        let budget = Arc::new(Semaphore::new(BUDGET_BYTES));
        (Arc::new(Self { rpc, commands: Mutex::default(), budget, orphans }), orphaned)
    }

    pub(super) const fn rpc(&self) -> &Rpc<MasterRequest> {
        &self.rpc
    }

    /// Starts a command. Its events may come before the answer to the start.
    pub(super) async fn start(
        self: &Arc<Self>,
        id: CommandId,
        command: &Command,
        builder_name: &str,
    ) -> Result<RunningCommand, RpcError> {
        let (sender, events) = mpsc::unbounded_channel();
        // Registered first: a fast command completes before its start is answered.
        self.lock().insert(id.clone(), sender);
        if self.rpc.is_closed() {
            self.lock().remove(&id);
            return Err(RpcError::Closed);
        }
        let start = StartCommand::new(id.clone(), command, Some(builder_name.to_owned()));
        match self.rpc.send(&MasterRequest::StartCommand(start)).await {
            Ok(pending) => Ok(RunningCommand::new(Arc::clone(self), id, events, pending)),
            Err(error) => {
                self.lock().remove(&id);
                Err(error)
            }
        }
    }

    /// Asks the worker to end a command. Does not wait for its answer: that could be behind output which only the
    /// caller can take.
    pub(super) async fn interrupt(&self, id: &CommandId, why: &str) {
        let request =
            MasterRequest::InterruptCommand { command_id: id.clone(), why: why.to_owned(), builder_name: None };
        let sent = tokio::time::timeout(INTERRUPT_TIMEOUT, self.rpc.send(&request)).await;
        if !matches!(sent, Ok(Ok(_))) {
            tracing::debug!(command.id = %id, "interrupt of command {id} could not be sent");
        }
    }

    /// A command's owner goes away before its end.
    pub(super) fn abandon(&self, id: &CommandId) {
        // Nobody listens any more when the connection has ended; then there is nothing to interrupt either.
        let _ = self.orphans.send(id.clone());
    }

    /// The command did not start, or ended: nothing is expected of it any more.
    pub(super) fn forget(&self, id: &CommandId) {
        self.lock().remove(id);
    }

    /// Reads the connection until it ends. All commands then learn that it was lost.
    pub(super) async fn read(
        &self,
        requests: &mut Requests<WorkerRequest>,
        graceful: impl Fn(),
    ) -> Result<(), RpcError> {
        let result = self.read_requests(requests, graceful).await;
        self.rpc.close();
        result
    }

    /// Ends all commands, and gives the ids of those that the worker may still be running.
    pub(super) fn drain(&self) -> Vec<CommandId> {
        self.lock().drain().map(|(id, _)| id).collect()
    }

    async fn read_requests(&self, requests: &mut Requests<WorkerRequest>, graceful: impl Fn()) -> Result<(), RpcError> {
        while let Some(incoming) = requests.next().await? {
            let (request, responder) = (incoming.request, incoming.responder);
            let Some(id) = request.command_id().cloned() else {
                graceful();
                responder.ok(Value::Nil).await;
                continue;
            };
            let Some(command) = self.lock().get(&id).cloned() else {
                responder.error("'unknown \"command_id\"'").await;
                continue;
            };
            // A send fails if the owner went away; the command is then being interrupted.
            match request {
                WorkerRequest::Update { updates, .. } => {
                    let charge = self.charge(updates.iter().map(size).sum()).await?;
                    responder.ok(Value::Nil).await;
                    let _ = command.send(CommandEvent::Updates(updates, charge));
                }
                WorkerRequest::Complete { failure, .. } => {
                    self.forget(&id);
                    responder.ok(Value::Nil).await;
                    let _ = command.send(CommandEvent::Complete(failure));
                }
                transfer => {
                    let bytes = match &transfer {
                        WorkerRequest::UploadFileWrite { data, .. }
                        | WorkerRequest::UploadDirectoryWrite { data, .. } => data.len(),
                        _ => 0,
                    };
                    let charge = self.charge(bytes).await?;
                    let _ = command.send(CommandEvent::Transfer(transfer, responder, charge));
                }
            }
        }
        Ok(())
    }

    /// Takes a part of the budget, waiting until there is some.
    async fn charge(&self, bytes: usize) -> Result<Charge, RpcError> {
        let bytes = u32::try_from((bytes + EVENT_BYTES).min(BUDGET_BYTES)).unwrap_or(u32::MAX);
        let permit = tokio::select! {
            permit = Arc::clone(&self.budget).acquire_many_owned(bytes) => permit,
            () = self.rpc.closed() => return Err(RpcError::Closed),
        };
        Ok(Charge(permit.ok()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CommandId, mpsc::UnboundedSender<CommandEvent>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About what an update takes in memory.
fn size(update: &CommandUpdate) -> usize {
    match update {
        CommandUpdate::Stdout(text) | CommandUpdate::Stderr(text) | CommandUpdate::Header(text) => text_size(text),
        CommandUpdate::Log { text, .. } => text_size(text),
        CommandUpdate::Files(names) => names.iter().map(|name| name.len() + 24).sum(),
        _ => 64,
    }
}

fn text_size(text: &worker_protocol::LogText) -> usize {
    text.text.len() + 4 * text.positions.len() + 8 * text.times.len()
}
