//! A scripted master for the worker's tests: sends requests one by one and keeps all that comes back, in order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker_protocol::rpc::{self, RpcOptions};
use worker_protocol::{
    Command, CommandId, CommandUpdate, FrameSocket, MasterRequest, Pending, Responder, Rpc, ShellArgs, ShellCommand,
    StartCommand, Value, WorkerRequest, WorkerSettings,
};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A master with one worker, over in-memory channels.
pub(crate) struct Master {
    pub(crate) rpc: Rpc<MasterRequest>,
    pub(crate) dir: tempfile::TempDir,
    /// Requests of the worker that were not answered yet, in order.
    pub(crate) requests: mpsc::Receiver<(WorkerRequest, Responder)>,
    pub(crate) worker: JoinHandle<std::io::Result<()>>,
    pub(crate) token: CancellationToken,
    reader: JoinHandle<()>,
}

/// All that a command told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) updates: Vec<CommandUpdate>,
    pub(crate) failure: Option<String>,
}

impl Master {
    /// A worker that was just attached.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = FrameSocket::pair("test", 8);
        let token = CancellationToken::new();
        let worker = tokio::spawn(buildguild_worker::run_local("w", dir.path().to_path_buf(), theirs, token.clone()));
        let (rpc, mut incoming) = rpc::split::<MasterRequest, WorkerRequest>(ours, RpcOptions::default());
        // More than the worker leaves open: its requests must not keep its responses from being read.
        let (sender, requests) = mpsc::channel(64);
        let reader = tokio::spawn(async move {
            while let Ok(Some(request)) = incoming.next().await {
                if sender.send((request.request, request.responder)).await.is_err() {
                    return;
                }
            }
        });
        Self { rpc, dir, requests, worker, token, reader }
    }

    pub(crate) async fn with_settings(change: impl FnOnce(&mut WorkerSettings)) -> Self {
        let master = Self::new().await;
        let mut settings = WorkerSettings::default();
        change(&mut settings);
        master.rpc.call(&MasterRequest::SetWorkerSettings(settings)).await.unwrap();
        master
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.base().join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// A shell line in the worker's directory, without the environment's header.
    pub(crate) fn line(&self, line: &str) -> ShellArgs {
        let mut args = ShellArgs::new(ShellCommand::Line(line.to_owned()), self.path("build"));
        args.log_environ = false;
        args
    }

    pub(crate) async fn start(&self, id: &str, command: &Command) -> Pending {
        let start = StartCommand::new(CommandId::from(id), command, Some("b".to_owned()));
        self.rpc.send(&MasterRequest::StartCommand(start)).await.unwrap()
    }

    pub(crate) async fn start_raw(&self, name: &str, args: Value) -> Pending {
        let start = StartCommand { command_id: "raw".into(), command_name: name.to_owned(), args, builder_name: None };
        self.rpc.send(&MasterRequest::StartCommand(start)).await.unwrap()
    }

    pub(crate) async fn interrupt(&self, id: &str) {
        let request = MasterRequest::InterruptCommand {
            command_id: id.into(),
            why: "please stop".to_owned(),
            builder_name: None,
        };
        assert!(self.rpc.call(&request).await.unwrap().is_nil());
    }

    pub(crate) async fn next(&mut self) -> (WorkerRequest, Responder) {
        tokio::time::timeout(DEADLINE, self.requests.recv()).await.expect("the worker says nothing").unwrap()
    }

    /// Starts a command and answers everything with nil until it is complete.
    pub(crate) async fn run(&mut self, command: Command) -> Told {
        let pending = self.start("c", &command).await;
        let told = self.finish().await;
        assert!(pending.result().await.unwrap().is_nil());
        told
    }

    /// Takes updates until the complete; checks that nothing follows it.
    pub(crate) async fn finish(&mut self) -> Told {
        self.finish_with(|_| Value::Nil).await
    }

    /// As [`Master::finish`], with answers to other requests than updates.
    pub(crate) async fn finish_with(&mut self, mut answer: impl FnMut(&WorkerRequest) -> Value) -> Told {
        let mut told = Told::default();
        loop {
            let (request, responder) = self.next().await;
            match request {
                WorkerRequest::Update { updates, .. } => {
                    told.updates.extend(updates);
                    responder.ok(Value::Nil).await;
                }
                WorkerRequest::Complete { failure, .. } => {
                    told.failure = failure;
                    responder.ok(Value::Nil).await;
                    break;
                }
                other => responder.ok(answer(&other)).await,
            }
        }
        // The worker answers requests in order: what it had to say is said before this returns.
        self.rpc.call(&MasterRequest::Keepalive).await.unwrap();
        assert!(self.requests.try_recv().is_err(), "something follows the complete");
        told
    }

    /// Reads updates until one satisfies the condition.
    pub(crate) async fn until(&mut self, mut found: impl FnMut(&CommandUpdate) -> bool) -> Vec<CommandUpdate> {
        let mut all = Vec::new();
        loop {
            let (request, responder) = self.next().await;
            responder.ok(Value::Nil).await;
            let WorkerRequest::Update { updates, .. } = request else { panic!("{request:?}") };
            let done = updates.iter().any(&mut found);
            all.extend(updates);
            if done {
                return all;
            }
        }
    }
}

