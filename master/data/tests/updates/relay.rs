//! The publisher, with a broker that fails and updates that are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use broker_adapters::memory::MemoryLog;
use broker_adapters::{BrokerError, Cursor, EventLog, SubscribeError, Subscription};
use buildguild_db::outbox;
use buildguild_db::test_support::TestDb;
use buildguild_types::event::Event;

use crate::support::Master;

/// A broker that is away at first.
struct Away {
    log: MemoryLog,
    here: AtomicBool,
    refused: AtomicU32,
}

#[async_trait]
impl EventLog for Away {
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError> {
        if self.here.load(Ordering::SeqCst) {
            return self.log.publish(batch).await;
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(BrokerError::Unavailable("away".into()))
    }

    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
        self.log.subscribe(from).await
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

async fn events_wait_for_the_broker_and_keep_their_order(test: &TestDb) {
    let log = Arc::new(Away { log: MemoryLog::new(1000), here: AtomicBool::new(false), refused: AtomicU32::new(0) });
    let mut master = Master::with_log(&test.db, "one", log.clone()).await;
    for _ in 0..5 {
        master.request().await;
    }
    until("the broker is asked", async || log.refused.load(Ordering::SeqCst) > 0).await;
    assert_eq!(outbox::depth(test.db.read()).await.unwrap(), 5);
    log.here.store(true, Ordering::SeqCst);
    let keys = master.keys_until("buildsets/5/builders/1/buildrequests/5/new").await;
    let sets: Vec<&String> = keys.iter().filter(|key| key.split('/').count() == 3).collect();
    assert_eq!(sets, ["buildsets/1/new", "buildsets/2/new", "buildsets/3/new", "buildsets/4/new", "buildsets/5/new"]);
    until("the outbox is empty", async || outbox::depth(test.db.read()).await.unwrap() == 0).await;
}

async fn rows_that_were_not_handed_over_are_published_too(test: &TestDb) {
    let mut master = Master::new(&test.db, "one").await;
    let owner = master.owner;
    let event = &[Event::new(vec!["lost/1/new".into()], &1).unwrap()];
    test.db.write(|tx| async move { outbox::insert(&tx, owner, event).await }).await.unwrap();
    master.bell.ring();
    master.event("lost/1/new").await;
    until("the outbox is empty", async || outbox::depth(test.db.read()).await.unwrap() == 0).await;
}

buildguild_db::on_both_databases!(
    events_wait_for_the_broker_and_keep_their_order,
    rows_that_were_not_handed_over_are_published_too,
);
