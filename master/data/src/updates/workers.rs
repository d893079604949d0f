//! Workers and their sessions.

use std::collections::BTreeMap;

use buildguild_db::workers::{self, Connected, Session};
use buildguild_db::{DbError, Owner};
use buildguild_types::ids::WorkerId;
use serde_json::Value;

use crate::{Update, events};

impl Update {
    /// Makes a session the worker's, unless a living master holds another one; `replacing` names a session that its
    /// owner has found dead. Stores what the worker told about itself.
    ///
    /// # Errors
    /// [`DbError::EpochEnded`].
    pub async fn worker_connected(
        &self,
        worker: WorkerId,
        session: &str,
        replacing: Option<&str>,
        info: &BTreeMap<String, Value>,
    ) -> Result<Connected, DbError> {
        let session = Session { worker, owner: self.owner(), session: session.to_owned() };
        let connected = workers::connected(self.tx(), &session, replacing, info, self.now()).await?;
        if connected == Connected::Yes {
            self.announce_worker(worker, "connected").await?;
        }
        Ok(connected)
    }

    /// Ends a session of this master. Returns whether it was still the worker's.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn worker_disconnected(&self, worker: WorkerId, session: &str) -> Result<bool, DbError> {
        self.worker_disconnected_from(&Session { worker, owner: self.owner(), session: session.to_owned() }).await
    }

    /// Ends a session of any owner.
    pub(crate) async fn worker_disconnected_from(&self, session: &Session) -> Result<bool, DbError> {
        let was = workers::disconnected(self.tx(), session).await?;
        if was {
            self.announce_worker(session.worker, "disconnected").await?;
        }
        Ok(was)
    }

    /// Says that a worker has been missing for longer than its configuration allows.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn worker_missing(
        &self,
        worker: WorkerId,
        since: buildguild_types::time::Timestamp,
        notify: &[String],
    ) -> Result<(), DbError> {
        let Some(resource) = workers::get(self.tx(), worker).await? else { return Ok(()) };
        self.emit(events::worker_missing(&resource, since, notify)?);
        Ok(())
    }

    /// Pauses or unpauses a worker.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn set_worker_paused(&self, worker: WorkerId, paused: bool, reason: Option<&str>) -> Result<(), DbError> {
        if workers::set_paused(self.tx(), worker, paused, reason).await? {
            self.announce_worker(worker, "state_updated").await?;
        }
        Ok(())
    }

    /// Sets whether a worker leaves when its builds are done.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn set_worker_graceful(&self, worker: WorkerId, graceful: bool) -> Result<(), DbError> {
        if workers::set_graceful(self.tx(), worker, graceful).await? {
            self.announce_worker(worker, "state_updated").await?;
        }
        Ok(())
    }

    pub(crate) async fn announce_worker(&self, worker: WorkerId, verb: &str) -> Result<(), DbError> {
        if let Some(worker) = workers::get(self.tx(), worker).await? {
            self.emit(events::worker(&worker, verb)?);
        }
        Ok(())
    }

    /// The process that holds a worker's session, if any.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn worker_session_owner(&self, worker: WorkerId) -> Result<Option<Owner>, DbError> {
        Ok(workers::session(self.tx(), worker).await?.map(|session| session.owner))
    }
}
