//! The typed farm model: what `master.cfg` says, as plain data.
//!
//! The evaluator emits it as JSON; everything behind the evaluator works with these types only. Names follow
//! `master.cfg` in snake case, defaults are Buildbot's.

mod builders;
mod changes;
pub mod filter;
pub mod force;
mod global;
mod locks;
mod schedulers;
mod steps;
mod workers;

pub use builders::{BuilderConfig, CollapsePolicy, FactoryConfig, ProjectConfig};
pub use changes::{BranchSelection, ChangeFilter, ChangeSourceConfig, ChangeSourceKind, GitPollerConfig, StringMatch};
pub use global::{ConfigHash, FarmConfig, LogSettings, Validation, WwwConfig};
pub use locks::{LockAccess, LockScope};
pub use schedulers::{
    CodebaseParameter, CodebaseSpec, ForceConfig, ForceParameter, ForceParameterKind, SchedulerConfig, SchedulerKind,
    TreeSchedulerConfig,
};
pub use steps::{
    Condition, GitConfig, GitMode, SetPropertyFromCommandConfig, ShellConfig, StepConfig, StepFlags, StepKind,
    SummaryPolicy,
};
pub use workers::{WorkerConfig, WorkerKind};

/// A value that is either plain or a callable of the configuration.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrCallable<T> {
    /// A plain value.
    Value(T),
    /// A function that gives it.
    Callable(crate::render::CallableRef),
}
