//! The forwarder: one master at a time, and nothing lost from one to the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use broker_adapters::memory::MemoryLog;
use broker_adapters::{BrokerError, Forwarded, Outside};
use buildguild_data::forwarder::{self, ForwarderFigures};
use buildguild_db::leases::{self, Lease};
use buildguild_db::test_support::TestDb;
use buildguild_types::event::Event;
use tokio_util::sync::CancellationToken;

use crate::support::Master;

/// What outsiders got, and from whom. Each way fails once.
#[derive(Clone)]
struct Exchange {
    name: &'static str,
    got: Arc<Mutex<Vec<(&'static str, String)>>>,
    has_failed: Arc<AtomicBool>,
}

#[async_trait]
impl Outside for Exchange {
    async fn forward(&self, batch: &[Arc<Event>]) -> Result<Forwarded, BrokerError> {
        if !self.has_failed.swap(true, Ordering::SeqCst) {
            return Err(BrokerError::Unavailable("away".into()));
        }
        let keys = batch.iter().map(|event| (self.name, event.keys[0].as_str().to_owned()));
        self.got.lock().unwrap().extend(keys);
        Ok(Forwarded { messages: batch.len() as u64, refused: 1 })
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

async fn one_master_forwards_and_the_next_goes_on_where_it_was(test: &TestDb) {
    let log = Arc::new(MemoryLog::new(10_000));
    let (one, two) =
        (Master::with_log(&test.db, "one", log.clone()).await, Master::with_log(&test.db, "two", log).await);
    let got = Arc::<Mutex<Vec<(&'static str, String)>>>::default();
    let figures = Arc::<ForwarderFigures>::default();
    let start = |master: &Master, name| {
        let way = Exchange { name, got: Arc::clone(&got), has_failed: Arc::default() };
        let stop = CancellationToken::new();
        let running = forwarder::run(
            master.data.clone(),
            Arc::new(way),
            Arc::clone(&figures),
            Duration::from_millis(20),
            stop.clone(),
        );
        (tokio::spawn(running), stop)
    };
    let has = |key: &str| got.lock().unwrap().iter().any(|(_, got)| got == key);
    let holder = async || leases::holder(test.db.read(), Lease::Named("event-forwarder")).await.unwrap();

    let (first, stop_first) = start(&one, "one");
    until("the first has the lease", async || holder().await == Some(one.owner)).await;
    let (second, stop_second) = start(&two, "two");
    // Its place is stored when it begins, so that nothing from here on is lost.
    until("the place is stored", async || {
        let sql = "SELECT 1 AS one FROM object_state WHERE name = 'place'";
        buildguild_db::fetch_one(test.db.read(), sql, vec![]).await.unwrap().is_some()
    })
    .await;
    for _ in 0..5 {
        two.request().await;
    }
    until("all is forwarded", async || has("buildsets/5/new")).await;
    assert!(got.lock().unwrap().iter().all(|(name, _)| *name == "one"), "only one forwards: {:?}", got.lock().unwrap());
    assert_eq!(holder().await, Some(one.owner));

    stop_first.cancel();
    first.await.unwrap();
    // What happens while nobody forwards is found in the log.
    for _ in 0..5 {
        one.request().await;
    }
    until("the second goes on", async || has("buildsets/10/new")).await;
    for set in 1..=10 {
        assert!(has(&format!("buildsets/{set}/new")), "{set}: {:?}", got.lock().unwrap());
    }
    assert_eq!(holder().await, Some(two.owner));
    assert!(figures.messages() >= 10 && figures.refused() > 0);
    stop_second.cancel();
    second.await.unwrap();
    assert_eq!(holder().await, None, "the lease is given back");
}

buildguild_db::on_both_databases!(one_master_forwards_and_the_next_goes_on_where_it_was);
