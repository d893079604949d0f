//! The worker against a scripted master, a real Buildbot master, and its own command line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod buildbot;
mod cli;
mod connect;
mod files;
mod large;
mod limits;
mod loss;
mod shell;
mod support;
mod transfer;
