//! Worker sessions: who is connected, and what runs there.
//!
//! A connection may come in on the worker port, on the web port or from within the process; from
//! [`WorkerAcceptor::serve`](worker_protocol::WorkerAcceptor::serve) on they are all alike.

mod command;
mod handle;
mod link;
mod paths;
mod registry;

pub use command::{CommandEnd, Progress, RunningCommand, Transfer, Updates};
pub use handle::{BuildSlot, WorkerHandle, WorkerLost};
pub use paths::PathFlavour;
pub use registry::Workers;
