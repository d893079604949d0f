//! SSE streams across replicas: which there are, what they listen to, and who serves them.
//!
//! The database has the filters. Who changes those of a stream that another replica serves writes them down, rings by a
//! hint in the event log, and waits until the owner listens by them; a periodic look by the owner stands behind the hint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_adapters::EventLog;
use buildguild_db::event_streams::{self, EventStream, FilterChange};
use buildguild_db::{Db, DbError};
use buildguild_types::event::{Event, EventKey};
use uuid::Uuid;

/// The first part of the hint's key; the second is the stream's uuid.
pub const HINT: &str = "_streams";

/// How long a stream that nobody serves is remembered for its client to come back.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// How long a change waits for the owner. The filters are written down by then: a later resume has them in any case.
const APPLY_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two looks whether the owner has applied a change.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a filter was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamChange {
    /// The filters of a stream that this process serves, and their version: it has to listen by them.
    Own(Vec<String>, i64),
    /// The stream is another replica's, and that has been told.
    Elsewhere,
    /// A filter to remove was not there.
    NotListening,
    /// It has as many filters as are allowed.
    TooMany,
    /// There is no such stream.
    Unknown,
}

/// The streams of all replicas. Clones are the same.
#[derive(Clone)]
pub struct EventStreams {
    db: Db,
    log: Arc<dyn EventLog>,
    /// This process among those that serve streams.
    owner: Arc<str>,
}

impl std::fmt::Debug for EventStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStreams").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl EventStreams {
    /// The streams in `db`, with hints through `log`.
    pub fn new(db: Db, log: Arc<dyn EventLog>) -> Self {
        Self { db, log, owner: Uuid::now_v7().to_string().into() }
    }

    /// Records a new stream of this process.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn begin(&self, id: Uuid, filters: &[String]) -> Result<(), DbError> {
        let (id, owner) = (&id.to_string(), &*self.owner);
        self.db.write(|tx| async move { event_streams::begin(&tx, id, owner, filters).await }).await
    }

    /// Takes a stream over, wherever it was; gives its filters, or nothing if it is not known.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn take(&self, id: Uuid) -> Result<Option<(Vec<String>, i64)>, DbError> {
        let (id, owner) = (&id.to_string(), &*self.owner);
        let stream = self.db.write(|tx| async move { event_streams::take(&tx, id, owner).await }).await?;
        Ok(stream.map(|stream| (stream.filters, stream.version)))
    }

    /// Adds a filter to a stream or removes it, and waits, not for long, until its replica listens by it.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn change(&self, id: Uuid, filter: &str, is_add: bool, max: usize) -> Result<StreamChange, DbError> {
        let (id, owner) = (&id.to_string(), &*self.owner);
        let change =
            self.db.write(|tx| async move { event_streams::change(&tx, id, owner, filter, is_add, max).await }).await?;
        let stream = match change {
            FilterChange::Done(stream) => stream,
            FilterChange::Unchanged(stream) if is_add => stream,
            FilterChange::Unchanged(_) => return Ok(StreamChange::NotListening),
            FilterChange::TooMany => return Ok(StreamChange::TooMany),
            FilterChange::Unknown => return Ok(StreamChange::Unknown),
        };
        if stream.owner == *owner {
            return Ok(StreamChange::Own(stream.filters, stream.version));
        }
        self.tell(&stream).await;
        Ok(StreamChange::Elsewhere)
    }

    async fn tell(&self, stream: &EventStream) {
        match Event::new(vec![EventKey::new([HINT, &stream.id])], &()) {
            Ok(hint) => {
                if let Err(error) = self.log.publish(vec![hint]).await {
                    tracing::debug!(%error, "the owner of a stream will find its new filters by itself");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot write a hint"),
        }
        let began = Instant::now();
        while began.elapsed() < APPLY_WITHIN {
            match event_streams::is_applied(self.db.read(), &stream.id, stream.version).await {
                Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
                Ok(true) | Err(_) => return,
            }
        }
    }

    /// The streams of this process whose filters another replica has changed, with the filters and their version.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn changed(&self) -> Result<Vec<(Uuid, Vec<String>, i64)>, DbError> {
        let streams = event_streams::changed(self.db.read(), &self.owner).await?;
        let parsed = streams.into_iter().filter_map(|stream| {
            let id = Uuid::try_parse(&stream.id).ok()?;
            Some((id, stream.filters, stream.version))
        });
        Ok(parsed.collect())
    }

    /// Records that this process listens by a version of a stream's filters.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn applied(&self, id: Uuid, version: i64) -> Result<(), DbError> {
        let (id, owner) = (&id.to_string(), &*self.owner);
        self.db.write(|tx| async move { event_streams::applied(&tx, id, owner, version).await }).await
    }

    /// Ends a stream of this process that listened by a version of its filters, unless it has been taken up again since; it
    /// is remembered for an hour if its client needs that to come back.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn end(&self, id: Uuid, version: i64, keep: bool) -> Result<(), DbError> {
        let (id, owner) = (&id.to_string(), &*self.owner);
        self.db.write(|tx| async move { event_streams::end(&tx, id, owner, version, keep).await }).await
    }

    /// To be called every some minutes: says that the streams of this process are alive, and forgets those of which
    /// nobody has said so for an hour.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn tidy(&self) -> Result<u64, DbError> {
        let owner = &*self.owner;
        self.db.write(|tx| async move { event_streams::tidy(&tx, owner, KEPT_FOR).await }).await
    }
}
