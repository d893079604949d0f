//! The event log in RabbitMQ: one *stream* queue per generation, `log.<generation>`.
//!
//! Events go through the default exchange, to which nobody can bind a queue of their own, with publisher confirms and
//! `mandatory`: without it a message to a queue that is gone is confirmed like any other. What outsiders bind to is
//! another exchange, see [`outside`].
//!
//! A stream answers two questions badly. An offset below its retention starts later, without a word; so the first offset
//! that is delivered is compared with the one asked for, and where one does not follow the one before it, the beginning of
//! the log is looked at. An offset beyond the end stays
//! silent for ever; so whoever subscribes first publishes a marker and reads where it landed: that is the end.

pub(crate) mod outside;
mod read;

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use buildguild_types::event::Event;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::AMQPErrorKind,
    tcp::OwnedTLSConfig,
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use tokio::sync::Mutex;

use crate::{
    BrokerError, BrokerOptions, Cursor, EventLog, GenerationError, Generations, OpenError, SubscribeError,
    Subscription,
    generation::{Furthest, new_generation},
};

/// How long the server may take to confirm a batch, or to answer anything else.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A batch that was not confirmed for so long may be waiting for the end of an alarm.
const ALARM_AFTER: Duration = Duration::from_secs(5);
/// Seconds without a sign of life after which a connection is given up, about.
const HEARTBEAT_SECS: u16 = 10;
/// How often a call tries again in a new generation.
const GENERATIONS_PER_CALL: usize = 3;
/// Retention drops whole segments, so there are some.
const SEGMENTS: u64 = 8;
/// The largest segment that we ask for.
const MAX_SEGMENT_BYTES: u64 = 100 * 1024 * 1024;
/// The smallest, below which a segment is not worth its file.
const MIN_SEGMENT_BYTES: u64 = 4096;

/// An event log in RabbitMQ.
pub(crate) struct AmqpLog {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    generations: Arc<dyn Generations>,
    retained_bytes: u64,
    publisher: Mutex<Option<Link>>,
    furthest: Furthest,
}

/// What connections are made from.
pub(crate) struct Connector {
    uri: AMQPUri,
    authorities: Option<String>,
}

/// A connection with a channel on which messages are confirmed. Dropping it closes it.
pub(crate) struct Link {
    connection: Connection,
    channel: Channel,
}

/// What goes wrong between us and the server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error("get an answer from RabbitMQ within {ANSWER_TIMEOUT:?}")]
    TimedOut,
    #[error("publish: RabbitMQ takes no messages while its alarm for memory or disk lasts")]
    Alarm,
    #[error("get an event accepted by RabbitMQ")]
    Nack,
    #[error("read on: RabbitMQ ended the subscription")]
    Ended,
    #[error("find the log in RabbitMQ, in {GENERATIONS_PER_CALL} generations")]
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

/// The name of a generation's queue.
fn queue_of(generation: &str) -> ShortString {
    format!("log.{generation}").into()
}

/// Waits for an answer, but not for ever: a server that is out of disk or memory stops answering publishers.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, lapin::Error>> + Send) -> Result<T, Trouble> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::TimedOut),
    }
}

/// The W3C trace context of an event. Its trace is named by the event's own id, so that whoever handles the event
/// elsewhere, and we in our log, name the same one.
pub(crate) fn trace_context(event: &Event) -> AMQPValue {
    let id = event.event_id.simple().to_string();
    // The last half of a UUIDv7 is random, and never zero, which a span may not be.
    let span = id.get(16..).unwrap_or_default();
    AMQPValue::LongString(format!("00-{id}-{span}-00").into())
}

impl Connector {
    pub(crate) fn new(options: &BrokerOptions) -> Result<Self, OpenError> {
        crate::tls::use_ring();
        // The parser's message may quote what it was given.
        let mut uri: AMQPUri =
            options.url.parse().map_err(|_: String| OpenError::Invalid("this is no AMQP URL".into()))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECS);
        Ok(Self { uri, authorities: options.authorities.clone() })
    }

    /// A new connection, with a channel on which messages are confirmed.
    pub(crate) async fn connect(&self) -> Result<Link, Trouble> {
        let properties = ConnectionProperties::default().with_connection_name("buildguild".into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.authorities.clone() };
        let runtime = lapin::runtime::default_runtime()?;
        let connection =
            in_time(Connection::connect_uri_with_config(self.uri.clone(), properties, tls, runtime)).await?;
        let channel = confirming_channel(&connection).await?;
        Ok(Link { connection, channel })
    }
}

