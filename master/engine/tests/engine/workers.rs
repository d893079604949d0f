//! Worker sessions against a scripted worker on the same channels that a WebSocket ends in.

use std::sync::Arc;

use crate::support::{DEADLINE, Running, Scene, shell};
use buildguild_config::{FarmBundle, LoadedFarm};
use buildguild_db::workers;
use buildguild_types::results::Results;
use tokio::task::JoinHandle;
use worker_protocol::rpc::{RpcOptions, split};
use worker_protocol::{
    Admission, CommandId, CommandUpdate, FrameSocket, Incoming, LogText, MasterRequest, Refusal, Requests, Rpc,
    WorkerInfo, WorkerRequest,
};

/// The worker's end of a connection.
struct Scripted {
    rpc: Rpc<WorkerRequest>,
    requests: Requests<MasterRequest>,
    session: JoinHandle<()>,
    printed: Vec<String>,
    interrupted: Vec<CommandId>,
}

impl Scripted {
    /// Connects as the worker `w`.
    fn connect(scene: &Scene) -> Self {
        let (master, worker) = FrameSocket::pair("test", 8);
        let acceptor = scene.execution.acceptor();
        let session = tokio::spawn(async move { acceptor.serve(Admission::new("w"), master).await });
        let (rpc, requests) = split::<WorkerRequest, MasterRequest>(worker, RpcOptions::default());
        Self { rpc, requests, session, printed: Vec::new(), interrupted: Vec::new() }
    }

    async fn request(&mut self) -> Option<Incoming<MasterRequest>> {
        tokio::time::timeout(DEADLINE, self.requests.next()).await.expect("the master goes on").ok().flatten()
    }

    /// Answers everything until a command is started; `None` if the connection ends before.
    async fn until_command(&mut self) -> Option<CommandId> {
        loop {
            let Incoming { request, responder } = self.request().await?;
            responder.ok(answer(&request)).await;
            match request {
                MasterRequest::Print { message } => self.printed.push(message),
                MasterRequest::InterruptCommand { command_id, .. } => self.interrupted.push(command_id),
                MasterRequest::StartCommand(start) => return Some(start.command_id),
                _ => {}
            }
        }
    }

    /// Answers everything until the master has said that text.
    async fn until_printed(&mut self, text: &str) -> bool {
        while let Some(Incoming { request, responder }) = self.request().await {
            responder.ok(answer(&request)).await;
            match request {
                MasterRequest::Print { message } if message == text => return true,
                MasterRequest::InterruptCommand { command_id, .. } => self.interrupted.push(command_id),
                _ => {}
            }
        }
        false
    }

    async fn update(&self, command: &CommandId, updates: Vec<CommandUpdate>) {
        let update = WorkerRequest::Update { command_id: command.clone(), updates };
        self.rpc.send(&update).await.expect("the connection lives");
    }
}

/// What the worker answers.
fn answer(request: &MasterRequest) -> worker_protocol::Value {
    match request {
        MasterRequest::GetWorkerInfo => {
            WorkerInfo { basedir: "/w".to_owned(), system: "posix".to_owned(), ..WorkerInfo::default() }.to_value()
        }
        _ => worker_protocol::Value::Nil,
    }
}

async fn scene() -> Scene {
    Scene::without_worker(vec![shell("talks", "whatever")]).await
}

/// A scene with its worker attached.
async fn attached() -> (Scene, Scripted) {
    let scene = scene().await;
    let mut worker = Scripted::connect(&scene);
    assert!(worker.until_printed("attached").await);
    (scene, worker)
}

