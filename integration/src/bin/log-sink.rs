//! A master that throws everything away: it lets one worker run one command, counts the output, and tells how long the
//! worker took to deliver it. That is the most that any master can receive from this worker.
//!
//! Prints `ready` when it listens, and one JSON line when the command has ended; then it ends too.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use worker_protocol::socket::{PingOptions, server};
use worker_protocol::{
    Admission, Command, CommandId, CommandUpdate, FrameSocket, MasterRequest, Refusal, ShellArgs, ShellCommand,
    StartCommand, Value, WorkerAcceptor, WorkerInfo, WorkerRequest, WorkerSettings, rpc,
};

/// Lets one worker run one command and throws its output away.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What was received.
struct Received {
    bytes: usize,
    seconds: f64,
}

struct Sink {
    command: Vec<String>,
    results: mpsc::Sender<Result<Received>>,
}

#[async_trait]
impl WorkerAcceptor for Sink {
    async fn authenticate(&self, name: &str, _password: &str) -> Result<Admission, Refusal> {
        Ok(Admission::new(name))
    }

    async fn serve(&self, _admission: Admission, socket: FrameSocket) {
        let result = self.run(socket).await;
        // Only the first worker counts; nobody waits for the others.
        let _ = self.results.send(result).await;
    }
}

impl Sink {
    async fn run(&self, socket: FrameSocket) -> Result<Received> {
        let (worker, mut requests) = rpc::split::<MasterRequest, WorkerRequest>(socket, rpc::RpcOptions::default());
        let started = tokio::spawn(start(worker, self.command.clone()));
        let (mut bytes, mut since) = (0, Instant::now());
        while let Some(incoming) = requests.next().await? {
            incoming.responder.ok(Value::Nil).await;
            match incoming.request {
                WorkerRequest::Update { updates, .. } => {
                    for update in updates {
                        if let CommandUpdate::Stdout(text) = update {
                            // The worker's way to the first output is not the feed.
                            if bytes == 0 {
                                since = Instant::now();
                            }
                            bytes += text.text.len();
                        }
                    }
                }
                WorkerRequest::Complete { .. } => break,
                _ => {}
            }
        }
        started.await??;
        Ok(Received { bytes, seconds: since.elapsed().as_secs_f64() })
    }
}

/// What a master says to a worker up to the start of a command.
async fn start(worker: worker_protocol::Rpc<MasterRequest>, command: Vec<String>) -> Result<()> {
    let info = WorkerInfo::from_value(&worker.call(&MasterRequest::GetWorkerInfo).await?);
    worker.call(&MasterRequest::SetWorkerSettings(WorkerSettings::default())).await?;
    let command = Command::Shell(ShellArgs::new(ShellCommand::Argv(command), info.basedir));
    worker.call(&MasterRequest::StartCommand(StartCommand::new(CommandId::unique(), &command, None))).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    println!("ready");
    let (results, mut ended) = mpsc::channel(1);
    let sink = Arc::new(Sink { command: arguments.command, results });
    let (stream, peer) = listener.accept().await?;
    let session = tokio::spawn(server::serve(stream, peer.to_string(), sink, PingOptions::default()));
    let received = ended.recv().await.ok_or_else(|| anyhow::anyhow!("the worker left before it had begun"))??;
    session.abort();
    println!("{}", serde_json::json!({ "bytes": received.bytes, "seconds": received.seconds }));
    Ok(())
}
