//! Change sources, schedulers, distribution, builds, steps and worker sessions.

mod apply;
mod change_sources;
pub mod control;
pub mod distribution;
mod functions;
pub mod logs;
mod parts;
pub mod render;
mod schedulers;
mod singletons;
mod store;
mod wake;
pub mod workers;
