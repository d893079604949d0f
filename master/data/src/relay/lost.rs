//! What a broker lost although it had confirmed it, and how it is published again.
//!
//! Published rows are kept for a while where the broker can lose its end. When the log has a new generation, whoever
//! publishes in it looks up which of the kept rows the old log lacks, and puts them back into the outbox. If the old log
//! is gone as a whole, nothing is looked for: readers were told to look at the state again.

use std::time::Duration;

use broker_adapters::{Cursor, Position};
use buildguild_db::DbError;
use buildguild_db::event_log::{self, Published};

use super::{Leaving, Relay};

/// How long published rows are kept: longer than it takes to notice that a server took over.
const KEEP: Duration = Duration::from_secs(600);
/// So many kept rows are looked at together.
const LOOK_ROWS: i64 = 200;

fn place(row: &Published) -> Cursor {
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Cursor::new(row.generation.as_str().into(), Position { major: part(row.major), minor: part(row.minor) })
}

impl Relay {
    /// Takes published rows out of the outbox; keeps them where the broker can lose them.
    pub(super) async fn remove_published(&mut self) -> Result<(), DbError> {
        if !self.published.is_empty() {
            let (batches, keep) = (&self.published, self.log.can_lose_confirmed());
            self.db
                .write(|tx| async move {
                    for Leaving { ids, place } in batches {
                        let part = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                        match place.as_ref().filter(|_| keep) {
                            Some(place) => {
                                let (at, generation) = (place.position(), place.generation());
                                let (major, minor) = (part(at.major), part(at.minor));
                                event_log::keep_published(&tx, ids, generation, major, minor).await?;
                            }
                            None => drop(buildguild_db::outbox::delete(&tx, ids).await?),
                        }
                    }
                    Ok(())
                })
                .await?;
            self.published.clear();
        }
        self.remove_at = None;
        Ok(())
    }

    /// Forgets what was published long ago.
    pub(super) async fn forget_old(&self) {
        if self.log.can_lose_confirmed()
            && let Err(error) = self.db.write(|tx| async move { event_log::forget_published(&tx, KEEP).await }).await
        {
            tracing::warn!(%error, "failed to forget published events; it is tried again");
        }
    }

    /// A batch was published at `place`. If that is in another generation than what came before, looks for lost rows.
    pub(super) async fn notice_generation(&mut self, place: Option<&Cursor>) {
        let Some(place) = place.filter(|_| self.log.can_lose_confirmed()) else { return };
        if self.generation.as_ref() == Some(place.generation()) {
            return;
        }
        match self.publish_lost(place.generation()).await {
            Ok(lost) => {
                self.generation = Some(place.generation().clone());
                if lost > 0 {
                    tracing::warn!(count = lost, "publishes again what the broker has lost");
                    self.shared.look_into_outbox();
                }
            }
            Err(error) => tracing::warn!(%error, "failed to look for events that the broker lost; it is tried again"),
        }
    }

    /// Puts lost rows back into the outbox. Returns how many.
    async fn publish_lost(&mut self, generation: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        // What was published just now in the old log is among what may be lost.
        self.remove_published().await?;
        let owner = (*self.owner.borrow()).ok_or(DbError::EpochEnded)?;
        let mut lost = Vec::new();
        let mut looked_at: Option<Cursor> = None;
        'kept: loop {
            let skip = i64::try_from(lost.len()).unwrap_or(i64::MAX);
            let rows = event_log::published_before(self.db.read(), generation, skip, LOOK_ROWS).await?;
            for row in &rows {
                let place = place(row);
                // Rows of one batch have one place; a log is lost from its end, so the first that is there is the last.
                if looked_at.as_ref() != Some(&place) && self.log.holds(&place).await? {
                    break 'kept;
                }
                looked_at = Some(place);
                lost.push(row.id);
            }
            if rows.is_empty() {
                break;
            }
        }
        let lost = &lost;
        let count = self
            .db
            .write(|tx| async move {
                let count = event_log::publish_again(&tx, owner, lost).await?;
                event_log::forget_generations_before(&tx, generation).await?;
                Ok(count)
            })
            .await?;
        Ok(count)
    }
}
