//! The RabbitMQ adapter against the contract of the event log, and what is RabbitMQ's own.

#![cfg(feature = "amqp")]

mod brokers;
mod contract;

use std::{error::Error as _, sync::Arc, time::Duration};

use broker_adapters::{BrokerOptions, EventLog, MemoryGenerations, SubscribeError, open, outside};
use contract::{event, read};
use futures::StreamExt;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use test_servers::{RabbitMq, RabbitMqOptions};

/// How long a server may take for what it does in the end.
const PATIENCE: Duration = Duration::from_secs(120);

struct AmqpHarness;

fn shared() -> String {
    RabbitMq::shared_url().expect("RabbitMQ starts")
}

impl contract::Harness for AmqpHarness {
    async fn log(&self, retained: usize) -> Arc<dyn EventLog> {
        // An event of these tests takes about 250 bytes of a stream.
        self.log_of_bytes(retained * 250).await
    }

    async fn log_of_bytes(&self, bytes: usize) -> Arc<dyn EventLog> {
        let mut options = BrokerOptions::new(shared());
        options.retained_bytes = bytes as u64;
        open(&options, Arc::new(MemoryGenerations::default())).expect("opens")
    }
}

contract::contract_tests!(AmqpHarness);

impl brokers::Server for RabbitMq {
    fn url(&self) -> String {
        self.url()
    }

    fn tls_url(&self) -> String {
        self.tls_url().expect("it speaks TLS").replace("127.0.0.1", "localhost")
    }

    fn wrong_url(&self) -> String {
        self.url().replace("guest:guest", "guest:wrong-secret")
    }

    fn kill(&mut self) {
        self.stop();
    }

    fn restart(&mut self) {
        self.restart().expect("restarts");
    }

    fn wipe(&mut self) {
        RabbitMq::wipe(self).expect("wipes");
    }
}

/// One server for both, because it takes so long to start.
#[tokio::test(flavor = "multi_thread")]
async fn checks_certificates_and_passwords_and_outlives_its_broker() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = brokers::certificate(directory.path());
    let server = RabbitMq::start_with(RabbitMqOptions { tls: Some(files.clone()), ..RabbitMqOptions::default() })
        .expect("RabbitMQ starts");
    brokers::checks_certificates_and_passwords(&server, &files).await;
    brokers::outlives_its_broker(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outsiders_get_every_key_and_cannot_hold_up_the_log() {
    let options = BrokerOptions::new(shared());
    let out = outside(&options).expect("understood").expect("RabbitMQ has a way outside");
    let first = Arc::new(event(1));
    // Makes the exchange.
    out.forward(std::slice::from_ref(&first)).await.expect("forwards");

    let connection = Connection::connect(&shared(), ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongLongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let full = channel.queue_declare("".into(), exclusive, full).await.expect("a queue");
    let wide = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.expect("a queue");
    for queue in [&full, &wide] {
        let key = "tests.*.new".into();
        let bound = QueueBindOptions::default();
        let name = queue.name().clone();
        channel.queue_bind(name, "buildguild.events".into(), key, bound, FieldTable::default()).await.expect("binds");
    }

    let log = contract::Harness::log(&AmqpHarness, 1000).await;
    let mut reader = log.subscribe(None).await.expect("subscribes");
    let events: Vec<_> = (2..22).map(|n| Arc::new(event(n))).collect();
    log.publish(events.iter().map(|event| (**event).clone()).collect()).await.expect("publishes");
    let forwarded = out.forward(&events).await.expect("a full queue is no error");
    assert_eq!(forwarded.messages, 20);
    assert!(forwarded.refused >= 18, "{forwarded:?}");
    assert_eq!(read(&mut reader, 20).await.len(), 20);

    let consumer =
        channel.basic_consume(wide.name().clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consumer.await.expect("consumes");
    let delivery = consumer.next().await.expect("a message").expect("a message");
    assert_eq!(delivery.routing_key.as_str(), "tests.2.new");
    assert_eq!(delivery.data, events[0].body.get().as_bytes());
    let id = delivery.properties.message_id().clone().expect("an id");
    assert_eq!(id.as_str(), events[0].event_id.to_string(), "duplicates can be told");
    let headers = delivery.properties.headers().clone().expect("headers");
    let trace = headers.inner().get("traceparent").expect("a trace context");
    let AMQPValue::LongString(trace) = trace else { panic!("{trace:?}") };
    assert!(trace.to_string().contains(&events[0].event_id.simple().to_string()), "{trace}");
}

/// Publishers do not stop because the server is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_while_the_server_ended_is_there_when_it_is_back() {
    let mut server = RabbitMq::start().expect("RabbitMQ starts");
    let generations = Arc::new(MemoryGenerations::default());
    let log = || open(&BrokerOptions::new(server.url()), generations.clone()).expect("opens");
    let publishers: Vec<_> = (0..8).map(|_| log()).collect();
    let reader = log();
    let start = reader.subscribe(None).await.expect("subscribes").start;
    let publishing: Vec<_> = publishers
        .iter()
        .cloned()
        .map(|log| {
            tokio::spawn(async move {
                let mut confirmed = Vec::new();
                loop {
                    let event = event(confirmed.len());
                    let id = event.event_id;
                    if log.publish(vec![event]).await.is_err() {
                        return confirmed;
                    }
                    confirmed.push(id);
                }
            })
        })
        .collect();
    let server = tokio::task::spawn_blocking(move || {
        server.stop();
        server.restart().expect("restarts");
        server
    });
    let mut confirmed = Vec::new();
    for publisher in publishing {
        confirmed.extend(publisher.await.expect("no panic"));
    }
    let server = server.await.expect("no panic");
    let reading = tokio::time::timeout(PATIENCE, async {
        let mut missing: std::collections::HashSet<_> = confirmed.iter().copied().collect();
        let mut subscription = loop {
            match reader.subscribe(Some(start.clone())).await {
                Ok(subscription) => break subscription,
                Err(error) => assert!(matches!(error, SubscribeError::Unavailable(_)), "{error}"),
            }
        };
        while !missing.is_empty() {
            let next = tokio::time::timeout(Duration::from_secs(5), subscription.events.next()).await;
            let Ok(Some(Ok(batch))) = next else { return missing.len() };
            for received in batch {
                missing.remove(&received.event.event_id);
            }
        }
        0
    });
    let missing = reading.await.expect("in time");
    assert_eq!(missing, 0, "of {} confirmed events", confirmed.len());
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_nothing_says_why() {
    let options = RabbitMqOptions { is_alarmed: true, ..RabbitMqOptions::default() };
    let mut server = RabbitMq::start_with(options).expect("RabbitMQ starts");
    let log = open(&BrokerOptions::new(server.url()), Arc::new(MemoryGenerations::default())).expect("opens");
    // A node that has only just come up may refuse for other reasons at first.
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            let refused = log.publish(vec![event(1)]).await.expect_err("it has too little memory");
            assert!(refused.is_transient(), "{refused:?}");
            if refused.source().expect("a cause").to_string().contains("alarm") {
                return;
            }
        }
    });
    told.await.expect("it says that there is an alarm");

    server.restart_without_alarm().expect("restarts");
    let published = tokio::time::timeout(PATIENCE, async {
        while let Err(refused) = log.publish(vec![event(1)]).await {
            assert!(refused.is_transient(), "{refused:?}");
        }
    });
    published.await.expect("publishes with enough memory");
}
