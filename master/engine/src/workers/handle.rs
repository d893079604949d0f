//! A connected worker, as distribution and builds see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use buildguild_types::ids::WorkerId;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::sync::{Notify, watch};
use uuid::Uuid;
use worker_protocol::{Command, CommandId, MasterRequest, RpcError, WorkerInfo};

use super::command::RunningCommand;
use super::link::Link;
use super::paths::PathFlavour;

/// How long a ping may take before a worker counts as lost.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection to the worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost connection to the worker")]
pub struct WorkerLost;

/// A connected worker. Cheap to clone; clones mean the same connection, and stay valid (but useless) after its end.
#[derive(Clone, Debug)]
pub struct WorkerHandle(pub(super) Arc<Session>);

/// One worker's connection, from the end of its attach on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) id: WorkerId,
    pub(super) session: Uuid,
    pub(super) info: WorkerInfo,
    pub(super) info_json: BTreeMap<String, Value>,
    pub(super) link: Arc<Link>,
    pub(super) builds: AtomicU32,
    pub(super) paused: AtomicBool,
    /// Somebody wishes that the worker leave when it is idle.
    pub(super) graceful: AtomicBool,
    /// The worker itself wishes it.
    pub(super) asks_to_leave: AtomicBool,
    /// This worker was told something, or ended a build: for the task that serves its connection, and only that one.
    pub(super) touched: Notify,
    /// The same of any worker of this replica: for distribution.
    pub(super) changed: watch::Sender<u64>,
}

impl WorkerHandle {
    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The worker's id.
    pub fn id(&self) -> WorkerId {
        self.0.id
    }

    /// This connection's identity.
    pub fn session(&self) -> Uuid {
        self.0.session
    }

    /// What the worker said about itself.
    pub fn info(&self) -> &WorkerInfo {
        &self.0.info
    }

    /// What the worker said about itself, for `%(worker:...)s` and functions.
    pub fn info_json(&self) -> &BTreeMap<String, Value> {
        &self.0.info_json
    }

    /// The flavour of its paths.
    pub fn paths(&self) -> PathFlavour {
        PathFlavour::of_system(&self.0.info.system)
    }

    /// An absolute path: `parts` joined to the worker's base directory, one after the other.
    pub fn path(&self, parts: &[&str]) -> String {
        let flavour = self.paths();
        parts.iter().fold(self.0.info.basedir.clone(), |path, part| flavour.join(&path, part))
    }

    /// Whether the connection lives.
    pub fn is_connected(&self) -> bool {
        !self.0.link.rpc().is_closed()
    }

    /// Whether new builds may go to it.
    pub fn is_available(&self) -> bool {
        self.is_connected() && !self.0.paused.load(Ordering::Acquire) && !self.is_to_leave()
    }

    /// How many builds it runs.
    pub fn running_builds(&self) -> u32 {
        self.0.builds.load(Ordering::Acquire)
    }

    /// Takes a place for a build, if the worker may have one more (`max_builds`; `None`: any number).
    pub fn reserve(&self, max_builds: Option<u32>) -> Option<BuildSlot> {
        if !self.is_available() {
            return None;
        }
        let limit = max_builds.unwrap_or(u32::MAX);
        self.0
            .builds
            .try_update(Ordering::AcqRel, Ordering::Acquire, |builds| (builds < limit).then_some(builds + 1))
            .ok()?;
        Some(BuildSlot { worker: self.clone() })
    }

    /// Waits until the connection has ended. Cancel safe.
    pub async fn lost(&self) {
        self.0.link.rpc().closed().await;
    }

    /// Makes sure that the worker answers. One that does not is disconnected.
    ///
    /// # Errors
    /// If it did not answer in time, or the connection has ended.
    pub async fn ping(&self) -> Result<(), WorkerLost> {
        self.print("ping").await
    }

    pub(super) async fn print(&self, message: &str) -> Result<(), WorkerLost> {
        let rpc = self.0.link.rpc();
        let request = MasterRequest::Print { message: message.to_owned() };
        match tokio::time::timeout(PING_TIMEOUT, rpc.call(&request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(worker.name = self.name(), %error, "worker {} failed to answer", self.name());
                rpc.close();
                Err(WorkerLost)
            }
            Err(_) => {
                tracing::warn!(worker.name = self.name(), "worker {} did not answer in time", self.name());
                rpc.close();
                Err(WorkerLost)
            }
        }
    }

    /// Starts a command under an id that no other command of this worker has or had.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn start_command(
        &self,
        id: CommandId,
        command: &Command,
        builder_name: &str,
    ) -> Result<RunningCommand, WorkerLost> {
        self.0.link.start(id, command, builder_name).await.map_err(|_: RpcError| WorkerLost)
    }

    /// Closes the connection. Its builds learn that the worker was lost.
    pub fn disconnect(&self) {
        self.0.link.rpc().close();
    }

    /// Tells the worker process to end, and says whether it has agreed. It closes the connection itself.
    pub(super) async fn request_shutdown(&self) -> bool {
        let rpc = self.0.link.rpc();
        let answer = tokio::time::timeout(PING_TIMEOUT, rpc.call(&MasterRequest::Shutdown)).await;
        match answer {
            Ok(Ok(_)) => true,
            Ok(Err(error @ RpcError::Remote(_))) => {
                tracing::warn!(worker.name = self.name(), %error, "worker {} does not shut down", self.name());
                false
            }
            Ok(Err(_)) | Err(_) => {
                rpc.close();
                false
            }
        }
    }

    /// Waits until it is told something or a build of it ends. Cancel safe, for one waiter.
    pub(super) async fn touched(&self) {
        self.0.touched.notified().await;
    }

    fn is_to_leave(&self) -> bool {
        self.0.graceful.load(Ordering::Acquire) || self.0.asks_to_leave.load(Ordering::Acquire)
    }

    /// A graceful shutdown that waited for the last build.
    pub(super) fn is_due_to_leave(&self) -> bool {
        self.is_to_leave() && self.running_builds() == 0
    }

    /// The worker asks for its graceful shutdown. The database does not know of it, so that what it says of wishes
    /// changes nothing here.
    pub(super) fn ask_to_leave(&self) {
        if !self.0.asks_to_leave.swap(true, Ordering::AcqRel) {
            self.touch();
        }
    }

    pub(super) fn set_paused(&self, paused: bool) {
        // Listeners re-read the database and come back here: only a change may wake them.
        if self.0.paused.swap(paused, Ordering::AcqRel) != paused {
            self.touch();
        }
    }

    pub(super) fn set_graceful(&self, graceful: bool) {
        if self.0.graceful.swap(graceful, Ordering::AcqRel) != graceful {
            self.touch();
        }
    }

    fn touch(&self) {
        self.0.touched.notify_one();
        self.0.changed.send_modify(|n| *n += 1);
    }
}

/// A place for one build on a worker, given back when dropped.
#[derive(Debug)]
pub struct BuildSlot {
    worker: WorkerHandle,
}

impl BuildSlot {
    /// The worker.
    pub const fn worker(&self) -> &WorkerHandle {
        &self.worker
    }
}

impl Drop for BuildSlot {
    fn drop(&mut self) {
        self.worker.0.builds.fetch_sub(1, Ordering::AcqRel);
        self.worker.touch();
    }
}
