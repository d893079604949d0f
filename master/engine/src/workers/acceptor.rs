//! Admits workers and serves their connections, wherever they came in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use async_trait::async_trait;
use buildguild_config::LoadedFarm;
use buildguild_data::Data;
use buildguild_db::workers::Session as DbSession;
use buildguild_types::farm::{WorkerConfig, WorkerKind};
use buildguild_types::pyrepr;
use buildguild_types::resources::Worker;
use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;
use worker_protocol::rpc::{RpcOptions, split};
use worker_protocol::{
    Admission, EXTENSION_GRACEFUL, EXTENSIONS_KEY, FrameSocket, MasterRequest, Refusal, Requests, WorkerAcceptor,
    WorkerInfo, WorkerRequest, WorkerSettings,
};

use super::handle::{Session, WorkerHandle, WorkerLost};
use super::link::Link;
use super::registry::Workers;
use super::store::{Admitted, Probed, WorkerStore};

/// How long another master may take to find out whether a connection lives: a ping's time, and the way of the question.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks for its answer.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// How long the worker may take for each answer of the attach.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Output waits at most this long in the worker, for live logs.
const BUFFER_TIMEOUT_SECS: f64 = 0.2;

/// The stock worker loses text of lines that are longer than it is told (W1 of the protocol reference), so it is told
/// much; the master splits what it cannot store.
const MAX_LINE_LENGTH: u64 = 1_000_000;

