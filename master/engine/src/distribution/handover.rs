//! What distribution and the execution of builds hand to each other.
//!
//! Distribution decides which request starts on which worker of this replica and claims it; from then on the build
//! belongs to the [`BuildRunner`], until it has ended and its request is completed (or given back, for a RETRY).

use std::sync::Arc;

use async_trait::async_trait;
use buildguild_config::LoadedFarm;
use buildguild_types::{
    farm::BuilderConfig,
    ids::{BuildId, BuilderId, WorkerId},
    resources::BuildRequest,
};
use futures::future::BoxFuture;
use tokio::sync::watch;

/// A worker that is connected to this replica and can start one more build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeWorker {
    /// Its id.
    pub worker_id: WorkerId,
    /// Its name.
    pub name: String,
    /// How many builds it runs now.
    pub running_builds: usize,
    /// How many more it takes; without a `max_builds`, any number.
    pub places: usize,
}

/// The workers of this replica.
pub trait WorkerPool: Send + Sync {
    /// Which of these workers are connected here, neither paused nor about to leave, and below their `max_builds`.
    /// Answers from memory; does not block.
    fn free(&self, names: &[String]) -> Vec<FreeWorker>;

    /// Takes one place of a worker, if it still has one.
    fn reserve(&self, name: &str) -> Option<WorkerSlot>;

    /// A counter that goes up whenever a worker may have become free: connected, unpaused, a place given back.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Takes over from the database whether a worker is paused or about to leave.
    fn set_availability(&self, worker: WorkerId, paused: bool, graceful: bool);

    /// Asks whether a session of a worker lives; one that does not answer is closed. A session that is not here does not
    /// live, unless it is just being made.
    fn probe(&self, worker: WorkerId, session: &str) -> BoxFuture<'static, bool>;

    /// Closes a worker's connection at once; its builds end with RETRY. False if it is not connected here.
    fn kill(&self, worker: WorkerId, reason: &str) -> bool;
}

/// A place on a worker. It is given back when this is dropped.
pub struct WorkerSlot {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its name.
    pub worker_name: String,
    /// Gives the place back when it is dropped.
    pub guard: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for WorkerSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerSlot").field("worker_name", &self.worker_name).finish_non_exhaustive()
    }
}

/// A claimed request and the place to run it.
#[derive(Debug)]
pub struct Assignment {
    /// The request, claimed by this replica.
    pub request: BuildRequest,
    /// The builder's id.
    pub builder_id: BuilderId,
    /// What the builder does, in the version `farm`.
    pub builder: Arc<BuilderConfig>,
    /// The configuration version in force when the request was claimed.
    pub farm: Arc<LoadedFarm>,
    /// The place.
    pub slot: WorkerSlot,
}

/// Who runs builds.
#[async_trait]
pub trait BuildRunner: Send + Sync {
    /// Runs a build from its row in the database to its end. When this returns, the build has ended, and its request is
    /// complete or, after a RETRY, unclaimed, in the same transaction. If the claim was lost, nothing more is written.
    ///
    /// Cancel safe: no; the caller runs it in a task of its own and waits for its end.
    async fn run(&self, assignment: Assignment);

    /// Stops a build that runs here: its running step is interrupted, the build ends CANCELLED. False if no such build
    /// runs here. Asking again changes nothing.
    fn stop(&self, build: BuildId, reason: &str) -> bool;

    /// The builds that run here.
    fn running(&self) -> Vec<BuildId>;
}
