//! The relay: publishes what the outbox holds.
//!
//! Each master publishes its own rows, in the order of their ids: read a batch, publish it, and only when the event log
//! says that it is durable, delete the rows. A crash in between publishes the batch again, which is why consumers drop
//! duplicates by the event's id. Rows of a master that died are handed to a successor by housekeeping and keep their
//! ids, so they come before the successor's own newer ones.

use std::sync::Arc;
use std::time::Duration;

use broker_adapters::EventLog;
use buildguild_db::{Db, DbError, Owner, outbox};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How many rows (transactions) are published at once.
const BATCH_ROWS: u64 = 200;

/// A look at the outbox without any hint: finds rows that were taken over and hints that were lost.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// The longest pause after a failure of the broker or of the database.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Wakes the relay: there is something in the outbox. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RelayBell(Arc<Notify>);

impl RelayBell {
    /// Says that rows were committed. Never blocks; several rings before the relay looks are one.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// Publishes the rows of this master until `stop`, whatever happens to the broker meanwhile.
///
/// After `stop` it makes one last pass, so that an orderly shutdown leaves nothing behind.
pub async fn run(
    db: Db,
    log: Arc<dyn EventLog>,
    mut owner: watch::Receiver<Option<Owner>>,
    bell: RelayBell,
    stop: CancellationToken,
) {
    let mut failures = 0_u32;
    loop {
        let stopping = stop.is_cancelled();
        let current = *owner.borrow_and_update();
        let outcome = match current {
            Some(owner) => drain(&db, log.as_ref(), owner).await,
            None => Ok(()),
        };
        if stopping {
            if let Err(error) = outcome {
                tracing::warn!(%error, "events stay in the outbox; another master will publish them");
            }
            return;
        }
        let pause = match outcome {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!("events are published again");
                }
                failures = 0;
                IDLE_LOOK
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(%error, "events wait in the outbox");
                }
                (Duration::from_millis(50) * 2_u32.saturating_pow(failures.min(10))).min(MAX_BACKOFF)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = bell.0.notified(), if failures == 0 => {}
            _ = owner.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Why a batch was not published.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox: {0}")]
    Outbox(#[from] DbError),
    #[error("the event log: {0}")]
    Log(#[from] broker_adapters::BrokerError),
}

/// Publishes until nothing is left.
async fn drain(db: &Db, log: &dyn EventLog, owner: Owner) -> Result<(), RelayError> {
    loop {
        let rows = outbox::take_batch(db.read(), owner, BATCH_ROWS).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let more = rows.len() as u64 == BATCH_ROWS;
        log.publish(rows.into_iter().flat_map(|row| row.events).collect()).await?;
        db.write(|tx| {
            let ids = ids.clone();
            async move { outbox::delete(&tx, &ids).await }
        })
        .await?;
        if !more {
            return Ok(());
        }
    }
}