/// Why a worker is not served.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("another connection of the worker is alive")]
    Duplicate,
    #[error("the worker did not answer within {ANSWER_TIMEOUT:?}")]
    Timeout,
    #[error("the worker failed to answer: {0}")]
    Rpc(#[from] worker_protocol::RpcError),
    #[error("the worker did not say where its base directory is")]
    NoBasedir,
    #[error("this master's epoch ended meanwhile")]
    EpochEnded,
    #[error("note the connection")]
    Data(#[from] buildguild_db::DbError),
}

/// Admits the farm's workers and serves their connections.
pub(crate) struct Acceptor {
    workers: Workers,
    farm: watch::Receiver<Arc<LoadedFarm>>,
    store: WorkerStore,
    open: watch::Receiver<bool>,
}

impl Acceptor {
    /// `open` says whether this master takes workers now.
    pub(crate) fn new(
        workers: Workers,
        farm: watch::Receiver<Arc<LoadedFarm>>,
        data: Data,
        open: watch::Receiver<bool>,
    ) -> Self {
        Self { workers, farm, store: WorkerStore::new(data), open }
    }

    fn configured(&self, name: &str) -> Option<WorkerConfig> {
        self.farm.borrow().worker(name).cloned()
    }

    /// From the first message to a session that takes builds.
    async fn attach(&self, name: &str, link: &Arc<Link>) -> Result<WorkerHandle, AttachError> {
        let session = Uuid::now_v7();
        let attaching = self.workers.begin_attach(name, session).ok_or(AttachError::Duplicate)?;
        self.refuse_duplicate(name).await?;
        let rpc = link.rpc();
        let call = async |request: MasterRequest| {
            tokio::time::timeout(ANSWER_TIMEOUT, rpc.call(&request))
                .await
                .map_err(|_| AttachError::Timeout)?
                .map_err(AttachError::from)
        };
        let info = WorkerInfo::from_value(&call(MasterRequest::GetWorkerInfo).await?);
        if info.basedir.is_empty() {
            return Err(AttachError::NoBasedir);
        }
        let settings = WorkerSettings {
            max_line_length: MAX_LINE_LENGTH,
            buffer_timeout_secs: BUFFER_TIMEOUT_SECS,
            extensions: if knows_graceful(&info) { vec![EXTENSION_GRACEFUL.to_owned()] } else { Vec::new() },
            ..WorkerSettings::default()
        };
        call(MasterRequest::SetWorkerSettings(settings)).await?;
        let info_json = info_json(&info);
        let owner = self.store.owner();
        let worker = self.admit(name, session, &shown(&info_json)).await?;
        // From here on nobody else starts commands there.
        if let Err(error) = self.interrupt_leftovers(name, &worker, link).await {
            self.store.ended(worker.workerid, session).await?;
            return Err(error);
        }
        let handle = self.handle(name, &worker, session, info, info_json, Arc::clone(link));
        self.workers.insert(handle.clone());
        drop(attaching);
        // When an epoch ends all workers are let go; one that was about to be attached just then would stay, with a session
        // of the old epoch, which the others release: connected, and shown as not connected. Looked at after the insertion,
        // so that either this sees the new epoch or its beginning sees this worker.
        if self.store.owner() != owner {
            self.workers.remove(&handle);
            return Err(AttachError::EpochEnded);
        }
        let _ = handle.print("attached").await;
        Ok(handle)
    }

    /// Makes the session the worker's. If another master holds one, that master finds out whether it lives; only a dead
    /// one gives way.
    async fn admit(&self, name: &str, session: Uuid, info: &BTreeMap<String, Value>) -> Result<Worker, AttachError> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let mut replacing = None;
        let mut probing: Option<DbSession> = None;
        loop {
            let held = match self.store.connected(name, session, replacing.as_deref(), info).await? {
                Admitted::Yes(worker) => return Ok(worker),
                Admitted::HeldBy(held) => held,
            };
            if self.store.is_own(&held) {
                if self.workers.get(name).is_some() || replacing.is_some() {
                    return Err(AttachError::Duplicate);
                }
                // What an attach left behind whose connection broke in the middle.
                replacing = Some(held.session);
                continue;
            }
            if probing.as_ref() != Some(&held) {
                tracing::info!(
                    worker.name = name,
                    master.id = held.owner.master_id.get(),
                    "worker {name} connects, but master {} has it; asking whether that connection lives",
                    held.owner.master_id
                );
                self.store.probe(&held).await?;
            }
            loop {
                match self.store.probed(&held).await? {
                    Probed::Gone => break,
                    Probed::Lives => return Err(AttachError::Duplicate),
                    Probed::Asked if Instant::now() > deadline => return Err(AttachError::Duplicate),
                    Probed::Asked => tokio::time::sleep(PROBE_INTERVAL).await,
                }
            }
            probing = Some(held);
        }
    }

    /// Interrupts commands of earlier connections, to this master or another one: they would share directories with what
    /// comes now.
    async fn interrupt_leftovers(&self, name: &str, worker: &Worker, link: &Arc<Link>) -> Result<(), AttachError> {
        let mut ids = self.workers.take_old_commands(name);
        let others = self.store.leftovers(worker.workerid).await?;
        ids.extend(others.into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        let mut answers = Vec::with_capacity(ids.len());
        for command_id in ids {
            let why = "the connection of this command was lost".to_owned();
            let request = MasterRequest::InterruptCommand { command_id, why, builder_name: None };
            answers.push(link.rpc().send(&request).await?);
        }
        for answer in answers {
            tokio::time::timeout(ANSWER_TIMEOUT, answer.result()).await.map_err(|_| AttachError::Timeout)??;
        }
        Ok(())
    }

    fn handle(
        &self,
        name: &str,
        worker: &Worker,
        session: Uuid,
        info: WorkerInfo,
        info_json: BTreeMap<String, Value>,
        link: Arc<Link>,
    ) -> WorkerHandle {
        WorkerHandle(Arc::new(Session {
            name: name.to_owned(),
            id: worker.workerid,
            session,
            info,
            info_json,
            link,
            builds: AtomicU32::new(0),
            paused: AtomicBool::new(worker.paused),
            graceful: AtomicBool::new(worker.graceful),
            asks_to_leave: AtomicBool::new(false),
            touched: Notify::new(),
            changed: self.workers.changed(),
        }))
    }

    /// A second connection of a worker replaces the first one only if that is dead.
    async fn refuse_duplicate(&self, name: &str) -> Result<(), AttachError> {
        let Some(old) = self.workers.get(name).filter(WorkerHandle::is_connected) else { return Ok(()) };
        tracing::info!(worker.name = name, "worker {name} connects twice; asking the first connection");
        match old.print("master got a duplicate connection").await {
            Ok(()) => Err(AttachError::Duplicate),
            Err(WorkerLost) => {
                // Its end is noted before the newcomer's beginning.
                self.store.disconnected(&old).await?;
                self.workers.remove(&old);
                Ok(())
            }
        }
    }

    async fn serve_link(
        &self,
        name: &str,
        link: &Arc<Link>,
        mut orphans: tokio::sync::mpsc::UnboundedReceiver<worker_protocol::CommandId>,
        requests: &mut Requests<WorkerRequest>,
    ) {
        let peer = requests.peer().to_owned();
        let reading = link.read(requests, || {
            if let Some(worker) = self.workers.get(name) {
                tracing::info!(worker.name = name, "worker {name} asks to leave");
                worker.ask_to_leave();
            }
        });
        tokio::pin!(reading);
        // Boxed, like the end below: their space is needed for a moment, that of this future as long as the worker stays.
        let attached = tokio::select! {
            attached = Box::pin(self.attach(name, link)) => attached,
            result = &mut reading => {
                tracing::info!(worker.name = name, peer, ?result, "worker {name} left before it was attached");
                return;
            }
        };
        let worker = match attached {
            Ok(worker) => worker,
            Err(error) => {
                tracing::warn!(worker.name = name, peer, %error, "worker {name} was not attached");
                link.rpc().close();
                return;
            }
        };
        tracing::info!(worker.name = name, peer, "worker {name} is connected");
        let mut farm = self.farm.clone();
        let mut open = self.open.clone();
        // The request to shut down, once it is made: whether the worker has agreed.
        let mut shutdown: Option<BoxFuture<'_, bool>> = None;
        let mut told_to_leave = false;
        let mut agreed = false;
        loop {
            if worker.is_due_to_leave() && !told_to_leave {
                told_to_leave = true;
                shutdown = Some(Box::pin(worker.request_shutdown()));
            }
            let idle = worker.running_builds() == 0;
            if idle && self.farm.borrow().worker(name).is_none() {
                tracing::info!(worker.name = name, "worker {name} is not configured any more");
                link.rpc().close();
            }
            // One that was told to end does so by itself.
            if idle && !*open.borrow_and_update() && !told_to_leave && worker.is_connected() {
                tracing::info!(worker.name = name, "worker {name} is idle and this master leaves: it is let go");
                link.rpc().close();
            }
            tokio::select! {
                result = &mut reading => {
                    tracing::info!(worker.name = name, peer, ?result, "worker {name} is disconnected");
                    break;
                }
                Some(orphan) = orphans.recv() => link.interrupt(&orphan, "the step was given up").await,
                Some(answer) = OptionFuture::from(shutdown.as_mut()) => {
                    agreed = answer;
                    shutdown = None;
                }
                Ok(()) = farm.changed() => {}
                Ok(()) = open.changed() => {}
                () = worker.touched() => {}
            }
        }
        self.workers.remember_commands(name, link.drain());
        self.workers.remove(&worker);
        // Its answer may have come together with the end of the connection.
        agreed |= shutdown.and_then(FutureExt::now_or_never).unwrap_or(false);
        let noted =
            async { if agreed { self.store.left(&worker).await } else { self.store.disconnected(&worker).await } };
        if let Err(error) = Box::pin(noted).await {
            // Housekeeping finds the row when this master's epoch ends; until then the worker's next connection to this
            // replica replaces it.
            tracing::warn!(worker.name = name, %error, "the end of worker {name}'s session was not noted");
        }
    }
}

#[async_trait]
impl WorkerAcceptor for Acceptor {
    async fn authenticate(&self, name: &str, password: &str) -> Result<Admission, Refusal> {
        if !*self.open.borrow() {
            return Err(Refusal::Unavailable);
        }
        let expected = self.configured(name).and_then(|worker| match worker.kind {
            WorkerKind::Remote { password } => password.as_literal().map(pyrepr::str),
            // A local worker never comes over the network.
            WorkerKind::Local { .. } => None,
        });
        // An unknown name takes as long as a wrong password.
        let matches = equal_in_constant_time(expected.as_deref().unwrap_or("\0"), password);
        if expected.is_some_and(|expected| !expected.is_empty()) && matches {
            Ok(Admission::new(name))
        } else {
            tracing::warn!(worker.name = name, "worker {name} was refused: unknown name or wrong password");
            Err(Refusal::BadCredentials)
        }
    }

    async fn serve(&self, admission: Admission, socket: FrameSocket) {
        let (rpc, mut requests) = split::<MasterRequest, WorkerRequest>(socket, RpcOptions::default());
        let (link, orphans) = Link::new(rpc);
        self.serve_link(&admission.worker_name, &link, orphans, &mut requests).await;
    }
}

fn knows_graceful(info: &WorkerInfo) -> bool {
    let extensions = info.extra.get(EXTENSIONS_KEY).and_then(worker_protocol::Value::as_array);
    extensions.is_some_and(|names| names.iter().any(|name| name.as_str() == Some(EXTENSION_GRACEFUL)))
}

/// All that the worker said, as JSON.
fn info_json(info: &WorkerInfo) -> BTreeMap<String, Value> {
    let mut json: BTreeMap<String, Value> =
        info.extra.iter().filter_map(|(key, value)| Some((key.clone(), to_json(value)?))).collect();
    json.insert("environ".to_owned(), serde_json::json!(info.environ));
    json.insert("system".to_owned(), info.system.as_str().into());
    json.insert("basedir".to_owned(), info.basedir.as_str().into());
    json.insert("numcpus".to_owned(), info.numcpus.into());
    json.insert("version".to_owned(), info.version.as_str().into());
    json
}

/// What the API shows of it: nothing of the worker's environment, which may hold secrets, and no more than Buildbot
/// does, since its page makes a column of every key.
fn shown(info: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    ["admin", "host", "access_uri", "version"]
        .into_iter()
        .map(|key| (key.to_owned(), info.get(key).cloned().unwrap_or(Value::Null)))
        .collect()
}

fn to_json(value: &worker_protocol::Value) -> Option<Value> {
    if let Some(text) = worker_protocol::codec::text(value) {
        return Some(Value::String(text));
    }
    if value.is_nil() {
        return Some(Value::Null);
    }
    value
        .as_bool()
        .map(Value::Bool)
        .or_else(|| value.as_i64().map(Value::from))
        .or_else(|| value.as_f64().map(Value::from))
}

/// Compares without telling by its duration where the texts differ.
fn equal_in_constant_time(expected: &str, given: &str) -> bool {
    let (expected, given) = (expected.as_bytes(), given.as_bytes());
    let mut difference = expected.len() ^ given.len();
    for (n, byte) in given.iter().enumerate() {
        // Always as many turns as the given text has bytes, which is known to whoever sent it.
        let wanted = expected.get(n % expected.len().max(1)).copied().unwrap_or(0);
        difference |= usize::from(byte ^ wanted);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_whole() {
        for (expected, given, equal) in
            [("pw", "pw", true), ("pw", "pwpw", false), ("pw", "p", false), ("pw", "", false), ("", "x", false)]
        {
            assert_eq!(equal_in_constant_time(expected, given), equal, "{expected:?} {given:?}");
        }
    }
}
