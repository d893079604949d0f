//! One newtype for each kind of id, so that a build id can never be passed where a step id belongs.
//!
//! Ids of API resources are `i64` (the database's bigint); they are assigned by the database and never reused.

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// The bare number, as the database and the API write it.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i64> for $name {
            fn from(id: i64) -> Self {
                Self(id)
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

ids! {
    /// A master, by its name; several processes may have run under it, one at a time.
    MasterId,
    /// A builder.
    BuilderId,
    /// A worker.
    WorkerId,
    /// A project.
    ProjectId,
    /// A code base of a project.
    CodebaseId,
    /// A commit of a code base.
    CommitId,
    /// A branch of a code base.
    BranchId,
    /// A change: one commit that a change source announced.
    ChangeId,
    /// A change source.
    ChangeSourceId,
    /// A scheduler.
    SchedulerId,
    /// A source stamp (`ssid`).
    SourceStampId,
    /// A patch of a source stamp.
    PatchId,
    /// A buildset (`bsid`).
    BuildsetId,
    /// A build request (`brid`).
    BuildRequestId,
    /// A build.
    BuildId,
    /// A step of a build.
    StepId,
    /// A log of a step.
    LogId,
    /// A test result set.
    TestResultSetId,
    /// One test result.
    TestResultId,
    /// A user (`uid`).
    UserId,
    /// A tag of builders.
    TagId,
    /// An object whose state is kept in the database.
    ObjectId,
}