async fn confirming_channel(connection: &Connection) -> Result<Channel, Trouble> {
    let channel = in_time(connection.create_channel()).await?;
    in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Whether a queue is there. Asking for one that is not ends the channel, so it is asked on one of its own.
async fn exists(connection: &Connection, queue: ShortString) -> Result<bool, Trouble> {
    let channel = in_time(connection.create_channel()).await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match in_time(channel.queue_declare(queue, passive, FieldTable::default())).await {
        Ok(_) => Ok(true),
        Err(Trouble::Amqp(error)) => match error.kind() {
            // The same code says that the queue is there and its node is not; only the text tells.
            ErrorKind::ProtocolError(amqp)
                if matches!(amqp.kind(), AMQPErrorKind::Soft(kind) if kind.get_id() == 404)
                    && amqp.get_message().as_str().contains("no queue") =>
            {
                Ok(false)
            }
            _ => Err(error.into()),
        },
        Err(other) => Err(other),
    }
}

impl AmqpLog {
    pub(crate) fn new(options: &BrokerOptions, generations: Arc<dyn Generations>) -> Result<Self, OpenError> {
        Ok(Self {
            shared: Arc::new(Shared {
                connector: Connector::new(options)?,
                generations,
                retained_bytes: options.retained_bytes.max(1),
                publisher: Mutex::default(),
                furthest: Furthest::default(),
            }),
        })
    }
}

impl Shared {
    /// The generation in force; the first one is made here.
    async fn generation(&self, connection: &Connection) -> Result<Arc<str>, Trouble> {
        match self.generations.current().await? {
            Some(current) => Ok(current),
            None => self.replace(connection, None).await,
        }
    }

    /// The log of `old` is gone or lost its end (or there never was one): agrees on a new one with the other replicas.
    async fn replace(&self, connection: &Connection, old: Option<&str>) -> Result<Arc<str>, Trouble> {
        let current = self.generations.current().await?;
        if let Some(current) = current.filter(|current| Some(&**current) != old) {
            return Ok(current);
        }
        let new = new_generation();
        let channel = in_time(connection.create_channel()).await?;
        let segment = (self.retained_bytes / SEGMENTS).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let bytes = |n: u64| AMQPValue::LongLongInt(i64::try_from(n).unwrap_or(i64::MAX));
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        arguments.insert("x-max-length-bytes".into(), bytes(self.retained_bytes));
        arguments.insert("x-stream-max-segment-size-bytes".into(), bytes(segment));
        in_time(channel.queue_declare(queue_of(&new), QueueDeclareOptions::durable(), arguments)).await?;
        let in_force = self.generations.replace(old, &new).await?;
        let superfluous = if in_force == new {
            tracing::warn!(generation = %new, replaces = old.unwrap_or("nothing"), "the event log has a new generation");
            // Whoever has not noticed yet must find no queue to add to or to read from.
            old
        } else {
            Some(&*new)
        };
        if let Some(superfluous) = superfluous {
            // It may be gone already, or its node may be.
            let _ = in_time(channel.queue_delete(queue_of(superfluous), QueueDeleteOptions::default())).await;
        }
        Ok(in_force)
    }

    async fn publish(&self, batch: &[Event]) -> Result<(), Trouble> {
        let mut messages = Vec::with_capacity(batch.len());
        for event in batch {
            let mut headers = FieldTable::default();
            headers.insert("traceparent".into(), trace_context(event));
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(2)
                .with_message_id(event.event_id.to_string().into())
                .with_headers(headers);
            messages.push((serde_json::to_vec(event)?, properties));
        }
        let mut publisher = self.publisher.lock().await;
        // Only a link on which all went well is used again.
        let link = match publisher.take().filter(|link| link.channel.status().connected()) {
            Some(link) => link,
            None => self.connector.connect().await?,
        };
        for _ in 0..GENERATIONS_PER_CALL {
            let generation = self.generation(&link.connection).await?;
            let queue = queue_of(&generation);
            let all = publish_all(&link.channel, &queue, &messages);
            let is_routed = unless_alarmed(&link.connection, all).await?;
            if is_routed {
                *publisher = Some(link);
                return Ok(());
            }
            // Returned: there is no such queue, or there was none a moment ago.
            if !exists(&link.connection, queue).await? {
                self.replace(&link.connection, Some(&generation)).await?;
            }
        }
        Err(Trouble::Missing)
    }
}

/// Waits for confirms as [`in_time`] does, and tells an alarm of the server early: it lasts until a person does something.
async fn unless_alarmed<T>(
    connection: &Connection,
    confirms: impl Future<Output = Result<T, Trouble>> + Send,
) -> Result<T, Trouble> {
    let mut confirms = pin!(confirms);
    if let Ok(confirmed) = tokio::time::timeout(ALARM_AFTER, &mut confirms).await {
        return confirmed;
    }
    if connection.status().blocked() {
        return Err(Trouble::Alarm);
    }
    tokio::time::timeout(ANSWER_TIMEOUT, confirms).await.map_err(|_| Trouble::TimedOut)?
}

/// Publishes messages to a queue and waits until all are confirmed; `false` if some found no queue.
async fn publish_all(
    channel: &Channel,
    queue: &ShortString,
    messages: &[(Vec<u8>, BasicProperties)],
) -> Result<bool, Trouble> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut confirms = Vec::with_capacity(messages.len());
    for (body, properties) in messages {
        let sent = channel.basic_publish("".into(), queue.clone(), options, body, properties.clone());
        confirms.push(sent.await?);
    }
    let mut is_routed = true;
    for confirm in confirms {
        let confirmation = confirm.await?;
        if confirmation.is_nack() {
            return Err(Trouble::Nack);
        }
        is_routed &= confirmation.take_message().is_none();
    }
    Ok(is_routed)
}

#[async_trait]
impl EventLog for AmqpLog {
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError> {
        if !batch.is_empty() {
            self.shared.publish(&batch).await?;
        }
        // A confirm does not say where the message stands.
        Ok(None)
    }

    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
        read::subscribe(Arc::clone(&self.shared), from).await
    }
}
