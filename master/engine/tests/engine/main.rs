//! The execution of builds, from worker sessions to the last log line, on real databases.

mod builds;
mod events;
mod git;
mod support;
mod workers;
