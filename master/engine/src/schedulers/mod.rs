//! Schedulers: what turns changes and wishes into buildsets.
//!
//! A scheduler is a singleton: it runs on the replica that holds its lease. What it has read and classified is in the
//! database, so a successor goes on where it stopped.

mod buildset;
mod cursor;
mod lines;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use buildguild_config::CallError;
use buildguild_db::DbError;
use buildguild_types::farm::filter::FilterError;

use crate::render::RenderError;

/// Why a scheduler stopped. It is started again after a while.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchedulerError {
    /// The database refused; above all, the lease may be lost.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The change filter cannot be understood.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A function of the configuration could not be called.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A property, the reason or the builder names could not be rendered.
    #[error("render {what}")]
    Render {
        /// Which argument of the scheduler.
        what: String,
        /// What went wrong.
        #[source]
        source: RenderError,
    },
    /// An argument has a value that it cannot have.
    #[error("{what} is {value}, not {expected}")]
    WrongValue {
        /// Which argument of the scheduler.
        what: &'static str,
        /// What is expected.
        expected: &'static str,
        /// What it is.
        value: String,
    },
}
