//! The workers that are connected to this replica.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use buildguild_types::ids::WorkerId;
use tokio::sync::watch;
use uuid::Uuid;
use worker_protocol::CommandId;

use super::handle::WorkerHandle;

/// How many ids of commands that a lost worker may still be running are remembered for each worker.
const MAX_OLD_COMMANDS: usize = 256;

/// The workers that are connected to this replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sessions: RwLock<BTreeMap<String, WorkerHandle>>,
    /// A worker that lost its connection goes on with its commands; they are interrupted when it is back.
    old_commands: Mutex<HashMap<String, Vec<CommandId>>>,
    /// The sessions that are being made, by the worker's name.
    attaching: Mutex<HashMap<String, Uuid>>,
    changed: watch::Sender<u64>,
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

impl Workers {
    /// No workers.
    pub fn new() -> Self {
        let (changed, _) = watch::channel(0);
        let inner =
            Inner { sessions: RwLock::default(), old_commands: Mutex::default(), attaching: Mutex::default(), changed };
        Self { inner: Arc::new(inner) }
    }

    /// A worker that is connected here.
    pub fn get(&self, name: &str) -> Option<WorkerHandle> {
        self.sessions().get(name).cloned()
    }

    /// A worker that is connected here, by its id.
    pub fn by_id(&self, id: WorkerId) -> Option<WorkerHandle> {
        self.sessions().values().find(|worker| worker.id() == id).cloned()
    }

    /// All that are connected here, by name.
    pub fn all(&self) -> Vec<WorkerHandle> {
        self.sessions().values().cloned().collect()
    }

    /// Those of the named workers that are connected here and may get new builds.
    pub fn available<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<WorkerHandle> {
        let sessions = self.sessions();
        names
            .into_iter()
            .filter_map(|name| sessions.get(name))
            .filter(|worker| worker.is_available())
            .cloned()
            .collect()
    }

    /// Changes whenever a build might start that could not before: a worker came, was unpaused, or ended a build.
    /// (And at other times.)
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Closes all connections: this master may not go on with what they run.
    pub fn disconnect_all(&self) {
        for worker in self.all() {
            worker.disconnect();
        }
    }

    pub(super) fn changed(&self) -> watch::Sender<u64> {
        self.inner.changed.clone()
    }

    /// Begins to make a session. `None` if one of that worker is being made already.
    pub(super) fn begin_attach(&self, worker: &str, session: Uuid) -> Option<Attaching> {
        let mut attaching = self.attaching();
        if attaching.contains_key(worker) {
            return None;
        }
        attaching.insert(worker.to_owned(), session);
        Some(Attaching { workers: self.clone(), worker: worker.to_owned() })
    }

    /// Whether a session is being made here.
    pub(super) fn is_attaching(&self, session: &str) -> bool {
        self.attaching().values().any(|other| other.to_string() == session)
    }

    fn attaching(&self) -> std::sync::MutexGuard<'_, HashMap<String, Uuid>> {
        self.inner.attaching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, worker: WorkerHandle) {
        self.sessions_mut().insert(worker.name().to_owned(), worker);
        self.inner.changed.send_modify(|n| *n += 1);
    }

    /// Removes this connection, unless a newer one of the same worker has taken its place.
    pub(super) fn remove(&self, worker: &WorkerHandle) {
        let mut sessions = self.sessions_mut();
        if sessions.get(worker.name()).is_some_and(|current| current.session() == worker.session()) {
            sessions.remove(worker.name());
        }
        drop(sessions);
        self.inner.changed.send_modify(|n| *n += 1);
    }

    pub(super) fn remember_commands(&self, worker: &str, commands: Vec<CommandId>) {
        if commands.is_empty() {
            return;
        }
        let mut old = self.inner.old_commands.lock().unwrap_or_else(PoisonError::into_inner);
        let known = old.entry(worker.to_owned()).or_default();
        known.extend(commands);
        let excess = known.len().saturating_sub(MAX_OLD_COMMANDS);
        known.drain(..excess);
    }

    pub(super) fn take_old_commands(&self, worker: &str) -> Vec<CommandId> {
        let mut old = self.inner.old_commands.lock().unwrap_or_else(PoisonError::into_inner);
        old.remove(worker).unwrap_or_default()
    }

    fn sessions(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, WorkerHandle>> {
        self.inner.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, WorkerHandle>> {
        self.inner.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is being made, until this is dropped.
#[derive(Debug)]
pub(super) struct Attaching {
    workers: Workers,
    worker: String,
}

impl Drop for Attaching {
    fn drop(&mut self) {
        self.workers.attaching().remove(&self.worker);
    }
}
