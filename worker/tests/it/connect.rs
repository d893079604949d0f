//! Connections over TCP: login, loss, reconnecting, leaving.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use buildguild_worker::{RunEnd, Stop, WorkerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use worker_protocol::rpc::{self, RpcOptions};
use worker_protocol::socket::{PingOptions, server};
use worker_protocol::{
    Admission, Command, CommandId, EXTENSION_GRACEFUL, FrameSocket, MasterRequest, Refusal, Requests, Rpc, ShellArgs,
    ShellCommand, StartCommand, Value, WorkerAcceptor, WorkerRequest, WorkerSettings,
};

use crate::support::{DEADLINE, eventually, is_alive, pid_in};

type Session = (Rpc<MasterRequest>, Requests<WorkerRequest>);

/// Hands each connection to the test, and keeps it until the test drops it.
struct Gate {
    sessions: mpsc::Sender<Session>,
    refused: AtomicUsize,
}

#[async_trait]
impl WorkerAcceptor for Gate {
    async fn authenticate(&self, name: &str, password: &str) -> Result<Admission, Refusal> {
        if (name, password) == ("w", "p:w") {
            return Ok(Admission::new(name));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(Refusal::BadCredentials)
    }

    async fn serve(&self, _admission: Admission, socket: FrameSocket) {
        let (rpc, requests) = rpc::split(socket, RpcOptions::default());
        if self.sessions.send((rpc.clone(), requests)).await.is_ok() {
            rpc.closed().await;
        }
    }
}

struct Listener {
    address: SocketAddr,
    gate: Arc<Gate>,
    sessions: mpsc::Receiver<Session>,
    task: JoinHandle<()>,
}

async fn listen(address: &str) -> Listener {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, sessions) = mpsc::channel(1);
    let gate = Arc::new(Gate { sessions: sender, refused: AtomicUsize::new(0) });
    let acceptor = gate.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let acceptor = acceptor.clone() as Arc<dyn WorkerAcceptor>;
            tokio::spawn(server::serve(stream, peer.to_string(), acceptor, PingOptions::default()));
        }
    });
    Listener { address, gate, sessions, task }
}

impl Listener {
    async fn next(&mut self) -> Session {
        tokio::time::timeout(DEADLINE, self.sessions.recv()).await.expect("the worker does not connect").unwrap()
    }
}

struct Worker {
    dir: tempfile::TempDir,
    stop: Stop,
    task: JoinHandle<RunEnd>,
}

fn start(address: SocketAddr, change: impl FnOnce(&mut WorkerConfig)) -> Worker {
    let dir = tempfile::tempdir().unwrap();
    let mut config = WorkerConfig::new(address.to_string(), "w", "p:w");
    config.maxdelay = 0;
    change(&mut config);
    let stop = Stop::new();
    let (basedir, asked) = (dir.path().to_path_buf(), stop.clone());
    let task = tokio::spawn(async move { buildguild_worker::run(&config, &basedir, &asked).await.unwrap() });
    Worker { dir, stop, task }
}

impl Worker {
    async fn end(self) -> RunEnd {
        tokio::time::timeout(DEADLINE, self.task).await.expect("the worker does not end").unwrap()
    }
}

/// Calls while reading, as a master does.
async fn call((rpc, requests): &mut Session, request: MasterRequest) -> Value {
    tokio::select! {
        result = rpc.call(&request) => result.unwrap(),
        other = requests.next() => panic!("{other:?}"),
    }
}

async fn attach(session: &mut Session, extensions: &[&str]) {
    let extensions = extensions.iter().map(|name| (*name).to_owned()).collect();
    let settings = WorkerSettings { extensions, buffer_timeout_secs: 0.05, ..WorkerSettings::default() };
    call(session, MasterRequest::SetWorkerSettings(settings)).await;
}

