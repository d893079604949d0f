//! Following a stream queue.

use std::{sync::Arc, time::Duration};

use buildguild_types::event::Event;
use futures::{FutureExt, StreamExt, stream};
use lapin::{
    BasicProperties, Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use uuid::Uuid;

use super::{
    ANSWER_TIMEOUT, GENERATIONS_PER_CALL, Link, Shared, Trouble, confirming_channel, exists, in_time, publish_all,
    queue_of,
};
use crate::{Cursor, Position, Received, SubscribeError, Subscription};

/// How many messages the server sends ahead of what was taken: what a reader holds in memory.
const PREFETCH: u16 = 512;
/// How many events one batch has at most.
const READ_BATCH: usize = 256;
/// After so much silence a reader asks whether the server still sends to it.
const SILENCE: Duration = Duration::from_secs(15);

/// Starts to follow the log.
pub(super) async fn subscribe(shared: Arc<Shared>, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
    let Link { connection, channel } = shared.connector.connect().await?;
    for _ in 0..GENERATIONS_PER_CALL {
        let generation = shared.generation(&connection).await?;
        let queue = queue_of(&generation);
        if !exists(&connection, queue.clone()).await? {
            shared.replace(&connection, Some(&generation)).await?;
            continue;
        }
        let Some(cursor) = from else {
            let (consumer, end) = follow_from_the_end(&channel, &queue).await?;
            let start = Cursor::new(generation, Position::at(end));
            shared.furthest.note(&start);
            return Ok(Reader { shared, connection, channel, consumer, seen: end, start }.subscription(None));
        };
        if *cursor.generation() != generation || cursor.position().minor != 0 {
            return Err(SubscribeError::NotRetained);
        }
        let seen = cursor.position().major;
        let (_, end) = follow_from_the_end(&confirming_channel(&connection).await?, &queue).await?;
        if seen >= end {
            if shared.furthest.reached(&cursor) {
                tracing::warn!("RabbitMQ lost events that were read from it");
                shared.replace(&connection, Some(&generation)).await?;
            }
            return Err(SubscribeError::NotRetained);
        }
        // The place itself is asked for, and comes unless retention has taken it: at least the marker is after it.
        let offset = AMQPValue::LongLongInt(i64::try_from(seen).unwrap_or(i64::MAX));
        let mut consumer = consume(&channel, &queue, offset).await?;
        let first = loop {
            let delivery = next(&mut consumer).await?;
            let offset = offset_of(&delivery).ok_or(Trouble::Ended)?;
            // The server sends whole chunks, so it may begin earlier.
            if offset >= seen {
                break (offset, delivery);
            }
        };
        let mut reader = Reader { shared, connection, channel, consumer, seen, start: cursor };
        return match first {
            (offset, _) if offset == seen => Ok(reader.subscription(None)),
            (offset, delivery) if offset == seen + 1 => {
                let first = reader.take(vec![delivery]).await?;
                Ok(reader.subscription(Some(first)))
            }
            _ => Err(SubscribeError::NotRetained),
        };
    }
    Err(Trouble::Missing.into())
}

/// Follows a queue from its end, and tells which offset that is: the one of a marker that is put there.
async fn follow_from_the_end(channel: &Channel, queue: &ShortString) -> Result<(Consumer, u64), Trouble> {
    let mut consumer = consume(channel, queue, AMQPValue::LongString("next".into())).await?;
    let marker = mark(channel, queue).await?;
    loop {
        let delivery = next(&mut consumer).await?;
        // Without this the server stops when as many are under way as it may send.
        delivery.acker.ack(BasicAckOptions::default()).await?;
        if delivery.properties.message_id().as_ref().is_some_and(|id| id.as_str() == marker)
            && let Some(offset) = offset_of(&delivery)
        {
            return Ok((consumer, offset));
        }
    }
}

/// Puts a marker at the end of a queue, and gives its id.
async fn mark(channel: &Channel, queue: &ShortString) -> Result<String, Trouble> {
    let marker = Uuid::now_v7().to_string();
    let properties = BasicProperties::default().with_message_id(marker.as_str().into()).with_delivery_mode(2);
    let marking = [(Vec::new(), properties)];
    let sent = publish_all(channel, queue, &marking);
    match tokio::time::timeout(ANSWER_TIMEOUT, sent).await.map_err(|_| Trouble::TimedOut)?? {
        true => Ok(marker),
        false => Err(Trouble::Missing),
    }
}

async fn consume(channel: &Channel, queue: &ShortString, offset: AMQPValue) -> Result<Consumer, Trouble> {
    in_time(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), offset);
    in_time(channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), arguments)).await
}

