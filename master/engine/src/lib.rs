//! Change sources, schedulers, distribution, builds, steps and worker sessions.

mod change_sources;
pub mod distribution;
pub mod logs;
pub mod render;
pub mod workers;
