#![doc = include_str!("../README.md")]

mod error;
mod reply;

pub use error::{DataError, ErrorKind};
pub use reply::{Items, Raw, Reply};