/// A message that has to come soon.
async fn next(consumer: &mut Consumer) -> Result<Delivery, Trouble> {
    let delivery = tokio::time::timeout(ANSWER_TIMEOUT, consumer.next()).await.map_err(|_| Trouble::TimedOut)?;
    Ok(delivery.ok_or(Trouble::Ended)??)
}

fn offset_of(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}

/// A reader's place and its connection.
struct Reader {
    shared: Arc<Shared>,
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    seen: u64,
    start: Cursor,
}

impl Reader {
    /// The subscription, with what was read already.
    fn subscription(self, first: Option<Vec<Received>>) -> Subscription {
        let start = self.start.clone();
        let first = first.filter(|batch| !batch.is_empty()).map(Ok);
        let rest = stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(batch) => Some((Ok(batch), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Subscription { start, events: stream::iter(first).chain(rest).boxed() }
    }

    /// The first offset that the log has.
    async fn first_retained(&self) -> Result<u64, Trouble> {
        let channel = in_time(self.connection.create_channel()).await?;
        let queue = queue_of(self.start.generation());
        let mut consumer = consume(&channel, &queue, AMQPValue::LongString("first".into())).await?;
        offset_of(&next(&mut consumer).await?).ok_or(Trouble::Ended)
    }

    /// The next events. The server ends the subscription when the queue is deleted.
    async fn next(&mut self) -> Result<Vec<Received>, SubscribeError> {
        loop {
            let first = match tokio::time::timeout(SILENCE, self.consumer.next()).await {
                Ok(first) => first.ok_or(Trouble::Ended)?.map_err(Trouble::from)?,
                Err(_) => self.probe().await?,
            };
            let mut deliveries = vec![first];
            // What has arrived meanwhile is taken along.
            while deliveries.len() < READ_BATCH
                && let Some(Some(more)) = self.consumer.next().now_or_never()
            {
                deliveries.push(more.map_err(Trouble::from)?);
            }
            let batch = self.take(deliveries).await?;
            if let Some(last) = batch.last() {
                self.shared.furthest.note(&last.cursor);
                return Ok(batch);
            }
        }
    }

    /// Puts a marker into the log and waits for what comes. A server that was killed may take up a consumer before it has
    /// found the stream's end again, and then never sends to it, on a connection that lives.
    async fn probe(&mut self) -> Result<Delivery, Trouble> {
        let channel = confirming_channel(&self.connection).await?;
        mark(&channel, &queue_of(self.start.generation())).await?;
        next(&mut self.consumer).await
    }

    /// Takes events out of messages, moves the place, and lets the server send on.
    async fn take(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<Received>, SubscribeError> {
        let mut batch = Vec::with_capacity(deliveries.len());
        let last = deliveries.last().map(|delivery| delivery.delivery_tag);
        for delivery in deliveries {
            let offset = offset_of(&delivery).ok_or(Trouble::Ended)?;
            if offset <= self.seen {
                continue;
            }
            // The server's own entries take an offset too, one at least in each segment: so a gap alone is no loss. A
            // stream loses only its beginning, so nothing is missing if what was seen before is still there.
            if offset != self.seen + 1 && self.first_retained().await? > self.seen + 1 {
                return Err(SubscribeError::NotRetained);
            }
            self.seen = offset;
            // A marker of somebody who looked for the end.
            if delivery.data.is_empty() {
                continue;
            }
            match serde_json::from_slice::<Event>(&delivery.data) {
                Ok(event) => {
                    let cursor = Cursor::new(Arc::clone(self.start.generation()), Position::at(offset));
                    batch.push(Received { cursor, event: Arc::new(event) });
                }
                Err(_) => tracing::warn!(offset, "dropped a message of the event log that is no event"),
            }
        }
        if let Some(last) = last {
            let all = BasicAckOptions { multiple: true };
            self.channel.basic_ack(last, all).await.map_err(Trouble::from)?;
        }
        Ok(batch)
    }
}
