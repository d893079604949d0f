//! The resource types of the API, one file per family.

mod builders;
mod builds;
mod changes;
mod cluster;
mod codebases;
mod memory;
mod requests;
pub(super) mod sourcestamps;
mod steps;
mod test_results;

pub use builders::{BUILDERS, PROJECTS, WORKERS};
pub use builds::{BUILD_DATA, BUILD_PROPERTIES, BUILDS, BUILDSET_PROPERTIES, CHANGE_PROPERTIES};
pub use changes::CHANGES;
pub use cluster::{CHANGE_SOURCES, MASTERS, SCHEDULERS};
pub use codebases::{BRANCHES, CODEBASES, COMMITS};
pub use memory::{COMMIT_GRAPHS, FORCE_SCHEDULERS, LOG_CHUNKS, PROPERTIES, ROOT_LINKS, SPECS};
pub use requests::{BUILDREQUESTS, BUILDSETS};
pub use sourcestamps::SOURCESTAMPS;
pub use steps::{LOGS, STEPS};
pub use test_results::{TEST_RESULT_SETS, TEST_RESULTS};
