#![doc = include_str!("../README.md")]

pub mod claims;
mod connect;
mod error;
mod kept;
pub mod outbox;
mod reading;
mod sql;
mod tx;
mod writer;

pub mod build_data;
pub mod builders;
pub mod buildrequests;
pub mod builds;
pub mod buildsets;
pub mod changes;
pub mod changesources;
pub mod codebase_branches;
pub mod codebase_commits;
pub mod codebases;
pub mod config_versions;
pub mod event_log;
pub mod event_streams;
pub mod hooks;
pub mod leases;
pub mod locks;
pub mod logs;
pub mod masters;
pub mod origins;
pub mod plans;
pub mod projects;
pub mod properties;
pub mod query;
pub mod schedulers;
pub mod scheduling;
pub mod sourcestamps;
pub mod state;
pub mod steps;
pub mod tags;
pub mod test_result_sets;
pub mod test_results;
pub mod users;
pub mod wishes;
pub mod workers;

#[cfg(feature = "test-support")]
pub mod test_support;

pub use claims::Owner;
pub use connect::{Db, DbOptions};
pub use error::DbError;
pub use migrations::SchemaState;
pub use reading::ReadConnection;
pub use sea_orm::{ConnectionTrait, DbBackend};
pub use sql::{Param, database_now, execute, fetch_all, fetch_one, name_hash};
pub use tx::Tx;