fn shell(dir: &tempfile::TempDir, line: &str) -> MasterRequest {
    let args = ShellArgs::new(ShellCommand::Line(line.to_owned()), dir.path().to_string_lossy());
    MasterRequest::StartCommand(StartCommand::new(CommandId::unique(), &Command::Shell(args), None))
}

/// Answers requests until one is found, or the connection ends.
async fn until((_, requests): &mut Session, mut found: impl FnMut(&WorkerRequest) -> bool) -> bool {
    loop {
        let next = tokio::time::timeout(DEADLINE, requests.next()).await.expect("the worker says nothing");
        let Ok(Some(incoming)) = next else { return false };
        let done = found(&incoming.request);
        incoming.responder.ok(Value::Nil).await;
        if done {
            return true;
        }
    }
}

/// Asks for the end; the answer comes, and then the connection closes.
async fn shut_down(session: &mut Session) {
    let bye = session.0.send(&MasterRequest::Shutdown).await.unwrap();
    assert!(!until(session, |_| false).await);
    assert!(bye.result().await.unwrap().is_nil());
}

#[tokio::test]
async fn a_lost_connection_kills_the_commands_and_the_worker_comes_back() {
    let mut listener = listen("127.0.0.1:0").await;
    let worker = start(listener.address, |_| {});
    let mut session = listener.next().await;
    attach(&mut session, &[]).await;
    let pid_file = worker.dir.path().join("pid");
    call(&mut session, shell(&worker.dir, &format!("echo $$ > {}; sleep 600", pid_file.display()))).await;
    let pid = pid_in(&pid_file).await;
    drop(session);
    let mut session = listener.next().await;
    // Over before the worker connects again: the directory is free.
    assert!(!is_alive(pid));
    attach(&mut session, &[]).await;
    assert!(call(&mut session, MasterRequest::Print { message: "again".to_owned() }).await.is_nil());
    shut_down(&mut session).await;
    assert_eq!(worker.end().await, RunEnd::Shutdown);
}

#[tokio::test]
async fn a_master_that_restarts_gets_its_worker_back() {
    let mut listener = listen("127.0.0.1:0").await;
    let worker = start(listener.address, |config| config.maxretries = Some(1000));
    attach(&mut listener.next().await, &[]).await;
    // The port closes; attempts fail; another master opens it.
    let address = listener.address;
    listener.task.abort();
    drop(listener);
    let mut again = None;
    let end = tokio::time::Instant::now() + DEADLINE;
    while again.is_none() {
        assert!(tokio::time::Instant::now() < end);
        match TcpListener::bind(address).await {
            Ok(free) => again = Some(free),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await, // polls
        }
    }
    drop(again);
    let mut listener = listen(&address.to_string()).await;
    attach(&mut listener.next().await, &[]).await;
    worker.stop.now();
    assert_eq!(worker.end().await, RunEnd::Stopped);
}

#[tokio::test]
async fn a_wrong_password_is_tried_again_and_can_be_given_up() {
    let listener = listen("127.0.0.1:0").await;
    let worker = start(listener.address, |config| {
        config.password = Some("wrong".to_owned());
        config.maxretries = Some(3);
    });
    assert_eq!(worker.end().await, RunEnd::TooManyRetries);
    assert_eq!(listener.gate.refused.load(Ordering::Relaxed), 4);
    // Nobody listens at all.
    let address = listener.address;
    listener.task.abort();
    let _ = listener.task.await;
    let worker = start(address, |config| config.maxretries = Some(2));
    assert_eq!(worker.end().await, RunEnd::TooManyRetries);
}

