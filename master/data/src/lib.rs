#![doc = include_str!("../README.md")]

mod endpoints;
mod error;
mod reply;

pub use endpoints::Reader;
pub use error::{DataError, ErrorKind};
pub use reply::{Items, Raw, Reply};
