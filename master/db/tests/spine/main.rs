//! The connectors of the build path, on both databases: what each does, and who wins when several do it at once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod builds;
mod claims;
mod connections;
mod event_log;
mod logs;
mod masters;
mod queue;
mod schema;
mod support;
mod transactions;
mod workers;
