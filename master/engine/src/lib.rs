//! Change sources, schedulers, distribution, builds, steps and worker sessions.

pub mod logs;
