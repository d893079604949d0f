//! Result specs in SQL: the same answers as a model in memory, on both databases.

#[path = "query/fixtures.rs"]
mod fixtures;

#[path = "query/against_model.rs"]
mod against_model;
#[path = "query/cases.rs"]
mod cases;
#[path = "query/plans.rs"]
mod plans;
