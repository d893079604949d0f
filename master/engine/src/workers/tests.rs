//! One worker and two masters: who may hold its connection, and what is left of an earlier one.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use buildguild_config::LoadedFarm;
use buildguild_data::{StartBuild, StepBegin};
use buildguild_db::{
    buildsets::{NewBuildset, StampRef},
    sourcestamps::NewSourceStamp,
    test_support::TestDb,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use worker_protocol::{
    Admission, FrameSocket, MasterRequest, Value, WorkerAcceptor, WorkerInfo, WorkerRequest,
    rpc::{RpcOptions, split},
};

use super::{Acceptor, Pool, Workers, of_step};
use crate::{
    control::Fulfilment,
    testing::{TestMaster, TestRunner, eventually, farm},
};

/// A master that takes workers.
struct Site {
    master: TestMaster,
    workers: Workers,
    acceptor: Arc<Acceptor>,
    _farm: watch::Sender<Arc<LoadedFarm>>,
    _open: watch::Sender<bool>,
}

impl Site {
    async fn start(test: &TestDb, name: &str) -> Self {
        let master = TestMaster::start(test, name, farm(&["b"], &[("w", None)])).await;
        let (farm, versions) = watch::channel(master.parts.farm());
        let (open, is_open) = watch::channel(true);
        let workers = Workers::new();
        let data = master.store.data().clone();
        let acceptor = Arc::new(Acceptor::new(workers.clone(), versions.clone(), data, is_open));
        let pool = Arc::new(Pool::new(workers.clone(), versions));
        let runner = TestRunner::new(master.store.clone(), true);
        let fulfilment = Fulfilment::new(Arc::clone(&master.parts), pool, runner);
        master.spawn(async move { fulfilment.run(&CancellationToken::new()).await });
        Self { master, workers, acceptor, _farm: farm, _open: open }
    }

    /// A worker process connects.
    fn connect(&self) -> Connection {
        let (here, there) = FrameSocket::pair("test", 8);
        let acceptor = Arc::clone(&self.acceptor);
        let served = tokio::spawn(async move { acceptor.serve(Admission::new("w"), here).await });
        let (rpc, mut requests) = split::<WorkerRequest, MasterRequest>(there, RpcOptions::default());
        let (hangs, interrupted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_hanging, ids) = (Arc::clone(&hangs), Arc::clone(&interrupted));
        let answering = tokio::spawn(async move {
            let _rpc = rpc;
            while let Ok(Some(incoming)) = requests.next().await {
                if is_hanging.load(Ordering::Acquire) {
                    std::mem::forget(incoming.responder);
                    continue;
                }
                let answer = match incoming.request {
                    MasterRequest::GetWorkerInfo => {
                        WorkerInfo { basedir: "/w".to_owned(), ..WorkerInfo::default() }.to_value()
                    }
                    MasterRequest::InterruptCommand { command_id, .. } => {
                        ids.lock().unwrap_or_else(PoisonError::into_inner).push(command_id);
                        Value::Nil
                    }
                    _ => Value::Nil,
                };
                incoming.responder.ok(answer).await;
            }
        });
        Connection { hangs, interrupted, served, answering }
    }

    async fn has_worker(&self) {
        eventually("the worker is connected", || async { self.workers.get("w") }).await;
    }
}

/// A connection of a worker, from its end.
struct Connection {
    hangs: Arc<AtomicBool>,
    interrupted: Arc<Mutex<Vec<worker_protocol::CommandId>>>,
    served: JoinHandle<()>,
    answering: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn the_newer_connection_wins_only_if_the_older_is_dead(test: &TestDb) {
    let a = Site::start(test, "a").await;
    let b = Site::start(test, "b").await;
    let first = a.connect();
    a.has_worker().await;
    let mut second = b.connect();
    tokio::time::timeout(std::time::Duration::from_secs(60), &mut second.served)
        .await
        .expect("the second is turned away at once")
        .expect("no panic");
    assert!(a.workers.get("w").is_some_and(|worker| worker.is_connected()) && b.workers.get("w").is_none());
    // Its machine is gone, but nobody has closed the connection.
    first.hangs.store(true, Ordering::Release);
    let _third = b.connect();
    b.has_worker().await;
    eventually("the first one is gone", || async { a.workers.get("w").is_none().then_some(()) }).await;
    assert!(b.workers.get("w").is_some_and(|worker| worker.is_connected()));
}

async fn a_session_that_its_master_does_not_know_gives_way(test: &TestDb) {
    let a = Site::start(test, "a").await;
    let b = Site::start(test, "b").await;
    let id = a.master.store.worker_id("w").await.expect("reads").expect("it is configured");
    let info = Default::default();
    let info = &info;
    let noted = a.master.store.update(|u| async move { u.worker_connected(id, "lost", None, info).await });
    noted.await.expect("it is noted");
    let _connection = b.connect();
    b.has_worker().await;
}

async fn a_successor_interrupts_what_a_dead_master_left_running(test: &TestDb) {
    let a = Site::start(test, "a").await;
    let b = Site::start(test, "b").await;
    let connection = a.connect();
    a.has_worker().await;
    let worker = a.workers.get("w").expect("it is connected").id();
    let builder = a.master.parts.builders()["b"];
    let new = NewBuildset {
        sourcestamps: vec![StampRef::New(NewSourceStamp::default())],
        builders: vec![builder],
        ..NewBuildset::default()
    };
    let (_, requests) = a.master.store.add_buildset(&new).await.expect("it is submitted");
    let request = requests[0].buildrequestid;
    a.master.store.claim(&[request]).await.expect("it is claimed");
    let step = a.master.store.update(|u| async move {
        let start = StartBuild { builder, request, worker, state_string: "building" };
        let build = u.add_build(&start).await?.buildid;
        u.begin_step(build, "worker_preparation", StepBegin::Prepared).await?;
        u.begin_step(build, "compile", StepBegin::Runs).await
    });
    let step = step.await.expect("it runs");
    // The worker process goes on; only its connection ends.
    drop(connection);
    a.master.die(test).await;
    let connection = b.connect();
    b.has_worker().await;
    let interrupted = connection.interrupted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let id = of_step(step.stepid, step.started_at.expect("it has begun"), 0);
    assert!(interrupted.contains(&id), "{id} in {interrupted:?}");
}

buildguild_db::on_both_databases!(
    the_newer_connection_wins_only_if_the_older_is_dead,
    a_session_that_its_master_does_not_know_gives_way,
    a_successor_interrupts_what_a_dead_master_left_running,
);
