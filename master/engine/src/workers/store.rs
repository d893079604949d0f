//! The connections of workers in the database.

use std::collections::BTreeMap;

use buildguild_data::Data;
use buildguild_db::wishes::{self, WishKind};
use buildguild_db::workers::{self, Connected, Session};
use buildguild_db::{DbError, Owner, masters};
use buildguild_types::ids::WorkerId;
use buildguild_types::resources::Worker;
use serde_json::Value;
use uuid::Uuid;
use worker_protocol::CommandId;

use super::handle::WorkerHandle;
use super::leftovers;

/// Whether a connection is the worker's.
pub(super) enum Admitted {
    /// It is.
    Yes(Worker),
    /// Another session of the worker is there.
    HeldBy(Session),
}

/// What has become of a session that is being probed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// There is no answer yet.
    Asked,
    /// It lives.
    Lives,
    /// It has ended, or its master has.
    Gone,
}

async fn is_active(db: &buildguild_db::ReadConnection, owner: Owner) -> Result<bool, DbError> {
    let pulses = masters::pulses(db).await?;
    Ok(pulses.iter().any(|pulse| pulse.owner == owner && pulse.active))
}

/// Notes connections.
pub(super) struct WorkerStore {
    data: Data,
}

impl WorkerStore {
    pub(super) const fn new(data: Data) -> Self {
        Self { data }
    }

    pub(super) async fn connected(
        &self,
        name: &str,
        session: Uuid,
        replacing: Option<&str>,
        info: &BTreeMap<String, Value>,
    ) -> Result<Admitted, DbError> {
        let session = session.to_string();
        let session = session.as_str();
        self.data
            .update(|u| async move {
                let id = workers::find_id(u.tx(), name).await?;
                match u.worker_connected(id, session, replacing, info).await? {
                    Connected::HeldBy(held) => Ok(Admitted::HeldBy(held)),
                    Connected::Yes => {
                        u.take_up_worker_wishes(id).await?;
                        let worker = workers::get(u.tx(), id).await?.ok_or(DbError::NotFound("worker"))?;
                        Ok(Admitted::Yes(worker))
                    }
                }
            })
            .await
    }

    /// This process in its present epoch, if it has one.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.data.owner()
    }

    /// Whether a session is this process's.
    pub(super) fn is_own(&self, session: &Session) -> bool {
        self.data.owner() == Some(session.owner)
    }

    /// Has the master that holds this session ask whether it lives.
    pub(super) async fn probe(&self, held: &Session) -> Result<(), DbError> {
        let worker = held.worker;
        self.data.update(|u| async move { u.probe_worker(worker).await }).await
    }

    /// What has become of a session that is being probed.
    pub(super) async fn probed(&self, held: &Session) -> Result<Probed, DbError> {
        let db = self.data.db().read();
        // In this order: whoever finds it dead removes the session before the wish.
        let asked = wishes::get(db, WishKind::ProbeWorker, held.worker.get()).await?.is_some();
        let living = match workers::session(db, held.worker).await? {
            Some(session) if session == *held => is_active(db, held.owner).await?,
            _ => false,
        };
        Ok(match (living, asked) {
            (false, _) => Probed::Gone,
            (true, true) => Probed::Asked,
            (true, false) => Probed::Lives,
        })
    }

    /// The ids of commands that the worker may still be running for a master that is gone.
    pub(super) async fn leftovers(&self, worker: WorkerId) -> Result<Vec<CommandId>, DbError> {
        leftovers::on_worker(&self.data, worker).await
    }

    pub(super) async fn disconnected(&self, worker: &WorkerHandle) -> Result<(), DbError> {
        self.ended(worker.id(), worker.session()).await
    }

    /// Notes that a worker has left as it was told to, so that its next start is a new one, open for work.
    pub(super) async fn left(&self, worker: &WorkerHandle) -> Result<(), DbError> {
        let id = worker.id();
        let session = worker.session().to_string();
        let session = session.as_str();
        self.data
            .update(|u| async move {
                // Only while the session is still the worker's: a later one may have been wished away since.
                if u.worker_disconnected(id, session).await? {
                    u.worker_has_left(id).await?;
                }
                Ok(())
            })
            .await
    }

    /// Notes that a session has ended.
    pub(super) async fn ended(&self, id: WorkerId, session: Uuid) -> Result<(), DbError> {
        let session = session.to_string();
        let session = session.as_str();
        self.data.update(|u| async move { u.worker_disconnected(id, session).await }).await?;
        Ok(())
    }
}
