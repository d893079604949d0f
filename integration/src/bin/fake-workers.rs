//! Many fake workers in one process, for load: they log in, and end every command at once with exit code 0.
//!
//! The command line and the output are those of the load harness's own fake worker, of which this is the faster twin:
//! it runs until standard input is closed, then prints one JSON line with counters. With `--log-lines` its commands print.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use worker_protocol::socket::{FRAME_QUEUE, PingOptions, client, pump};
use worker_protocol::{
    CommandId, CommandUpdate, FrameSocket, LogText, MasterRequest, Rpc, Value, WorkerInfo, WorkerRequest, rpc,
};

/// Many fake workers in one process.
#[derive(Debug, Parser)]
struct Arguments {
    /// Masters, as `host:port,host:port`; the workers are spread over them.
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Workers are named by this and a number.
    #[arg(long, default_value = "w")]
    prefix: String,
    /// The first number.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// How many.
    #[arg(long, default_value_t = 10)]
    count: usize,
    /// Their password.
    #[arg(long, default_value = "pw")]
    password: String,
    /// How many log in at a time.
    #[arg(long, default_value_t = 50)]
    parallel_logins: usize,
    /// Each shell command prints that many lines of 99 bytes, as fast as the master takes them.
    #[arg(long, default_value_t = 0)]
    log_lines: usize,
}

#[derive(Debug, Default)]
struct Counters {
    connected: AtomicU64,
    settings: AtomicU64,
    shell: AtomicU64,
    commands: AtomicU64,
    errors: AtomicU64,
    closed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let counters = Arc::new(Counters::default());
    let logins = Arc::new(Semaphore::new(arguments.parallel_logins));
    let mut workers = JoinSet::new();
    for index in 0..arguments.count {
        let endpoint = arguments.endpoints[index % arguments.endpoints.len()].clone();
        let name = format!("{}{}", arguments.prefix, arguments.first + index);
        let (password, counters, logins) = (arguments.password.clone(), Arc::clone(&counters), Arc::clone(&logins));
        let log_lines = arguments.log_lines;
        workers.spawn(async move {
            if let Err(error) = worker(&endpoint, &name, &password, &counters, &logins, log_lines).await {
                count(&counters.errors);
                eprintln!("{name}: {error:#}");
            }
            count(&counters.closed);
        });
    }
    let mut ignored = Vec::new();
    tokio::io::stdin().read_to_end(&mut ignored).await?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let summary = serde_json::json!({
        "connected": get(&counters.connected),
        "settings": get(&counters.settings),
        "shell": get(&counters.shell),
        "commands": get(&counters.commands),
        "errors": get(&counters.errors),
        "closed": get(&counters.closed),
    });
    println!("{summary}");
    Ok(())
}

async fn worker(
    endpoint: &str,
    name: &str,
    password: &str,
    counters: &Arc<Counters>,
    logins: &Semaphore,
    log_lines: usize,
) -> Result<()> {
    let login = logins.acquire().await?;
    let stream = connect(endpoint).await.context("connect")?;
    stream.set_nodelay(true)?;
    let socket = client::connect(stream, &format!("ws://{endpoint}/"), name, password).await?;
    drop(login);
    count(&counters.connected);
    let (ours, theirs) = FrameSocket::pair(endpoint, FRAME_QUEUE);
    let connection = tokio::spawn(pump(socket, theirs, PingOptions::default()));
    let (master, mut requests) = rpc::split::<WorkerRequest, MasterRequest>(ours, rpc::RpcOptions::default());
    while let Some(incoming) = requests.next().await? {
        match incoming.request {
            MasterRequest::GetWorkerInfo => incoming.responder.ok(info(name).to_value()).await,
            MasterRequest::StartCommand(start) => {
                incoming.responder.ok(Value::Nil).await;
                tokio::spawn(command(master.clone(), start, Arc::clone(counters), log_lines));
            }
            MasterRequest::SetWorkerSettings(_) => {
                count(&counters.settings);
                incoming.responder.ok(Value::Nil).await;
            }
            _ => incoming.responder.ok(Value::Nil).await,
        }
    }
    connection.await??;
    Ok(())
}

/// Connects, and tries again for ten seconds: a master's worker port may open a little after its REST API.
async fn connect(endpoint: &str) -> std::io::Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(endpoint).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            result => return result,
        }
    }
}

/// A command that ends at once, with what a stock worker would say.
async fn command(
    master: Rpc<WorkerRequest>,
    start: worker_protocol::StartCommand,
    counters: Arc<Counters>,
    log_lines: usize,
) {
    count(&counters.commands);
    let mut updates = Vec::new();
    match start.command_name.as_str() {
        "listdir" => updates.push(CommandUpdate::Files(Vec::new())),
        "stat" => updates.push(CommandUpdate::Stat(vec![0o40755, 0, 0, 1, 0, 0, 4096, 0, 0, 0])),
        "shell" => {
            count(&counters.shell);
            updates.push(CommandUpdate::Header(LogText::at("true\n", 0.0)));
            if let Err(error) = print(&master, &start.command_id, log_lines).await {
                count(&counters.errors);
                eprintln!("{error}");
            }
        }
        _ => {}
    }
    updates.push(CommandUpdate::Rc(0));
    let command_id = start.command_id;
    let update = WorkerRequest::Update { command_id: command_id.clone(), updates };
    let done = WorkerRequest::Complete { command_id, failure: None };
    for request in [update, done] {
        if let Err(error) = master.call(&request).await {
            count(&counters.errors);
            eprintln!("{error}");
        }
    }
}

/// Lines per update: about what the buffer of a stock worker holds.
const LINES_PER_UPDATE: usize = 600;
/// Updates that are under way at a time; a stock worker has no limit.
const UPDATES_UNDER_WAY: usize = 16;

/// Sends the lines that the load harness's own printing command would print.
async fn print(master: &Rpc<WorkerRequest>, command_id: &CommandId, lines: usize) -> Result<(), rpc::RpcError> {
    let tail = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(2) + "0123456789";
    let mut under_way = VecDeque::new();
    for first in (0..lines).step_by(LINES_PER_UPDATE) {
        let text: String =
            (first..lines.min(first + LINES_PER_UPDATE)).map(|line| format!("BENCH {line:09} {tail}\n")).collect();
        let updates = vec![CommandUpdate::Stdout(LogText::at(text, 0.0))];
        under_way.push_back(master.send(&WorkerRequest::Update { command_id: command_id.clone(), updates }).await?);
        if under_way.len() == UPDATES_UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.result().await?;
        }
    }
    for pending in under_way {
        pending.result().await?;
    }
    Ok(())
}

fn info(name: &str) -> WorkerInfo {
    let commands = worker_protocol::COMMAND_NAMES;
    WorkerInfo {
        system: "posix".to_owned(),
        basedir: format!("/nonexistent/{name}"),
        numcpus: 1,
        version: "4.3.0".to_owned(),
        worker_commands: commands
            .iter()
            .map(|name| ((*name).to_owned(), worker_protocol::COMMAND_VERSION.to_owned()))
            .collect(),
        ..WorkerInfo::default()
    }
}
