//! What a master's configuration has: builders and workers.

use buildguild_db::builders::{self, BuilderInfo, Synced};
use buildguild_db::{DbError, claims, workers};
use buildguild_types::ids::{BuilderId, WorkerId};

use crate::{Update, events};

impl Update {
    /// Makes the database agree with this master's configuration: its builders with their tags and descriptions, and
    /// which of them each worker is for. Builders that this master has anew or no longer are announced.
    ///
    /// # Errors
    /// [`DbError::EpochEnded`]; [`DbError::Invalid`] for a name that is too long.
    pub async fn update_builder_list(&self, infos: &[BuilderInfo]) -> Result<Synced, DbError> {
        claims::lock_master(self.tx(), self.owner()).await?;
        let synced = builders::sync(self.tx(), self.owner().master_id, infos).await?;
        for (ids, verb) in [(&synced.stopped, "stopped"), (&synced.started, "started")] {
            self.announce_builders(ids, verb).await?;
        }
        Ok(synced)
    }

    /// Notes which workers this master's configuration has, and for which builders. Returns their ids by name.
    ///
    /// # Errors
    /// [`DbError::EpochEnded`]; [`DbError::Invalid`] for a name that is too long.
    pub async fn update_worker_list(
        &self,
        list: &[(String, Vec<BuilderId>)],
    ) -> Result<std::collections::HashMap<String, WorkerId>, DbError> {
        claims::lock_master(self.tx(), self.owner()).await?;
        workers::sync(self.tx(), self.owner().master_id, list).await
    }

    pub(crate) async fn announce_builders(&self, ids: &[BuilderId], verb: &str) -> Result<(), DbError> {
        for builder in builders::get_many(self.tx(), ids).await? {
            self.emit(events::builder(&builder, self.owner().master_id, verb)?);
        }
        Ok(())
    }
}
