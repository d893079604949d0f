//! What every event log has to do, whatever is behind it. An adapter's test file implements [`Harness`] and calls
//! `contract_tests!`.

use std::{future::Future, sync::Arc, time::Duration};

use broker_adapters::{Cursor, EventLog, Position, Received, SubscribeError, Subscription};
use buildguild_types::event::{Event, EventKey};
use futures::StreamExt;

/// Makes logs for tests.
pub(crate) trait Harness {
    /// A new, empty log of its own that retains about `retained` events.
    fn log(&self, retained: usize) -> impl Future<Output = Arc<dyn EventLog>>;
    /// A new, empty log of its own that retains about so many bytes, however few events that is.
    fn log_of_bytes(&self, bytes: usize) -> impl Future<Output = Arc<dyn EventLog>>;
}

pub(crate) fn event(n: usize) -> Event {
    Event::new(vec![EventKey::new(["tests", &n.to_string(), "new"])], &serde_json::json!({ "n": n })).expect("JSON")
}

pub(crate) fn number(received: &Received) -> usize {
    let body: serde_json::Value = serde_json::from_str(received.event.body.get()).expect("JSON");
    body["n"].as_u64().expect("a number").try_into().expect("small")
}

/// Reads at least `count` events, failing after a deadline.
pub(crate) async fn read(subscription: &mut Subscription, count: usize) -> Vec<Received> {
    let mut all = Vec::new();
    let reading = async {
        while all.len() < count {
            let batch = subscription.events.next().await.expect("the stream goes on").expect("no error");
            assert!(!batch.is_empty(), "batches are not empty");
            all.extend(batch);
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(120), reading).await;
    assert!(in_time.is_ok(), "got {} of {count} events in time", all.len());
    all
}

/// Subscribes, again if the server cannot be reached: it was just started, or does not answer in time. It refuses at once what
/// it does not have.
pub(crate) async fn subscribe(log: &dyn EventLog, from: Option<Cursor>) -> Result<Subscription, SubscribeError> {
    let asking = async {
        loop {
            match log.subscribe(from.clone()).await {
                Err(SubscribeError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await, // polls
                answer => return answer,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(240), asking).await.expect("an answer in time")
}

pub(crate) async fn keeps_order_and_content(harness: &impl Harness) {
    let log = harness.log(1000).await;
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    let sent: Vec<_> = (0..300).map(event).collect();
    for batch in sent.chunks(7) {
        log.publish(batch.to_vec()).await.expect("publishes");
    }
    log.publish(Vec::new()).await.expect("nothing is fine");
    let got = read(&mut reader, 300).await;
    for (sent, got) in sent.iter().zip(&got) {
        assert_eq!(sent.event_id, got.event.event_id);
        assert_eq!(sent.keys, got.event.keys);
        assert_eq!(sent.body.get(), got.event.body.get());
    }
    assert!(got.is_sorted_by_key(|r| r.cursor.position()), "cursors grow");
}

pub(crate) async fn starts_with_what_comes_after_the_call(harness: &impl Harness) {
    let log = harness.log(1000).await;
    log.publish(vec![event(1)]).await.expect("publishes");
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    log.publish(vec![event(2)]).await.expect("publishes");
    assert_eq!(number(&read(&mut reader, 1).await[0]), 2);
}

pub(crate) async fn resumes_after_any_cursor(harness: &impl Harness) {
    let log = harness.log(1000).await;
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    let start = reader.start.clone();
    log.publish((0..20).map(event).collect()).await.expect("publishes");
    let all = read(&mut reader, 20).await;
    let mut from_start = subscribe(&*log, Some(start)).await.expect("subscribes");
    assert_eq!(read(&mut from_start, 20).await.iter().map(number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    for received in &all[..19] {
        let text = received.cursor.to_string();
        let cursor: Cursor = text.parse().expect("the text form parses");
        let mut again = subscribe(&*log, Some(cursor)).await.expect("subscribes");
        let rest: Vec<_> = read(&mut again, 19 - number(received)).await.iter().map(number).collect();
        assert_eq!(rest, (number(received) + 1..20).collect::<Vec<_>>());
    }
}

pub(crate) async fn resumes_at_the_end(harness: &impl Harness) {
    let log = harness.log(1000).await;
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    log.publish(vec![event(1)]).await.expect("publishes");
    let end = read(&mut reader, 1).await[0].cursor.clone();
    let mut again = subscribe(&*log, Some(end)).await.expect("subscribes");
    log.publish(vec![event(2)]).await.expect("publishes");
    assert_eq!(number(&read(&mut again, 1).await[0]), 2);
}

pub(crate) async fn tells_what_is_no_longer_retained(harness: &impl Harness) {
    let log = harness.log(16).await;
    let start = subscribe(&*log, None).await.expect("subscribes").start;
    for n in 0..100 {
        log.publish((0..16).map(|i| event(n * 16 + i)).collect()).await.expect("publishes");
    }
    // A broker may take a moment to drop what is too much.
    let dropped = async {
        while subscribe(&*log, Some(start.clone())).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await; // polls
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(240), dropped).await;
    assert!(in_time.is_ok(), "the first of 1600 events is still there");
    assert!(matches!(subscribe(&*log, Some(start)).await, Err(SubscribeError::NotRetained)));
}

pub(crate) async fn keeps_about_as_many_bytes_as_told(harness: &impl Harness) {
    const TOLD: usize = 1024 * 1024;
    const EVENT: usize = 4096;
    const BATCH: usize = 64;
    let log = harness.log_of_bytes(TOLD).await;
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    let body = serde_json::json!({ "n": 0, "text": "x".repeat(EVENT) });
    let mut places = Vec::new();
    for _ in 0..8 * TOLD / (BATCH * EVENT) {
        let make = || Event::new(vec![EventKey::new(["tests", "0", "new"])], &body).expect("JSON");
        log.publish((0..BATCH).map(|_| make()).collect()).await.expect("publishes");
        places.extend(read(&mut reader, BATCH).await.pop().map(|last| last.cursor));
    }
    // A broker may take a moment to drop what is too much, and RabbitMQ seconds for each place that is tried.
    let dropped = async {
        loop {
            let kept = kept_places(&*log, &places).await * BATCH * EVENT;
            assert!(kept >= TOLD / 2, "only {kept} bytes");
            if kept <= TOLD * 2 {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(240), dropped).await;
    assert!(in_time.is_ok(), "too much is kept");
}

/// How many of the last places can still be read from, but for the end.
async fn kept_places(log: &dyn EventLog, places: &[Cursor]) -> usize {
    let mut kept = 0;
    for place in places.iter().rev().skip(1) {
        match subscribe(log, Some(place.clone())).await {
            Ok(_) => kept += 1,
            Err(SubscribeError::NotRetained) => break,
            Err(error) => panic!("{error}"),
        }
    }
    kept
}

pub(crate) async fn tells_a_slow_reader_that_it_lost_events(harness: &impl Harness) {
    let log = harness.log(16).await;
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    for n in 0..100 {
        log.publish((0..16).map(|i| event(n * 16 + i)).collect()).await.expect("publishes");
    }
    // Either it is told, at once or when it asks again where it was, or the adapter had buffered everything for it:
    // events are never left out in between.
    let (mut next, mut place) = (0, reader.start.clone());
    loop {
        let batch = tokio::time::timeout(Duration::from_secs(60), reader.events.next()).await.expect("in time");
        match batch.expect("the stream ends with an error") {
            Ok(batch) => {
                for received in batch {
                    assert_eq!(number(&received), next, "no gap");
                    next += 1;
                    place = received.cursor;
                }
                if next == 1600 {
                    return;
                }
            }
            Err(SubscribeError::NotRetained) => return,
            Err(_) => match subscribe(&*log, Some(place.clone())).await {
                Ok(again) => reader = again,
                Err(SubscribeError::NotRetained) => return,
                Err(error) => panic!("{error}"),
            },
        }
    }
}

pub(crate) async fn refuses_cursors_it_never_gave(harness: &impl Harness) {
    let log = harness.log(16).await;
    let other = Cursor::new("another".into(), Position::at(0));
    assert!(matches!(subscribe(&*log, Some(other)).await, Err(SubscribeError::NotRetained)));
    let generation = subscribe(&*log, None).await.expect("subscribes").start.generation().clone();
    let beyond = Cursor::new(generation, Position::at(u64::MAX));
    assert!(matches!(subscribe(&*log, Some(beyond)).await, Err(SubscribeError::NotRetained)));
}

pub(crate) async fn serves_many_readers_and_writers(harness: &impl Harness) {
    let log = harness.log(10_000).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(subscribe(&*log, None).await.expect("subscribes"));
    }
    let writers = (0..4).map(|writer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for n in 0..50 {
                log.publish(vec![event(writer * 1000 + n)]).await.expect("publishes");
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.expect("writes");
    }
    let mut orders = Vec::new();
    for reader in &mut readers {
        let numbers: Vec<_> = read(reader, 200).await.iter().map(number).collect();
        for writer in 0..4 {
            let own: Vec<_> = numbers.iter().filter(|n| **n / 1000 == writer).collect();
            assert!(own.len() == 50 && own.is_sorted(), "each writer's events keep their order");
        }
        orders.push(numbers);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "all readers see one order");
}

pub(crate) async fn shows_duplicates_by_their_id(harness: &impl Harness) {
    let log = harness.log(1000).await;
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    let batch = vec![event(1), event(2)];
    log.publish(batch.clone()).await.expect("publishes");
    // As a publisher does that did not learn that its batch was taken.
    log.publish(batch).await.expect("publishes");
    let got = read(&mut reader, 4).await;
    assert_eq!(got.iter().map(number).collect::<Vec<_>>(), [1, 2, 1, 2]);
    assert_eq!(got[0].event.event_id, got[2].event.event_id);
    assert_ne!(got[0].cursor, got[2].cursor, "each has its own place");
}

pub(crate) async fn buffers_little_for_a_reader_that_does_not_read(harness: &impl Harness) {
    let log = harness.log(1000).await;
    let reader = subscribe(&*log, None).await.expect("subscribes");
    let body = serde_json::json!({ "n": 0, "text": "x".repeat(4096) });
    let mut before = 0;
    for batch in 0..140 {
        // What is allocated once is so by now.
        if batch == 40 {
            before = resident_kib();
        }
        let make = || Event::new(vec![EventKey::new(["tests", "0", "new"])], &body).expect("JSON");
        log.publish((0..128).map(|_| make()).collect()).await.expect("publishes");
    }
    let grown = resident_kib().saturating_sub(before);
    // 50 MiB went through since then; a thousand events are 4 MiB.
    assert!(grown < 32 * 1024, "{grown} KiB");
    drop(reader);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// One test per rule.
macro_rules! contract_tests {
    ($harness:expr) => {
        contract::contract_tests!($harness; keeps_order_and_content, starts_with_what_comes_after_the_call,
            resumes_after_any_cursor, resumes_at_the_end, tells_what_is_no_longer_retained,
            keeps_about_as_many_bytes_as_told,
            tells_a_slow_reader_that_it_lost_events, refuses_cursors_it_never_gave, serves_many_readers_and_writers,
            shows_duplicates_by_their_id, buffers_little_for_a_reader_that_does_not_read);
    };
    ($harness:expr; $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                contract::$name(&$harness).await;
            }
        )*
    };
}
pub(crate) use contract_tests;
