//! One connection to a master: answers its requests, runs its commands.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker_protocol::rpc::{self, RpcOptions};
use worker_protocol::{
    Command, CommandError, CommandId, EXTENSION_GRACEFUL, FrameSocket, Incoming, MasterRequest, Requests, Responder,
    Rpc, StartCommand, Value, WorkerRequest, WorkerSettings,
};

use crate::command::{self, Control, Surroundings};
use crate::info;
use crate::output::Reporter;
use crate::python;
use crate::stop::Stop;

/// How many requests may wait for the master's answer, updates included. With messages of about 64 KiB this is what
/// bounds the memory that a slow master costs.
const MAX_OPEN_REQUESTS: usize = 32;

/// How long commands get to end once they are told to: the killing of a process takes up to ten seconds.
const WIND_UP: Duration = Duration::from_secs(15);

/// With a master that does not know the request `graceful`, a worker that wants to leave does so when it has had
/// nothing to do for that long: a build is many commands, with short pauses in between.
const IDLE_BEFORE_LEAVING: Duration = Duration::from_secs(5);

/// What a worker is, whatever master it talks to.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) basedir: Arc<PathBuf>,
    pub(crate) environ: Arc<BTreeMap<String, String>>,
    pub(crate) numcpus: Option<u32>,
    pub(crate) delete_leftover_dirs: bool,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// The connection closed or was lost.
    Lost {
        /// Whether the master had got so far as to send its settings.
        attached: bool,
    },
    /// The master asked the worker process to end.
    Shutdown,
    /// The worker was asked to end, and has nothing to do any more.
    Stopped,
}

/// Serves one connection to its end. All commands are over when this returns.
pub(crate) async fn serve(worker: &Worker, socket: FrameSocket, stop: &Stop) -> SessionEnd {
    let options = RpcOptions { max_open_requests: MAX_OPEN_REQUESTS };
    let (rpc, requests) = rpc::split::<WorkerRequest, MasterRequest>(socket, options);
    let session = Session {
        worker,
        rpc,
        settings: WorkerSettings::default(),
        attached: false,
        lost: CancellationToken::new(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
        leaving: Leaving::No,
    };
    session.run(requests, stop).await
}

/// How far a worker that was asked to end when idle has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The master knows; it will send `shutdown`.
    MasterKnows,
    /// The master cannot be told.
    WhenIdle,
}

struct Session<'a> {
    worker: &'a Worker,
    rpc: Rpc<WorkerRequest>,
    settings: WorkerSettings,
    attached: bool,
    /// Cancelled at the session's end: commands must not outlive it.
    lost: CancellationToken,
    running: HashMap<CommandId, Running>,
    tasks: JoinSet<CommandId>,
    leaving: Leaving,
}

struct Running {
    control: Control,
    task: tokio::task::Id,
}

