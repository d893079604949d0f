//! `LocalWorker`: the native worker in this process, over in-memory channels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use buildguild_config::LoadedFarm;
use buildguild_types::farm::WorkerKind;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker_protocol::socket::FRAME_QUEUE;
use worker_protocol::{Admission, FrameSocket, WorkerAcceptor};

/// A local worker whose connection ended (another replica has the worker, or the database is away) tries again, first
/// after the shortest of these pauses.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest: of the replicas that have a local worker only one is connected, and the others go on asking.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Keeps the farm's local workers running, as the farm changes.
pub(crate) async fn run(
    mut farm: watch::Receiver<Arc<LoadedFarm>>,
    basedir: PathBuf,
    open: watch::Receiver<bool>,
    acceptor: Arc<dyn WorkerAcceptor>,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let mut running: BTreeMap<(String, PathBuf), CancellationToken> = BTreeMap::new();
    loop {
        let wanted = wanted(&farm.borrow_and_update(), &basedir);
        running.retain(|key, token| {
            let keep = wanted.contains(key);
            if !keep {
                token.cancel();
            }
            keep
        });
        for key in wanted {
            running.entry(key.clone()).or_insert_with(|| {
                let token = shutdown.child_token();
                tasks.spawn(keep_connected(key.0, key.1, open.clone(), Arc::clone(&acceptor), token.clone()));
                token
            });
        }
        tokio::select! {
            changed = farm.changed() => if changed.is_err() {
                // It will not change any more.
                shutdown.cancelled().await;
                break;
            },
            () = shutdown.cancelled() => break,
        }
    }
    for token in running.values() {
        token.cancel();
    }
    tasks.close();
    tasks.wait().await;
}

fn wanted(farm: &LoadedFarm, basedir: &Path) -> Vec<(String, PathBuf)> {
    farm.farm
        .workers
        .iter()
        .filter_map(|worker| match &worker.kind {
            WorkerKind::Local { workdir: Some(workdir) } => Some((worker.name.clone(), basedir.join(workdir))),
            WorkerKind::Local { workdir: None } => {
                Some((worker.name.clone(), basedir.join("workers").join(&worker.name)))
            }
            WorkerKind::Remote { .. } => None,
        })
        .collect()
}

async fn keep_connected(
    name: String,
    workdir: PathBuf,
    mut open: watch::Receiver<bool>,
    acceptor: Arc<dyn WorkerAcceptor>,
    token: CancellationToken,
) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        // It knocks when it may come in.
        tokio::select! {
            opened = open.wait_for(|open| *open) => if opened.is_err() {
                return;
            },
            () = token.cancelled() => return,
        }
        let began = Instant::now();
        let (ours, theirs) = FrameSocket::pair("local", FRAME_QUEUE);
        let worker = buildguild_worker::run_local(&name, workdir.clone(), theirs, token.clone());
        let (result, ()) = tokio::join!(worker, acceptor.serve(Admission::new(name.as_str()), ours));
        if let Err(error) = result {
            tracing::error!(worker.name = name, %error, "local worker {name} could not start in {}", workdir.display());
        }
        if began.elapsed() > LONGEST_PAUSE {
            // It was connected, and comes back soon.
            pause = SHORTEST_PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = token.cancelled() => {}
        }
    }
}
