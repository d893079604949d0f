//! The memory adapter against the contract of the event log.

mod contract;

use std::sync::Arc;

use broker_adapters::{EventLog, memory::MemoryLog};

struct Memory;

impl contract::Harness for Memory {
    async fn log(&self, retained: usize) -> Arc<dyn EventLog> {
        Arc::new(MemoryLog::new(retained))
    }
}

contract::contract_tests!(Memory);
