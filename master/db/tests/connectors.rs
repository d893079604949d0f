//! The connectors beside the build path, every method, on both databases.

#[path = "connectors/fixtures.rs"]
mod fixtures;

#[path = "connectors/build_data.rs"]
mod build_data;
#[path = "connectors/codebases.rs"]
mod codebases;
#[path = "connectors/schedulers.rs"]
mod schedulers;
#[path = "connectors/state.rs"]
mod state;
#[path = "connectors/test_results.rs"]
mod test_results;
#[path = "connectors/users.rs"]
mod users;
