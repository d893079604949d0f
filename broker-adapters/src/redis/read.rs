//! Following a stream.

use std::{sync::Arc, time::Duration};

use buildguild_types::event::Event;
use futures::{StreamExt, stream};
use redis::{
    Value,
    aio::MultiplexedConnection,
    streams::{StreamId, StreamRangeReply, StreamReadReply},
};

use super::{
    ANSWER_TIMEOUT, EVENT_FIELD, GENERATIONS_PER_CALL, Shared, Trouble, bounds, id_of, in_time, parse_id, stream_key,
};
use crate::{Cursor, Position, Received, SubscribeError, Subscription};

/// How many entries one read takes at most: what a reader holds in memory.
const READ_BATCH: usize = 256;
/// How long a read waits for an entry before the log itself is looked at.
const WAIT: Duration = Duration::from_secs(2);

/// Starts to follow the log.
pub(super) async fn subscribe(shared: Arc<Shared>, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
    let mut connection = shared.connector.connect().await.map_err(Trouble::from)?;
    for _ in 0..GENERATIONS_PER_CALL {
        let generation = shared.generation(&mut connection).await?;
        let Some((first, last)) = bounds(&mut connection, &stream_key(&generation)).await? else {
            shared.replace(&mut connection, Some(&generation)).await?;
            continue;
        };
        let start = match from {
            None => Cursor::new(generation, last),
            Some(cursor) => {
                if *cursor.generation() != generation {
                    return Err(SubscribeError::NotRetained);
                }
                if cursor.position() > last {
                    if shared.furthest.reached(&cursor) {
                        tracing::warn!("Redis lost events that were read from it");
                        shared.replace(&mut connection, Some(&generation)).await?;
                    }
                    return Err(SubscribeError::NotRetained);
                }
                // If the entry itself is gone, so may be the one after it.
                if cursor.position() < first {
                    return Err(SubscribeError::NotRetained);
                }
                cursor
            }
        };
        shared.furthest.note(&start);
        let seen = start.position();
        let reader = Reader { key: stream_key(start.generation()), start: start.clone(), shared, connection, seen };
        let events = stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(batch) => Some((Ok(batch), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        });
        return Ok(Subscription { start, events: events.boxed() });
    }
    Err(Trouble::Missing.into())
}

/// A reader's place and its connection.
struct Reader {
    shared: Arc<Shared>,
    connection: MultiplexedConnection,
    key: String,
    /// For the generation's name.
    start: Cursor,
    seen: Position,
}

impl Reader {
    /// The next events. It also ends when the log is replaced.
    async fn next(&mut self) -> Result<Vec<Received>, SubscribeError> {
        loop {
            let entries = self.read().await?;
            if entries.is_empty() {
                self.look_at_the_log().await?;
                continue;
            }
            // Reading goes on silently after entries that retention has taken, so the place left is looked for.
            let before = self.seen;
            let batch = self.take(entries);
            let first = redis::cmd("XRANGE").arg(&self.key).arg("-").arg("+").arg("COUNT").arg(1).to_owned();
            let first: StreamRangeReply = in_time(first.query_async(&mut self.connection)).await?;
            match first.ids.first().map(|entry| parse_id(&entry.id)) {
                Some(Some(first)) if first <= before => {}
                _ => return Err(SubscribeError::NotRetained),
            }
            if let Some(last) = batch.last() {
                self.shared.furthest.note(&last.cursor);
                return Ok(batch);
            }
        }
    }

    /// What comes after the place; nothing if nothing comes for a while.
    async fn read(&mut self) -> Result<Vec<StreamId>, Trouble> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(READ_BATCH).arg("BLOCK").arg(u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX));
        read.arg("STREAMS").arg(&self.key).arg(id_of(self.seen));
        let answer = read.query_async::<Option<StreamReadReply>>(&mut self.connection);
        // A connection that was cut without a word gives no answer at all.
        let answer = tokio::time::timeout(WAIT + ANSWER_TIMEOUT, answer).await.map_err(|_| Trouble::TimedOut)??;
        Ok(answer.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids).collect())
    }

    /// Takes events out of entries, and moves the place.
    fn take(&mut self, entries: Vec<StreamId>) -> Vec<Received> {
        let mut batch = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(position) = parse_id(&entry.id) else { continue };
            self.seen = position;
            // The entry of the stream's birth has no event.
            let Some(text) = entry.map.get(EVENT_FIELD) else { continue };
            let parsed = match text {
                Value::BulkString(bytes) => serde_json::from_slice::<Event>(bytes).ok(),
                _ => None,
            };
            match parsed {
                Some(event) => {
                    let cursor = Cursor::new(Arc::clone(self.start.generation()), position);
                    batch.push(Received { cursor, event: Arc::new(event) });
                }
                None => tracing::warn!(entry = %entry.id, "dropped an entry of the event log that is no event"),
            }
        }
        batch
    }

    /// Nothing came: because nothing happened, or because the log is gone or is no longer the cluster's?
    async fn look_at_the_log(&mut self) -> Result<(), SubscribeError> {
        let generation = self.start.generation();
        match bounds(&mut self.connection, &self.key).await? {
            Some((_, last)) if last >= self.seen => {}
            Some(_) => {
                tracing::warn!("Redis lost events that were read from it");
                self.shared.replace(&mut self.connection, Some(generation)).await?;
                return Err(SubscribeError::NotRetained);
            }
            None => {
                self.shared.replace(&mut self.connection, Some(generation)).await?;
                return Err(SubscribeError::NotRetained);
            }
        }
        let known = self.shared.known.borrow().clone();
        if known.as_ref() == Some(generation) { Ok(()) } else { Err(SubscribeError::NotRetained) }
    }
}