impl Session<'_> {
    async fn run(mut self, mut requests: Requests<MasterRequest>, stop: &Stop) -> SessionEnd {
        let end = loop {
            let may_leave = self.attached && self.leaving == Leaving::No;
            let idle = self.leaving == Leaving::WhenIdle && self.running.is_empty();
            tokio::select! {
                request = requests.next() => match request {
                    Ok(Some(incoming)) => {
                        if self.handle(incoming).await {
                            break SessionEnd::Shutdown;
                        }
                    }
                    Ok(None) => break SessionEnd::Lost { attached: self.attached },
                    Err(error) => {
                        tracing::error!(%error, "master broke the protocol; connection is closed");
                        break SessionEnd::Lost { attached: self.attached };
                    }
                },
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.ended(done).await,
                () = stop.asked_now() => break SessionEnd::Stopped,
                () = stop.asked_gracefully(), if may_leave => self.leave().await,
                () = tokio::time::sleep(IDLE_BEFORE_LEAVING), if idle => break SessionEnd::Stopped,
            }
        };
        self.wind_up(requests).await;
        end
    }

    /// Handles a request. True if the worker is to end.
    async fn handle(&mut self, incoming: Incoming<MasterRequest>) -> bool {
        let Incoming { request, responder } = incoming;
        match request {
            MasterRequest::Print { message } => {
                tracing::info!(text = message, "message from master");
                responder.ok(Value::Nil).await;
            }
            MasterRequest::Keepalive => responder.ok(Value::Nil).await,
            MasterRequest::GetWorkerInfo => {
                let worker = self.worker;
                let info = info::gather(&worker.basedir, &worker.environ, worker.numcpus, worker.delete_leftover_dirs);
                responder.ok(info.to_value()).await;
            }
            MasterRequest::SetWorkerSettings(settings) => {
                if settings.newline_re != worker_protocol::STOCK_NEWLINE_RE {
                    tracing::warn!(
                        newline_re = settings.newline_re,
                        "newline expression is not known; the stock one is used"
                    );
                }
                self.settings = settings;
                self.attached = true;
                responder.ok(Value::Nil).await;
            }
            MasterRequest::StartCommand(start) => self.start(start, responder).await,
            MasterRequest::InterruptCommand { command_id, why, .. } => {
                tracing::info!(command.id = %command_id, why, "command is interrupted");
                if let Some(running) = self.running.get(&command_id) {
                    running.control.interrupt();
                }
                responder.ok(Value::Nil).await;
            }
            MasterRequest::Shutdown => {
                tracing::info!("master asks for shutdown");
                responder.ok(Value::Nil).await;
                return true;
            }
            other => {
                responder.error(format!("Command {} does not exist.", worker_protocol::WireRequest::op(&other))).await
            }
        }
        false
    }

    async fn start(&mut self, start: StartCommand, responder: Responder) {
        let StartCommand { command_id, command_name, args, .. } = start;
        if self.running.contains_key(&command_id) {
            responder.error(format!("command {command_id} is still running")).await;
            return;
        }
        let command = match Command::parse(&command_id, &command_name, &args) {
            Err(error @ (CommandError::Unknown { .. } | CommandError::Missing { .. })) => {
                tracing::warn!(command.id = %command_id, %error, "command was refused");
                responder.error(error.to_string()).await;
                return;
            }
            command => command,
        };
        drop(args);
        tracing::info!(command.id = %command_id, command.name = command_name, "command starts");
        // The answer leaves before the first update, which is the order one expects.
        responder.ok(Value::Nil).await;
        let control = Control::new(self.lost.clone());
        let reporter = Reporter::new(self.rpc.clone(), command_id.clone(), &self.settings);
        let surroundings = Surroundings { basedir: self.worker.basedir.clone(), environ: self.worker.environ.clone() };
        let work = command::run(command, surroundings, control.clone(), reporter);
        let id = command_id.clone();
        let task = self.tasks.spawn(async move {
            work.await;
            id
        });
        self.running.insert(command_id, Running { control, task: task.id() });
    }

    async fn ended(&mut self, done: Result<CommandId, tokio::task::JoinError>) {
        match done {
            Ok(command_id) => {
                tracing::info!(command.id = %command_id, "command has ended");
                self.running.remove(&command_id);
            }
            Err(error) => {
                let found = self.running.iter().find(|(_, running)| running.task == error.id());
                let Some(command_id) = found.map(|(id, _)| id.clone()) else { return };
                self.running.remove(&command_id);
                tracing::error!(command.id = %command_id, %error, "command failed inside the worker");
                // The master waits for this in any case.
                let failure = Some(python::failure("RuntimeError", "internal error of the worker"));
                let _ = self.rpc.send(&WorkerRequest::Complete { command_id, failure }).await;
            }
        }
    }

    /// Begins to leave: by the master if it knows how, else when there is nothing to do.
    async fn leave(&mut self) {
        if !self.settings.extensions.iter().any(|name| name == EXTENSION_GRACEFUL) {
            tracing::info!("worker leaves when it is idle; the master cannot be told");
            self.leaving = Leaving::WhenIdle;
            return;
        }
        tracing::info!("worker asks the master to let it go");
        self.leaving = match self.rpc.send(&WorkerRequest::Graceful).await {
            Ok(_) => Leaving::MasterKnows,
            Err(_) => Leaving::WhenIdle,
        };
    }

    /// Ends everything that was started for this connection. It is closed first: whatever still waits for the master
    /// gives up, so that nothing but the killing of processes takes time.
    async fn wind_up(mut self, requests: Requests<MasterRequest>) {
        self.lost.cancel();
        self.rpc.close();
        let tasks = &mut self.tasks;
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(WIND_UP, all_ended).await.is_err() {
            tracing::error!(commands = self.tasks.len(), "commands did not end in time");
            self.tasks.shutdown().await;
        }
        // What was answered before still leaves; only now the connection's other end sees it close.
        drop(requests);
    }
}
