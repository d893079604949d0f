//! Changes.

use buildguild_db::changes::{self, NewChange};
use buildguild_db::{DbError, claims};
use buildguild_types::ids::ChangeSourceId;
use buildguild_types::resources::Change;

use crate::{Update, events};

impl Update {
    /// Adds a change.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn add_change(&self, change: &NewChange) -> Result<Change, DbError> {
        let change = changes::add(self.tx(), change, self.now()).await?;
        self.emit(events::change(&change, "new")?);
        Ok(change)
    }

    /// Locks the claim of a change source: what follows in this update is done by the master that runs it.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn lock_changesource(&self, changesource: ChangeSourceId) -> Result<(), DbError> {
        claims::lock_changesource(self.tx(), changesource, self.owner()).await
    }
}
