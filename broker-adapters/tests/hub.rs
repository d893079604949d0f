//! The fan-out: filters, order, duplicates, slow subscribers, resume.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use broker_adapters::{
    BrokerError, Cursor, Delivery, EventHub, EventLog, FilterChange, Gone, HubOptions, HubSubscription, Position,
    SubscribeError, SubscribeFrom, Subscription, TopicFilter, memory::MemoryLog,
};
use buildguild_types::event::{Event, EventKey};
use tokio_util::sync::CancellationToken;

fn filter(text: &str) -> TopicFilter {
    text.parse().expect("a filter")
}

fn build_event(id: u32, what: &str) -> Event {
    let id = id.to_string();
    let keys = vec![
        EventKey::new(["builders", "1", "builds", &id, what]),
        EventKey::new(["builds", &id, what]),
        EventKey::new(["workers", "2", "builds", &id, what]),
    ];
    Event::new(keys, &serde_json::json!({ "buildid": id })).expect("JSON")
}

async fn hub_of(log: &Arc<MemoryLog>, options: HubOptions) -> EventHub {
    EventHub::start(log.clone(), options, CancellationToken::new()).await.0
}

async fn next(subscription: &mut HubSubscription) -> Result<Delivery, Gone> {
    tokio::time::timeout(Duration::from_secs(60), subscription.recv()).await.expect("in time")
}

async fn next_key(subscription: &mut HubSubscription) -> String {
    next(subscription).await.expect("goes on").key().to_string()
}

#[tokio::test]
async fn delivers_once_per_matching_filter_and_key() {
    let log = Arc::new(MemoryLog::default());
    let hub = hub_of(&log, HubOptions::default()).await;
    let mut overlapping = hub.listen(vec![filter("builds/*/new"), filter("builds/7/*")]).expect("listens");
    let mut everything = hub.listen(vec![filter("*/*/*"), filter("*/*/builds/*/*")]).expect("listens");
    log.publish(vec![build_event(7, "new"), build_event(8, "new")]).await.expect("publishes");
    for key in ["builds/7/new", "builds/7/new", "builds/8/new"] {
        assert_eq!(next_key(&mut overlapping).await, key);
    }
    for key in ["builders/1/builds/7/new", "builds/7/new", "workers/2/builds/7/new", "builders/1/builds/8/new"] {
        assert_eq!(next_key(&mut everything).await, key);
    }
}

#[tokio::test]
async fn filters_change_while_it_runs() {
    let log = Arc::new(MemoryLog::default());
    let hub = hub_of(&log, HubOptions::default()).await;
    let mut subscription = hub.listen(Vec::new()).expect("listens");
    let filters = subscription.filters().clone();
    assert_eq!(filters.add(filter("builds/*/new")), FilterChange::Done);
    assert_eq!(filters.add(filter("builds/*/new")), FilterChange::Unchanged);
    assert_eq!(filters.remove(&filter("builds/*/old")), FilterChange::Unchanged);
    log.publish(vec![build_event(1, "new")]).await.expect("publishes");
    assert_eq!(next_key(&mut subscription).await, "builds/1/new");
    assert_eq!(filters.remove(&filter("builds/*/new")), FilterChange::Done);
    assert_eq!(filters.add(filter("builds/*/finished")), FilterChange::Done);
    log.publish(vec![build_event(2, "new"), build_event(2, "finished")]).await.expect("publishes");
    assert_eq!(next_key(&mut subscription).await, "builds/2/finished");
    drop(subscription);
    assert_eq!(filters.add(filter("builds/*/new")), FilterChange::Ended);
    assert_eq!(hub.subscriber_count(), 0);
}

#[tokio::test]
async fn duplicates_are_dropped() {
    let log = Arc::new(MemoryLog::default());
    let hub = hub_of(&log, HubOptions::default()).await;
    let mut subscription = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    let event = build_event(1, "new");
    log.publish(vec![event.clone(), event.clone()]).await.expect("publishes");
    log.publish(vec![event, build_event(2, "new")]).await.expect("publishes");
    assert_eq!(next_key(&mut subscription).await, "builds/1/new");
    assert_eq!(next_key(&mut subscription).await, "builds/2/new");
}

#[tokio::test]
async fn a_slow_subscriber_is_put_out_and_others_go_on() {
    let log = Arc::new(MemoryLog::default());
    let mut options = HubOptions::default();
    options.queue_len = 8;
    let hub = hub_of(&log, options).await;
    let mut slow = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    let mut quick = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    for id in 0..20 {
        log.publish(vec![build_event(id, "new")]).await.expect("publishes");
        assert_eq!(next_key(&mut quick).await, format!("builds/{id}/new"));
    }
    assert_eq!(next(&mut slow).await.expect_err("it is out"), Gone::TooSlow);
    assert_eq!(slow.filters().add(filter("x")), FilterChange::Ended);
    assert_eq!(hub.subscriber_count(), 1);
}

