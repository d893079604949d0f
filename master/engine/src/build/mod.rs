//! Builds: their life from a claimed request to the last transaction.
//!
//! [`runner`] starts them, [`execute`] goes through their steps, [`execute_step`] through one step, [`record`] writes
//! everything that happens. [`rules`] and [`summary`] are Buildbot's rules about results and words.

pub(crate) mod context;
mod execute;
mod execute_step;
mod locks;
pub(crate) mod record;
mod record_locks;
pub(crate) mod rules;
mod runner;
mod setup;
pub(crate) mod stop;
pub(crate) mod summary;
#[cfg(test)]
mod tests_locks;

pub(crate) use runner::Runner;