impl Told {
    pub(crate) fn rc(&self) -> Option<i64> {
        self.updates.iter().find_map(|update| match update {
            CommandUpdate::Rc(rc) => Some(*rc),
            _ => None,
        })
    }

    pub(crate) fn has_elapsed(&self) -> bool {
        self.updates.iter().any(|update| matches!(update, CommandUpdate::Elapsed(_)))
    }

    pub(crate) fn failure_reason(&self) -> Option<&str> {
        self.updates.iter().find_map(|update| match update {
            CommandUpdate::FailureReason(reason) => Some(reason.as_str()),
            _ => None,
        })
    }

    pub(crate) fn stdout(&self) -> String {
        texts(&self.updates, "stdout")
    }

    pub(crate) fn stderr(&self) -> String {
        texts(&self.updates, "stderr")
    }

    pub(crate) fn header(&self) -> String {
        texts(&self.updates, "header")
    }

    pub(crate) fn log(&self, wanted: &str) -> String {
        self.updates
            .iter()
            .filter_map(|update| match update {
                CommandUpdate::Log { name, text } if name == wanted => Some(text.text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The kinds in order, repeated neighbours once.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.updates.iter().map(CommandUpdate::key).collect();
        keys.dedup();
        keys
    }
}

pub(crate) fn texts(updates: &[CommandUpdate], key: &str) -> String {
    let mut all = String::new();
    for update in updates.iter().filter(|update| update.key() == key) {
        if let CommandUpdate::Stdout(text) | CommandUpdate::Stderr(text) | CommandUpdate::Header(text) = update {
            check_text(text);
            all.push_str(&text.text);
        }
    }
    all
}

/// What masters rely on: whole lines, and positions and times for each.
fn check_text(text: &worker_protocol::LogText) {
    assert!(text.text.ends_with('\n'), "{:?}", text.text);
    let positions: Vec<u32> =
        text.text.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(i, _)| u32::try_from(i).unwrap()).collect();
    assert_eq!(text.positions, positions);
    assert_eq!(text.times.len(), positions.len());
    assert!(text.times.iter().all(|time| *time > 1.6e9));
}

/// Whether a process lives; a zombie does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()), None | Some('Z' | 'X'))
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await; // polls
    }
}

/// The number that a file holds, once it does.
pub(crate) async fn pid_in(path: &Path) -> i32 {
    let read = || std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    eventually(&format!("a number in {}", path.display()), || read().is_some()).await;
    read().unwrap()
}

impl Master {
    /// As [`Master::finish`] while other commands run: takes updates until the first complete.
    pub(crate) async fn finish_one(&mut self) -> Told {
        let mut told = Told::default();
        loop {
            let (request, responder) = self.next().await;
            responder.ok(Value::Nil).await;
            match request {
                WorkerRequest::Update { updates, .. } => told.updates.extend(updates),
                WorkerRequest::Complete { failure, .. } => {
                    told.failure = failure;
                    return told;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Master {
    /// Goes away, as by a lost connection. The directory stays until the worker has ended.
    pub(crate) fn drop_connection(self) -> JoinHandle<std::io::Result<()>> {
        let Self { rpc, dir, worker, reader, requests, .. } = self;
        reader.abort();
        drop((rpc, requests));
        tokio::spawn(async move {
            let end = worker.await.unwrap();
            drop(dir);
            end
        })
    }
}
