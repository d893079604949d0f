//! A short storm over a cluster: faults at random, then nothing differs from a calm run. The long one is
//! `cargo xtask chaos`.

use std::time::Duration;

use anyhow::Result;
use integration::Broker;
use integration::chaos::{Outcome, Run, Size, calm, chaos};
use tokio::sync::Mutex;

/// So that a failure can be repeated.
const SEED: u64 = 20_261_122;

/// What a calm run came to, for all tests of this process; the lock also keeps the storms apart, which measure time.
static CALM: Mutex<Option<Outcome>> = Mutex::const_new(None);

async fn short(broker: Broker) -> Result<()> {
    let mut shared = CALM.lock().await;
    let size = Size { masters: 3, workers: 8, changes: 40, broker, expire: Duration::from_secs(4) };
    let outcome = match shared.take() {
        Some(outcome) => outcome,
        None => calm(size).await?,
    };
    chaos(Run { seed: SEED, duration: Duration::from_secs(50), size }, shared.insert(outcome)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_over_masters_that_hear_only_themselves_leaves_no_trace() -> Result<()> {
    short(Broker::Memory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_over_masters_and_redis_leaves_no_trace() -> Result<()> {
    short(Broker::Redis).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_over_masters_and_rabbitmq_leaves_no_trace() -> Result<()> {
    short(Broker::RabbitMq).await
}
