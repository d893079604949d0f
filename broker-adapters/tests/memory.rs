//! The memory adapter against the contract of the event log.

mod contract;

use std::sync::Arc;

use broker_adapters::{EventLog, memory::MemoryLog};

struct Memory;

impl contract::Harness for Memory {
    async fn log(&self, retained: usize) -> Arc<dyn EventLog> {
        Arc::new(MemoryLog::new(retained))
    }

    async fn log_of_bytes(&self, bytes: usize) -> Arc<dyn EventLog> {
        Arc::new(MemoryLog::bounded(1_000_000, bytes))
    }
}

contract::contract_tests!(Memory);

#[tokio::test]
async fn few_large_events_leave_as_many_small_ones_do() {
    use buildguild_types::event::{Event, EventKey};
    use futures::StreamExt;

    let log = MemoryLog::bounded(1000, 10_000);
    let start = log.publish(vec![Event::new(vec![EventKey::new(["first"])], &"small").unwrap()]).await.unwrap();
    let large = || Event::new(vec![EventKey::new(["large"])], &"x".repeat(4_000)).unwrap();
    let last = log.publish(vec![large(), large(), large()]).await.unwrap().unwrap();
    assert!(log.subscribe(start).await.is_err(), "the first of the large ones is gone");
    let newest = log.publish(vec![large()]).await.unwrap().unwrap();
    let mut after = log.subscribe(Some(last)).await.unwrap();
    assert_eq!(after.events.next().await.unwrap().unwrap()[0].cursor, newest);
}