#[tokio::test]
async fn resumes_from_the_ring() {
    let log = Arc::new(MemoryLog::default());
    let hub = hub_of(&log, HubOptions::default()).await;
    let start = hub.newest();
    let mut live = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    for id in 0..2000 {
        log.publish(vec![build_event(id, "new")]).await.expect("publishes");
    }
    let mut cursors = Vec::new();
    for _ in 0..2000 {
        cursors.push(next(&mut live).await.expect("goes on").cursor().clone());
    }
    assert_eq!(live.caught_up_at().as_ref(), cursors.last());
    let from = SubscribeFrom::After(start.clone());
    let mut all = hub.subscribe(vec![filter("builds/*/*")], from).await.expect("resumes");
    assert_eq!(all.start(), &start, "who loses it before the first delivery comes back with this");
    let from = SubscribeFrom::After(cursors[1989].clone());
    let mut tail = hub.subscribe(vec![filter("builds/*/*")], from).await.expect("resumes");
    assert_eq!(tail.caught_up_at(), None, "there is a backlog");
    log.publish(vec![build_event(2000, "new")]).await.expect("publishes");
    for id in 0..=2000 {
        assert_eq!(next_key(&mut all).await, format!("builds/{id}/new"));
    }
    for id in 1990..=2000 {
        assert_eq!(next_key(&mut tail).await, format!("builds/{id}/new"));
    }
}

#[tokio::test]
async fn one_that_catches_up_too_late_is_told_so() {
    let log = Arc::new(MemoryLog::default());
    let mut options = HubOptions::default();
    options.ring_events = 600;
    let hub = hub_of(&log, options).await;
    let mut live = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    let publish = async |ids: std::ops::Range<u32>, live: &mut HubSubscription| {
        for id in ids {
            log.publish(vec![build_event(id, "new")]).await.expect("publishes");
            next(live).await.expect("goes on");
        }
    };
    let start = hub.newest();
    publish(0..600, &mut live).await;
    let mut late = hub.subscribe(vec![filter("builds/*/*")], SubscribeFrom::After(start)).await.expect("resumes");
    let start = hub.newest();
    publish(600..700, &mut live).await;
    let mut near = hub.subscribe(vec![filter("builds/*/*")], SubscribeFrom::After(start)).await.expect("resumes");
    publish(700..1500, &mut live).await;
    // Some of what it is behind was kept for it, the rest has gone.
    let mut told = 0;
    let gone = loop {
        match next(&mut late).await {
            Ok(delivery) => assert_eq!(delivery.key().to_string(), format!("builds/{told}/new")),
            Err(gone) => break gone,
        }
        told += 1;
    };
    assert_eq!(gone, Gone::NotRetained);
    assert!((1..600).contains(&told), "{told}");
    // Who was behind by little has everything.
    for id in 600..1500 {
        assert_eq!(next_key(&mut near).await, format!("builds/{id}/new"));
    }
}

#[tokio::test]
async fn a_cursor_that_is_not_retained_is_a_reset() {
    let log = Arc::new(MemoryLog::new(4));
    let mut options = HubOptions::default();
    options.ring_events = 4;
    let hub = hub_of(&log, options).await;
    let start = hub.newest();
    let mut live = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    for id in 0..10 {
        log.publish(vec![build_event(id, "new")]).await.expect("publishes");
        next(&mut live).await.expect("goes on");
    }
    let other = Cursor::new("another".into(), Position::at(1));
    for cursor in [start, other] {
        let refused = hub.subscribe(vec![filter("builds/*/*")], SubscribeFrom::After(cursor)).await;
        assert_eq!(refused.expect_err("too old"), Gone::NotRetained);
    }
}

#[tokio::test]
async fn a_cursor_of_a_replica_ahead_of_this_one_skips_what_it_saw() {
    let log = Arc::new(MemoryLog::default());
    let hub = hub_of(&log, HubOptions::default()).await;
    let ahead = Cursor::new(hub.newest().generation().clone(), Position::at(hub.newest().position().major + 2));
    let mut resumed = hub.subscribe(vec![filter("builds/*/*")], SubscribeFrom::After(ahead)).await.expect("resumes");
    log.publish((0..3).map(|id| build_event(id, "new")).collect()).await.expect("publishes");
    assert_eq!(next_key(&mut resumed).await, "builds/2/new");
}

