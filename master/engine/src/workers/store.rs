//! The connections of workers in the database.

use std::collections::BTreeMap;

use buildguild_data::Data;
use buildguild_db::DbError;
use buildguild_db::workers::{self, Connected};
use buildguild_types::resources::Worker;
use serde_json::Value;
use uuid::Uuid;

use super::handle::WorkerHandle;

/// Whether a connection is the worker's.
pub(super) enum Admitted {
    /// It is.
    Yes(Worker),
    /// Another living master has one.
    HeldElsewhere,
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
        info: &BTreeMap<String, Value>,
    ) -> Result<Admitted, DbError> {
        let session = session.to_string();
        let session = session.as_str();
        self.data
            .update(|u| async move {
                let id = workers::find_id(u.tx(), name).await?;
                match u.worker_connected(id, session, None, info).await? {
                    Connected::HeldBy(_) => Ok(Admitted::HeldElsewhere),
                    Connected::Yes => {
                        // A worker that was told to leave has left; what comes is a new one.
                        u.clear_worker_wishes(id).await?;
                        u.set_worker_graceful(id, false).await?;
                        let worker = workers::get(u.tx(), id).await?.ok_or(DbError::NotFound("worker"))?;
                        Ok(Admitted::Yes(worker))
                    }
                }
            })
            .await
    }

    pub(super) async fn disconnected(&self, worker: &WorkerHandle) -> Result<(), DbError> {
        let (id, session) = (worker.id(), worker.session().to_string());
        let session = session.as_str();
        self.data.update(|u| async move { u.worker_disconnected(id, session).await }).await?;
        Ok(())
    }
}
