//! Updates and what they announce, on both databases, with the publisher at work.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod build;
mod control;
mod forwarder;
mod housekeeping;
mod membership;
mod relay;
mod support;
