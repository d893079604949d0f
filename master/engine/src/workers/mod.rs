//! Worker sessions: who is connected, and what runs there.
//!
//! A connection may come in on the worker port, on the web port or from within the process; from
//! [`WorkerAcceptor::serve`](worker_protocol::WorkerAcceptor::serve) on they are all alike.

mod acceptor;
mod command;
mod handle;
mod leftovers;
mod link;
mod listener;
mod local;
mod missing;
mod paths;
mod pool;
mod registry;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use acceptor::Acceptor;
pub use command::{CommandEnd, Progress, RunningCommand, Transfer, Updates};
pub use handle::{BuildSlot, WorkerHandle, WorkerLost};
pub(crate) use leftovers::of_step;
pub(crate) use listener::listen;
pub(crate) use local::run as run_local_workers;
pub(crate) use missing::Missing;
pub use paths::PathFlavour;
pub(crate) use pool::Pool;
pub use registry::Workers;