#[tokio::test]
async fn a_worker_that_leaves_asks_the_master_if_it_understands() {
    let mut listener = listen("127.0.0.1:0").await;
    let worker = start(listener.address, |_| {});
    let mut session = listener.next().await;
    attach(&mut session, &[EXTENSION_GRACEFUL]).await;
    worker.stop.when_idle();
    assert!(until(&mut session, |request| *request == WorkerRequest::Graceful).await);
    // The master lets a command come to its end first.
    let start = session.0.send(&shell(&worker.dir, "echo last")).await.unwrap();
    assert!(until(&mut session, |request| matches!(request, WorkerRequest::Complete { .. })).await);
    start.result().await.unwrap();
    shut_down(&mut session).await;
    assert_eq!(worker.end().await, RunEnd::Shutdown);
}

#[tokio::test]
async fn a_worker_that_cannot_ask_leaves_when_it_is_idle() {
    let mut listener = listen("127.0.0.1:0").await;
    let worker = start(listener.address, |_| {});
    let mut session = listener.next().await;
    attach(&mut session, &[]).await;
    let go = worker.dir.path().join("go");
    let line = format!("until test -e {}; do sleep 0.02; done; echo done", go.display());
    call(&mut session, shell(&worker.dir, &line)).await;
    worker.stop.when_idle();
    // Until the buffer's age sends the header, nothing happens; then the command is let go on.
    assert!(until(&mut session, |request| matches!(request, WorkerRequest::Update { .. })).await);
    std::fs::write(&go, "").unwrap();
    let mut completed = false;
    let end = until(&mut session, |request| {
        completed |= matches!(request, WorkerRequest::Complete { .. });
        false
    })
    .await;
    assert!(completed && !end);
    assert_eq!(worker.end().await, RunEnd::Stopped);
}

#[tokio::test]
async fn stopping_kills_what_runs() {
    let mut listener = listen("127.0.0.1:0").await;
    let worker = start(listener.address, |_| {});
    let mut session = listener.next().await;
    attach(&mut session, &[]).await;
    let pid_file = worker.dir.path().join("pid");
    call(&mut session, shell(&worker.dir, &format!("echo $$ > {}; sleep 600", pid_file.display()))).await;
    let pid = pid_in(&pid_file).await;
    worker.stop.now();
    assert_eq!(worker.end().await, RunEnd::Stopped);
    eventually("the command's end", || !is_alive(pid)).await;
}

#[tokio::test]
async fn a_master_that_falls_silent_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let worker = start(listener.local_addr().unwrap(), |config| config.keepalive = 1);
    // Pings arrive although nothing is said: the raw bytes after the handshake.
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.contains("Basic dzpwOnc="), "{head}");
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let key = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.unwrap().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let first = tokio::time::timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap();
    assert_eq!(first, 0x89, "a ping");
    worker.stop.now();
    drop(stream);
    assert_eq!(worker.end().await, RunEnd::Stopped);
}

#[tokio::test]
async fn the_connection_may_be_encrypted() {
    use tokio_rustls::rustls::{self, pki_types};
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut sessions) = mpsc::channel(1);
    let gate = Arc::new(Gate { sessions: sender, refused: AtomicUsize::new(0) });
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (tls, acceptor) = (tls.clone(), gate.clone() as Arc<dyn WorkerAcceptor>);
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = server::serve(stream, peer.to_string(), acceptor, PingOptions::default()).await;
                }
            });
        }
    });
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), certified.cert.pem()).unwrap();
    let address = format!("wss://localhost:{port}/worker");
    // Signed by nobody that is trusted.
    let worker = start(([127, 0, 0, 1], port).into(), |config| {
        config.master = address.clone();
        config.maxretries = Some(0);
    });
    assert_eq!(worker.end().await, RunEnd::TooManyRetries);
    let worker = start(([127, 0, 0, 1], port).into(), |config| {
        config.master = address.clone();
        config.tls_ca_file = Some(pem.path().to_path_buf());
    });
    let mut session = tokio::time::timeout(DEADLINE, sessions.recv()).await.unwrap().unwrap();
    attach(&mut session, &[]).await;
    shut_down(&mut session).await;
    assert_eq!(worker.end().await, RunEnd::Shutdown);
}
