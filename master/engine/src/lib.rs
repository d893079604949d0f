#![doc = include_str!("../README.md")]

mod apply;
mod build;
mod change_sources;
pub mod control;
pub mod distribution;
pub mod execution;
mod figures;
mod functions;
pub mod logs;
mod metrics;
mod parts;
pub mod render;
mod schedulers;
mod service;
mod singletons;
mod steps;
mod store;
#[cfg(test)]
mod testing;
mod wake;
pub mod workers;

pub use buildguild_db::hooks;
pub use service::{Engine, EngineParts};
