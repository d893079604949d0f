//! Why a step did not come to a result of its own.

use buildguild_db::DbError;

use crate::render::RenderError;
use crate::workers::WorkerLost;

/// Why a step did not come to a result of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The worker was lost: the build is tried again.
    #[error("lost connection to the worker")]
    WorkerLost,
    /// The build was stopped; the reason is in the log `cancelled`.
    #[error("the build was stopped")]
    Stopped,
    /// A value of the configuration could not be rendered, or one of its functions failed.
    #[error("{0}")]
    Render(#[from] RenderError),
    /// An argument rendered to something that the step cannot use.
    #[error("argument {argument}: {problem}")]
    Argument {
        /// The argument, as `master.cfg` names it.
        argument: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Something else that is no fault of the code that is built.
    #[error("{0}")]
    Failed(String),
    /// What the step has to say could not be written: the claim is lost, or the database refuses.
    #[error("write the build's state")]
    Data(#[from] DbError),
}

impl From<WorkerLost> for StepError {
    fn from(_: WorkerLost) -> Self {
        Self::WorkerLost
    }
}
