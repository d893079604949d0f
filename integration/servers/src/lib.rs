#![doc = include_str!("../README.md")]

mod owned;
mod postgres;

pub use owned::free_port;
pub use postgres::{Durability, Postgres};
