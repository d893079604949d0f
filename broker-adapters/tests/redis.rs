//! The Redis adapter against the contract of the event log, and what is Redis's own.

#![cfg(feature = "redis")]

mod brokers;
mod contract;

use std::sync::{Arc, OnceLock};

use broker_adapters::{BrokerOptions, Cursor, EventLog, Generations, MemoryGenerations, SubscribeError, open};
use contract::{event, number, read, subscribe};
use test_servers::{Redis, RedisOptions};

struct RedisHarness;

/// One server for the tests that do not harm it; each log has a generation of its own.
fn shared() -> &'static Redis {
    static SERVER: OnceLock<Redis> = OnceLock::new();
    SERVER.get_or_init(|| Redis::start().expect("Redis starts"))
}

impl contract::Harness for RedisHarness {
    async fn log(&self, retained: usize) -> Arc<dyn EventLog> {
        let mut options = BrokerOptions::new(shared().url());
        options.retained_events = retained;
        open(&options, Arc::new(MemoryGenerations::default())).expect("opens")
    }

    async fn log_of_bytes(&self, bytes: usize) -> Arc<dyn EventLog> {
        let mut options = BrokerOptions::new(shared().url());
        options.retained_bytes = bytes as u64;
        open(&options, Arc::new(MemoryGenerations::default())).expect("opens")
    }
}

contract::contract_tests!(RedisHarness);

impl brokers::Server for Redis {
    fn url(&self) -> String {
        self.url()
    }

    fn tls_url(&self) -> String {
        self.tls_url().expect("it speaks TLS").replace("127.0.0.1", "localhost")
    }

    fn wrong_url(&self) -> String {
        format!("redis://:wrong-secret@127.0.0.1:{}", self.port())
    }

    fn kill(&mut self) {
        self.kill();
    }

    fn restart(&mut self) {
        self.restart().expect("restarts");
    }

    fn wipe(&mut self) {
        Redis::wipe(self).expect("wipes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_its_broker() {
    brokers::outlives_its_broker(Redis::start().expect("Redis starts")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_certificates_and_passwords() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = brokers::certificate(directory.path());
    let options =
        RedisOptions { password: Some("secret".to_owned()), tls: Some(files.clone()), ..RedisOptions::default() };
    let server = Redis::start_with(options).expect("Redis starts");
    brokers::checks_certificates_and_passwords(&server, &files).await;
}

/// Publishes, again if the server does not answer in time; gives the place.
async fn published(log: &dyn EventLog, n: usize) -> Cursor {
    let publishing = async {
        loop {
            match log.publish(vec![event(n)]).await {
                Ok(place) => return place.expect("a place"),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), publishing).await.expect("in time")
}

/// A server that comes back without its last entries, as a replica may that takes over: the publisher notices although
/// the log is there, and tells where the rest is.
#[tokio::test(flavor = "multi_thread")]
async fn notices_that_the_end_was_lost() {
    let mut server =
        Redis::start_with(RedisOptions { only_snapshots: true, ..RedisOptions::default() }).expect("Redis starts");
    let generations = Arc::new(MemoryGenerations::default());
    let log = open(&BrokerOptions::new(server.url()), generations.clone()).expect("opens");
    assert!(log.can_lose_confirmed());
    let kept = log.publish(vec![event(1)]).await.expect("publishes").expect("a place");
    server.command(&["SAVE"]).expect("saves");
    let lost = log.publish(vec![event(2)]).await.expect("publishes").expect("a place");
    server.kill();
    server.restart().expect("restarts");
    assert!(log.publish(vec![event(3)]).await.is_err(), "the connection was cut");
    let place = published(&*log, 4).await;
    assert_ne!(place.generation(), kept.generation(), "there is a new log");
    assert!(log.holds(&kept).await.expect("asks"));
    assert!(!log.holds(&lost).await.expect("asks"));
    assert!(matches!(subscribe(&*log, Some(kept)).await, Err(SubscribeError::NotRetained)));
    assert_eq!(generations.current().await.expect("asks").as_ref(), Some(place.generation()));
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    log.publish(vec![event(5)]).await.expect("publishes");
    assert_eq!(number(&read(&mut reader, 1).await[0]), 5);
}

/// As before, but the reader is the one who notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_that_the_end_was_lost() {
    let mut server =
        Redis::start_with(RedisOptions { only_snapshots: true, ..RedisOptions::default() }).expect("Redis starts");
    let log = open(&BrokerOptions::new(server.url()), Arc::new(MemoryGenerations::default())).expect("opens");
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    server.command(&["SAVE"]).expect("saves");
    log.publish(vec![event(1)]).await.expect("publishes");
    let place = read(&mut reader, 1).await[0].cursor.clone();
    drop(reader);
    server.kill();
    server.restart().expect("restarts");
    assert!(matches!(subscribe(&*log, Some(place.clone())).await, Err(SubscribeError::NotRetained)));
    let start = subscribe(&*log, None).await.expect("subscribes").start;
    assert_ne!(start.generation(), place.generation());
}
