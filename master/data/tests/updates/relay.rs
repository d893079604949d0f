//! The publisher, with a broker that fails and updates that are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use broker_adapters::memory::MemoryLog;
use broker_adapters::{BrokerError, Cursor, EventLog, Position, SubscribeError, Subscription};
use buildguild_db::outbox;
use buildguild_db::test_support::TestDb;
use buildguild_types::event::Event;
use futures::StreamExt;

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

/// A broker whose server is taken over by one that lacks what came after `held` batches.
struct TakenOver {
    log: MemoryLog,
    generation: AtomicU32,
    batches: AtomicU32,
    held: AtomicU32,
}

#[async_trait]
impl EventLog for TakenOver {
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError> {
        self.log.publish(batch).await?;
        let at = self.batches.fetch_add(1, Ordering::SeqCst) + 1;
        let generation = format!("g{}", self.generation.load(Ordering::SeqCst));
        Ok(Some(Cursor::new(generation.as_str().into(), Position::at(at.into()))))
    }

    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
        self.log.subscribe(from).await
    }

    fn can_lose_confirmed(&self) -> bool {
        true
    }

    async fn holds(&self, place: &Cursor) -> Result<bool, BrokerError> {
        Ok(place.position().major <= self.held.load(Ordering::SeqCst).into())
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
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

async fn a_long_backlog_is_drained_in_order_and_live_events_follow(test: &TestDb) {
    const ROWS: usize = 2000;
    let log = Arc::new(Away { log: MemoryLog::new(10_000), here: AtomicBool::new(false), refused: AtomicU32::new(0) });
    let mut master = Master::with_log(&test.db, "one", log.clone()).await;
    let owner = master.owner;
    let backlog = test.db.write(|tx| async move {
        for n in 0..ROWS {
            let event = Event::new(vec![format!("late/{n}/new").as_str().into()], &n).unwrap();
            outbox::insert(&tx, owner, &[event]).await?;
        }
        Ok(())
    });
    backlog.await.unwrap();
    master.bell.ring();
    until("the broker is asked", async || log.refused.load(Ordering::SeqCst) > 0).await;
    until("the failure is counted", async || master.bell.figures().failures > 0).await;
    log.here.store(true, Ordering::SeqCst);
    master.request().await;
    let keys = master.keys_until("buildsets/1/new").await;
    let late: Vec<&String> = keys.iter().filter(|key| key.starts_with("late/")).collect();
    assert!(late.iter().enumerate().all(|(n, key)| **key == format!("late/{n}/new")), "in order");
    assert_eq!(late.len(), ROWS, "what was committed before comes before");
    until("the outbox is empty", async || outbox::depth(test.db.read()).await.unwrap() == 0).await;
    assert!(master.bell.figures().published >= ROWS as u64);
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

async fn what_a_takeover_lost_is_published_again(test: &TestDb) {
    let log = Arc::new(TakenOver {
        log: MemoryLog::new(1000),
        generation: AtomicU32::new(0),
        batches: AtomicU32::new(0),
        held: AtomicU32::new(0),
    });
    let mut reader = log.subscribe(None).await.unwrap();
    let master = Master::with_log(&test.db, "one", log.clone()).await;
    for set in 1..=3 {
        master.request().await;
        until("the rows leave the outbox", async || outbox::depth(test.db.read()).await.unwrap() == 0).await;
        if set == 1 {
            log.held.store(log.batches.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }
    log.generation.store(1, Ordering::SeqCst);
    master.request().await;
    let mut seen = Vec::new();
    let again = async {
        while seen.iter().filter(|key| **key == "buildsets/3/new").count() < 2 {
            for received in reader.events.next().await.unwrap().unwrap() {
                seen.push(received.event.keys[0].as_str().to_owned());
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), again).await.is_ok();
    assert!(in_time, "{seen:?}");
    let sets: Vec<&String> = seen.iter().filter(|key| key.starts_with("buildsets/") && key.ends_with("/new")).collect();
    let sets: Vec<&&String> = sets.iter().filter(|key| key.split('/').count() == 3).collect();
    let (first, rest) = sets.split_at(4);
    assert_eq!(first, [&"buildsets/1/new", &"buildsets/2/new", &"buildsets/3/new", &"buildsets/4/new"]);
    assert_eq!(rest, [&"buildsets/2/new", &"buildsets/3/new"], "the lost ones, in order; the first is still there");
    until("the outbox is empty", async || outbox::depth(test.db.read()).await.unwrap() == 0).await;
}

buildguild_db::on_both_databases!(
    a_long_backlog_is_drained_in_order_and_live_events_follow,
    what_a_takeover_lost_is_published_again,
    events_wait_for_the_broker_and_keep_their_order,
    rows_that_were_not_handed_over_are_published_too,
);
