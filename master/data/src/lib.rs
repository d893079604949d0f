#![doc = include_str!("../README.md")]

mod data;
mod endpoints;
mod error;
pub mod event_streams;
pub mod events;
pub mod forwarder;
mod generations;
pub mod housekeeping;
pub mod membership;
pub mod relay;
mod reply;
mod updates;

pub use data::{Data, DataParts, Update};
pub use endpoints::Reader;
pub use error::{DataError, ErrorKind};
pub use generations::DbGenerations;
pub use reply::{Items, Raw, Reply, TextItems};
pub use updates::{SchedulerBatch, StartBuild, StateKey, StepBegin, StepEnd, TestResultSetInfo, lock_waiter};