#[tokio::test]
async fn shutting_down_ends_subscriptions() {
    let log = Arc::new(MemoryLog::default());
    let shutdown = CancellationToken::new();
    let (hub, task) = EventHub::start(log, HubOptions::default(), shutdown.clone()).await;
    let mut subscription = hub.listen(vec![filter("builds/*/*")]).expect("listens");
    shutdown.cancel();
    assert_eq!(next(&mut subscription).await.expect_err("ended"), Gone::ShutDown);
    task.await.expect("ends");
    assert_eq!(hub.listen(Vec::new()).expect_err("ended"), Gone::ShutDown);
}

#[tokio::test]
async fn a_resume_from_before_the_ring_reads_the_log() {
    let log = Arc::new(MemoryLog::new(1000));
    let mut options = HubOptions::default();
    options.ring_events = 10;
    let hub = hub_of(&log, options).await;
    let start = hub.newest();
    let again = build_event(0, "new");
    log.publish(vec![again.clone()]).await.expect("publishes");
    for id in 1..600 {
        log.publish(vec![build_event(id, "new"), build_event(id, "finished")]).await.expect("publishes");
        // The hub keeps up.
        tokio::task::yield_now().await;
    }
    // A duplicate, as after a publisher's error.
    log.publish(vec![again]).await.expect("publishes");
    let mut newest = hub.listen(vec![filter("builds/600/new")]).expect("listens");
    log.publish(vec![build_event(600, "new")]).await.expect("publishes");
    let last = next(&mut newest).await.expect("goes on").cursor().clone();
    let subscribing = hub.subscribe(vec![filter("builds/*/new")], SubscribeFrom::After(start)).await;
    assert_eq!(subscribing.err(), Some(Gone::NotRetained), "the log has only the last thousand");
    let from = Cursor::new(Arc::clone(last.generation()), Position::at(last.position().major - 800));
    let mut resumed = hub.subscribe(vec![filter("builds/*/new")], SubscribeFrom::After(from)).await.expect("resumes");
    log.publish(vec![build_event(601, "new")]).await.expect("publishes");
    let first = next_key(&mut resumed).await;
    let first: u32 = first.split('/').nth(1).and_then(|id| id.parse().ok()).expect("an id");
    assert!((200..202).contains(&first), "{first}");
    let mut expected: Vec<_> = (first + 1..600).collect();
    // The duplicate is the first that this reader sees.
    expected.extend([0, 600, 601]);
    for id in expected {
        assert_eq!(next_key(&mut resumed).await, format!("builds/{id}/new"));
    }
}

#[tokio::test]
async fn a_resume_that_missed_too_much_is_told_so() {
    let log = Arc::new(MemoryLog::default());
    let mut options = HubOptions::default();
    options.ring_events = 10;
    options.replay_deliveries = 50;
    let hub = hub_of(&log, options).await;
    let start = hub.newest();
    let mut newest = hub.listen(vec![filter("builds/499/new")]).expect("listens");
    log.publish((0..500).map(|id| build_event(id, "new")).collect()).await.expect("publishes");
    assert_eq!(next_key(&mut newest).await, "builds/499/new");
    let few = hub.subscribe(vec![filter("builds/1/new")], SubscribeFrom::After(start.clone())).await;
    assert_eq!(next_key(&mut few.expect("few")).await, "builds/1/new");
    let all = hub.subscribe(vec![filter("builds/*/new")], SubscribeFrom::After(start)).await;
    assert_eq!(all.err(), Some(Gone::NotRetained));
}

/// A log whose broker can be away.
struct Away {
    log: Arc<MemoryLog>,
    is_away: AtomicBool,
}

#[async_trait]
impl EventLog for Away {
    async fn publish(&self, batch: Vec<Event>) -> Result<Option<Cursor>, BrokerError> {
        self.log.publish(batch).await
    }

    async fn subscribe(&self, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
        match self.is_away.load(Ordering::Acquire) {
            true => Err(SubscribeError::Unavailable("it is away".into())),
            false => self.log.subscribe(from).await,
        }
    }
}

#[tokio::test]
async fn a_resume_waits_for_a_broker_that_was_away_when_the_replica_started() {
    let log = Arc::new(MemoryLog::default());
    let before = hub_of(&log, HubOptions::default()).await.newest();
    log.publish(vec![build_event(1, "new")]).await.expect("publishes");
    let away = Arc::new(Away { log, is_away: AtomicBool::new(true) });
    let (hub, _task) = EventHub::start(away.clone(), HubOptions::default(), CancellationToken::new()).await;
    let mut resuming = Box::pin(hub.subscribe(vec![filter("builds/*/new")], SubscribeFrom::After(before)));
    assert!(futures::poll!(&mut resuming).is_pending(), "it is not told to fetch everything again");
    away.is_away.store(false, Ordering::Release);
    let mut resumed = resuming.await.expect("resumes");
    assert_eq!(next_key(&mut resumed).await, "builds/1/new");
}
