//! The GET tree, on both databases.

#[path = "endpoints/farm.rs"]
mod farm;

#[path = "endpoints/downloads.rs"]
mod downloads;
#[path = "endpoints/fuzz.rs"]
mod fuzz;
#[path = "endpoints/paths.rs"]
mod paths;
#[path = "endpoints/shapes.rs"]
mod shapes;