/// A build whose command the worker has been told to run.
async fn building(scene: &Scene, worker: &mut Scripted) -> (Running, CommandId) {
    let running = scene.start_build().await;
    (running, worker.until_command().await.expect("the step's command"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_worker_is_in_the_database_until_it_leaves() {
    let (scene, worker) = attached().await;
    let id = scene.execution.workers().get("w").expect("connected").id();
    let row = workers::get(scene.data.db().read(), id).await.expect("reads").expect("the worker");
    assert_eq!(row.connected_to.len(), 1);
    drop((worker.rpc, worker.requests));
    tokio::time::timeout(DEADLINE, worker.session).await.expect("the session ends").expect("no panic");
    let row = workers::get(scene.data.db().read(), id).await.expect("reads").expect("the worker");
    assert_eq!(row.connected_to, []);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_is_refused_while_the_first_answers() {
    let (scene, mut first) = attached().await;
    let mut second = Scripted::connect(&scene);
    assert!(first.until_printed("master got a duplicate connection").await);
    assert!(second.until_command().await.is_none(), "the second one is closed");
    tokio::time::timeout(DEADLINE, second.session).await.expect("ends").expect("no panic");
    assert!(scene.execution.workers().get("w").is_some_and(|worker| worker.is_connected()));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_a_lost_connection_are_interrupted_on_the_next() {
    let (scene, mut worker) = attached().await;
    let (running, command) = building(&scene, &mut worker).await;
    drop((worker.rpc, worker.requests));
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Retry));
    tokio::time::timeout(DEADLINE, worker.session).await.expect("the session ends").expect("no panic");
    let mut again = Scripted::connect(&scene);
    assert!(again.until_printed("attached").await);
    assert!(again.interrupted.contains(&command), "{command} in {:?}", again.interrupted);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_floods_is_slowed_down_and_loses_nothing() {
    const UPDATES: usize = 120;
    let (scene, mut worker) = attached().await;
    let (running, command) = building(&scene, &mut worker).await;
    let sender = worker.rpc.clone();
    // Answers of the master have to be read while updates are sent.
    let reading = tokio::spawn(async move { while worker.request().await.is_some() {} });
    let line = format!("{}\n", "x".repeat(99));
    let text = line.repeat(600);
    for n in 0..UPDATES {
        let mut text = LogText::at(text.as_str(), 1.0);
        text.text.replace_range(0..6, &format!("{n:06}"));
        let update = WorkerRequest::Update { command_id: command.clone(), updates: vec![CommandUpdate::Stdout(text)] };
        tokio::time::timeout(DEADLINE, sender.send(&update)).await.expect("the master goes on").expect("lives");
    }
    let rc = WorkerRequest::Update { command_id: command.clone(), updates: vec![CommandUpdate::Rc(0)] };
    sender.send(&rc).await.expect("lives");
    sender.send(&WorkerRequest::Complete { command_id: command, failure: None }).await.expect("lives");
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Success), "{}", build.state_string);
    let log = scene.log(build.buildid, "talks", "stdio").await;
    assert_eq!(log.lines().filter(|line| line.starts_with('o')).count(), 600 * UPDATES);
    for n in 0..UPDATES {
        assert!(log.contains(&format!("o{n:06}x")), "update {n}");
    }
    reading.abort();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_worker_are_exceptions_and_refusals_too() {
    let (scene, mut worker) = attached().await;
    let (running, command) = building(&scene, &mut worker).await;
    worker.update(&command, vec![CommandUpdate::Stdout(LogText::at("half\n", 1.0))]).await;
    let failure = Some("[Failure instance: out of paper]".to_owned());
    worker.rpc.send(&WorkerRequest::Complete { command_id: command, failure }).await.expect("lives");
    let reading = tokio::spawn(async move { while worker.request().await.is_some() {} });
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Exception));
    let log = scene.log(build.buildid, "talks", "stdio").await;
    assert!(log.contains("ohalf\n") && log.contains("out of paper"), "{log}");
    reading.abort();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_configured_no_more_is_let_go_after_its_build() {
    let (scene, mut worker) = attached().await;
    let (running, command) = building(&scene, &mut worker).await;
    let mut farm = scene.farm.farm.clone();
    farm.workers.clear();
    scene.reconfigure.send_replace(Arc::new(LoadedFarm::new(farm, FarmBundle::single("master.cfg", "#"))));
    worker.update(&command, vec![CommandUpdate::Rc(0)]).await;
    worker.rpc.send(&WorkerRequest::Complete { command_id: command, failure: None }).await.expect("lives");
    assert!(worker.until_command().await.is_none(), "the connection ends");
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Success));
    tokio::time::timeout(DEADLINE, worker.session).await.expect("the session ends").expect("no panic");
    assert!(scene.execution.workers().get("w").is_none());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_is_admitted() {
    let scene = scene().await;
    let acceptor = Arc::clone(&scene.execution.acceptor());
    for (name, password) in [("w", ""), ("w", "pw"), ("w", "secretsecret"), ("nobody", "\0")] {
        let refused = tokio::time::timeout(DEADLINE, acceptor.authenticate(name, password)).await;
        assert_eq!(refused.expect("answers at once").err(), Some(Refusal::BadCredentials), "{name}");
    }
    assert!(acceptor.authenticate("w", "secret").await.is_ok());
    scene.end().await;
}
