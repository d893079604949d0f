//! Logs of steps: what the worker and the steps write, on its way into the database.
//!
//! [`buffer`] turns pieces of text into encoded lines and bounded chunks, [`limits`] enforces `logMaxSize`. The store
//! and its event notices belong to the data crate.

pub mod buffer;
pub mod limits;
mod step_logs;

pub use buffer::{Chunk, LogBuffer, Stream};
pub use limits::LogLimits;
pub(crate) use step_logs::{Append, LogRef, StepLogs};
