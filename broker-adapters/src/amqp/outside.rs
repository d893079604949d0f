//! What outsiders get: each event on a durable topic exchange, once under each of its keys, so that they bind queues of
//! their own, as the Buildbot manual describes its message queue's schema: `builds.12.finished`.
//!
//! An outsider's queue may be full and refuse: its owner's trouble, which is counted and holds up nobody. So events come
//! here from the log, by one of the replicas, and never on their way into it.

use std::sync::Arc;

use async_trait::async_trait;
use buildguild_types::event::Event;
use lapin::{
    BasicProperties, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::sync::Mutex;

use super::{ANSWER_TIMEOUT, Connector, Link, Trouble, in_time, trace_context};
use crate::{
    BrokerError, BrokerOptions, OpenError,
    open::{Forwarded, Outside},
};

/// The exchange that outsiders bind to.
pub(crate) const EXCHANGE: &str = "buildguild.events";

/// The way to outsiders through RabbitMQ.
pub(crate) struct AmqpOutside {
    connector: Connector,
    link: Mutex<Option<Link>>,
}

impl AmqpOutside {
    pub(crate) fn new(options: &BrokerOptions) -> Result<Self, OpenError> {
        Ok(Self { connector: Connector::new(options)?, link: Mutex::default() })
    }

    async fn link(&self) -> Result<Link, Trouble> {
        let link = self.connector.connect().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            link.channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default());
        in_time(declared).await?;
        Ok(link)
    }

    async fn forward_all(&self, batch: &[Arc<Event>]) -> Result<Forwarded, Trouble> {
        let mut kept = self.link.lock().await;
        let link = match kept.take().filter(|link| link.channel.status().connected()) {
            Some(link) => link,
            None => self.link().await?,
        };
        let sending = async {
            let mut confirms = Vec::new();
            for event in batch {
                let mut headers = FieldTable::default();
                headers.insert("traceparent".into(), trace_context(event));
                if let Some(main) = event.keys.first() {
                    headers.insert("main-key".into(), AMQPValue::LongString(main.dotted().into()));
                }
                let properties = BasicProperties::default()
                    .with_content_type("application/json".into())
                    .with_delivery_mode(2)
                    .with_message_id(event.event_id.to_string().into())
                    .with_headers(headers);
                for key in &event.keys {
                    // AMQP's routing keys have 255 bytes at most.
                    let key = key.dotted();
                    if key.len() > 255 {
                        continue;
                    }
                    let body = event.body.get().as_bytes();
                    let options = BasicPublishOptions::default();
                    let sent =
                        link.channel.basic_publish(EXCHANGE.into(), key.into(), options, body, properties.clone());
                    confirms.push(sent.await?);
                }
            }
            let mut forwarded = Forwarded::default();
            for confirm in confirms {
                forwarded.messages += 1;
                forwarded.refused += u64::from(confirm.await?.is_nack());
            }
            Ok::<_, Trouble>(forwarded)
        };
        let forwarded = tokio::time::timeout(ANSWER_TIMEOUT, sending).await.map_err(|_| Trouble::TimedOut)??;
        *kept = Some(link);
        Ok(forwarded)
    }
}

#[async_trait]
impl Outside for AmqpOutside {
    async fn forward(&self, batch: &[Arc<Event>]) -> Result<Forwarded, BrokerError> {
        Ok(self.forward_all(batch).await?)
    }
}
