//! The connectors beside the build path, every method, on both databases.

#[path = "connectors/fixtures.rs"]
mod fixtures;

#[path = "connectors/build_data.rs"]
mod build_data;
#[path = "connectors/changes.rs"]
mod changes;
#[path = "connectors/codebases.rs"]
mod codebases;
#[path = "connectors/event_streams.rs"]
mod event_streams;
#[path = "connectors/links.rs"]
mod links;
#[path = "connectors/logs.rs"]
mod logs;
#[path = "connectors/plans.rs"]
mod plans;
#[path = "connectors/schedulers.rs"]
mod schedulers;
#[path = "connectors/state.rs"]
mod state;
#[path = "connectors/test_results.rs"]
mod test_results;
#[path = "connectors/users.rs"]
mod users;
