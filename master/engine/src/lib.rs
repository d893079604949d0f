//! Change sources, schedulers, distribution, builds, steps and worker sessions.

mod build;
mod change_sources;
pub mod distribution;
pub mod execution;
pub mod hooks;
pub mod logs;
pub mod render;
mod steps;
pub mod workers;
