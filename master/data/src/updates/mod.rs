//! The verbs of an update, by what they change.
//!
//! Each locks the claim under which it writes (if what it writes is claimed), writes, and announces what changed, all in
//! the update's transaction. Several verbs in one update share one commit.

mod builders;
mod buildrequests;
mod builds;
mod buildsets;
mod changes;
mod control;
mod locks;
mod logs;
mod scheduling;
mod steps;
mod test_results;
mod workers;

pub use builds::StartBuild;
pub use locks::waiter as lock_waiter;
pub use scheduling::{SchedulerBatch, StateKey};
pub use steps::{StepBegin, StepEnd};
pub use test_results::TestResultSetInfo;
