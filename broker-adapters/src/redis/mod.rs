//! The event log in Redis: one stream per generation.
//!
//! `XADD … NOMKSTREAM MAXLEN ~` appends, on one connection, and blocking `XREAD` follows, on a connection per reader.
//! `NOMKSTREAM` matters: a publisher must not make a new, short log in place of one that was wiped, or readers would wait
//! for positions that never come. A stream has an entry from its birth on, so that an empty answer means that it is gone.
//!
//! A server that takes over from a primary may lack the last entries, although they were confirmed. Every publisher
//! therefore looks for its own last entry after each reconnect, and every reader compares its place with the end; a log
//! that lost its end is replaced by a new generation, and renamed, so that nobody adds to it who has not noticed.

mod connect;
mod read;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use buildguild_types::event::Event;
use redis::{RedisError, aio::MultiplexedConnection, streams::StreamRangeReply};
use tokio::sync::{Mutex, watch};

use self::connect::Connector;
use crate::{
    BrokerError, BrokerOptions, Cursor, EventLog, GenerationError, Generations, OpenError, Position, SubscribeError,
    Subscription,
    generation::{Furthest, new_generation},
};

/// How long the server may take to confirm a batch, or to answer anything else.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A log that lost its end stays so long, for those who look for what of it was lost.
const LOST_LOG_SECS: i64 = 3600;
/// How often a call tries again in a new generation. A broker that is wiped faster is not to be used.
const GENERATIONS_PER_CALL: usize = 3;

/// The field of an entry that holds the event.
const EVENT_FIELD: &str = "e";

/// An event log in Redis.
pub(crate) struct RedisLog {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    generations: Arc<dyn Generations>,
    retained: usize,
    retained_bytes: u64,
    /// The generation that this replica believes to be in force.
    known: watch::Sender<Option<Arc<str>>>,
    publisher: Mutex<Publisher>,
    furthest: Furthest,
}

#[derive(Default)]
struct Publisher {
    connection: Option<MultiplexedConnection>,
    /// Where the last event that was confirmed to us stands.
    last: Option<Cursor>,
    /// The mean size of the last some hundred events.
    event_bytes: f64,
}

/// What goes wrong between us and the server.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error("get an answer from Redis within {ANSWER_TIMEOUT:?}")]
    TimedOut,
    #[error("understand an answer of Redis")]
    Answer,
    #[error("find the log in Redis, in {GENERATIONS_PER_CALL} generations")]
    Missing,
    #[error("write an event as JSON")]
    Json(#[from] serde_json::Error),
}

impl From<Trouble> for BrokerError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Json(error) => Self::Refused(error.into()),
            other => Self::Unavailable(other.into()),
        }
    }
}

impl From<Trouble> for SubscribeError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(trouble.into())
    }
}

/// The key of a generation's stream.
fn stream_key(generation: &str) -> String {
    format!("buildguild:log:{generation}")
}

/// The key of a stream that lost its end.
fn lost_key(generation: &str) -> String {
    format!("buildguild:lost:{generation}")
}

/// A stream's ids are two numbers; they are our positions.
fn parse_id(id: &str) -> Option<Position> {
    let (major, minor) = id.split_once('-')?;
    Some(Position { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

fn id_of(position: Position) -> String {
    format!("{}-{}", position.major, position.minor)
}

async fn in_time<T>(call: impl Future<Output = Result<T, RedisError>> + Send) -> Result<T, Trouble> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::TimedOut),
    }
}

/// The first and the last entry of a stream; none if there is no stream.
async fn bounds(connection: &mut MultiplexedConnection, key: &str) -> Result<Option<(Position, Position)>, Trouble> {
    let mut pipe = redis::pipe();
    pipe.atomic().xrange_count(key, "-", "+", 1).xrevrange_count(key, "+", "-", 1);
    let (first, last): (StreamRangeReply, StreamRangeReply) = in_time(pipe.query_async(connection)).await?;
    let position = |reply: &StreamRangeReply| reply.ids.first().map(|entry| parse_id(&entry.id));
    match (position(&first), position(&last)) {
        (Some(Some(first)), Some(Some(last))) => Ok(Some((first, last))),
        (None, _) | (_, None) => Ok(None),
        (Some(None), _) | (_, Some(None)) => Err(Trouble::Answer),
    }
}

/// How many events of a mean size fit, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rough number; what is too large becomes the largest"
)]
fn fitting(bytes: u64, event_bytes: f64) -> usize {
    ((bytes as f64 / event_bytes.max(1.0)) as usize).max(1)
}

impl RedisLog {
    pub(crate) fn new(options: &BrokerOptions, generations: Arc<dyn Generations>) -> Result<Self, OpenError> {
        Ok(Self {
            shared: Arc::new(Shared {
                connector: Connector::new(options)?,
                generations,
                retained: options.retained_events.max(1),
                retained_bytes: options.retained_bytes,
                known: watch::Sender::new(None),
                publisher: Mutex::default(),
                furthest: Furthest::default(),
            }),
        })
    }
}

