//! The Redis adapter against the contract of the event log, and what is Redis's own.

#![cfg(feature = "redis")]

mod contract;

use std::sync::{Arc, OnceLock};

use broker_adapters::{BrokerOptions, EventLog, MemoryGenerations, open};
use test_servers::Redis;

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
}

contract::contract_tests!(RedisHarness);