impl Shared {
    /// The generation in force, as far as this replica knows; the first one is made here.
    async fn generation(&self, connection: &mut MultiplexedConnection) -> Result<Arc<str>, Trouble> {
        if let Some(known) = self.known.borrow().clone() {
            return Ok(known);
        }
        match self.generations.current().await? {
            Some(current) => {
                self.know(&current);
                Ok(current)
            }
            None => self.replace(connection, None).await,
        }
    }

    fn know(&self, generation: &Arc<str>) {
        self.known.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(generation);
            *known = Some(Arc::clone(generation));
            is_news
        });
    }

    /// The log of `old` is gone or lost its end (or there never was one): agrees on a new one with the other replicas.
    async fn replace(&self, connection: &mut MultiplexedConnection, old: Option<&str>) -> Result<Arc<str>, Trouble> {
        let current = self.generations.current().await?;
        if let Some(current) = current.filter(|current| Some(&**current) != old) {
            self.know(&current);
            return Ok(current);
        }
        let new = new_generation();
        // The entry of its birth keeps the stream from being empty, and so from not being there.
        let birth = redis::cmd("XADD").arg(stream_key(&new)).arg("*").arg("g").arg(&*new).to_owned();
        let _: String = in_time(birth.query_async(connection)).await?;
        let in_force = self.generations.replace(old, &new).await?;
        if in_force == new {
            tracing::warn!(generation = %new, replaces = old.unwrap_or("nothing"), "the event log has a new generation");
        } else {
            let delete = redis::cmd("DEL").arg(stream_key(&new)).to_owned();
            let _: i64 = in_time(delete.query_async(connection)).await?;
        }
        if let Some(old) = old {
            // Whoever has not noticed yet finds no stream to add to. An error says that it was not there anyway.
            let rename = redis::cmd("RENAME").arg(stream_key(old)).arg(lost_key(old)).to_owned();
            let _ = in_time(rename.query_async::<()>(connection)).await;
            let expire = redis::cmd("EXPIRE").arg(lost_key(old)).arg(LOST_LOG_SECS).to_owned();
            let _ = in_time(expire.query_async::<i64>(connection)).await;
        }
        self.know(&in_force);
        Ok(in_force)
    }

    /// Whether an entry is in a stream, or may have left it by retention.
    async fn has(&self, connection: &mut MultiplexedConnection, key: &str, at: Position) -> Result<bool, Trouble> {
        let id = id_of(at);
        let range = redis::cmd("XRANGE").arg(key).arg(&id).arg(&id).to_owned();
        let found: StreamRangeReply = in_time(range.query_async(connection)).await?;
        if !found.ids.is_empty() {
            return Ok(true);
        }
        Ok(bounds(connection, key).await?.is_some_and(|(first, _)| first > at))
    }

    async fn publish(&self, batch: &[Event]) -> Result<Cursor, Trouble> {
        let texts = batch.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        let mut publisher = self.publisher.lock().await;
        let Publisher { connection, last, event_bytes } = &mut *publisher;
        for text in &texts {
            *event_bytes += (f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) - *event_bytes) / 256.0;
        }
        let retained = self.retained.min(fitting(self.retained_bytes, *event_bytes));
        let mut own = match connection.take() {
            Some(own) => own,
            None => {
                let mut own = self.connector.connect().await?;
                if let Some(last) = last.take()
                    && !self.has(&mut own, &stream_key(last.generation()), last.position()).await?
                {
                    tracing::warn!("Redis lost events that it had confirmed");
                    self.replace(&mut own, Some(last.generation())).await?;
                }
                own
            }
        };
        for _ in 0..GENERATIONS_PER_CALL {
            let generation = self.generation(&mut own).await?;
            let key = stream_key(&generation);
            let mut pipe = redis::pipe();
            for text in &texts {
                let add = pipe.cmd("XADD").arg(&key).arg("NOMKSTREAM").arg("MAXLEN").arg("~").arg(retained);
                add.arg("*").arg(EVENT_FIELD).arg(text);
            }
            let ids: Vec<Option<String>> = in_time(pipe.query_async(&mut own)).await?;
            if ids.len() == texts.len()
                && let Some(Some(id)) = ids.last()
                && ids.iter().all(Option::is_some)
            {
                let position = parse_id(id).ok_or(Trouble::Answer)?;
                let place = Cursor::new(generation, position);
                *last = Some(place.clone());
                // Only a connection on which all went well is used again: answers may still be under way on another.
                *connection = Some(own);
                return Ok(place);
            }
            self.replace(&mut own, Some(&generation)).await?;
        }
        Err(Trouble::Missing)
    }
}

#[async_trait]
impl EventLog for RedisLog {
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError> {
        if batch.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.shared.publish(&batch).await?))
    }

    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
        read::subscribe(Arc::clone(&self.shared), from).await
    }

    fn can_lose_confirmed(&self) -> bool {
        true
    }

    async fn holds(&self, place: &Cursor) -> Result<bool, BrokerError> {
        let mut connection = self.shared.connector.connect().await.map_err(Trouble::from)?;
        for key in [stream_key(place.generation()), lost_key(place.generation())] {
            if bounds(&mut connection, &key).await?.is_some() {
                return Ok(self.shared.has(&mut connection, &key, place.position()).await?);
            }
        }
        Ok(false)
    }
}
