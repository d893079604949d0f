#![doc = include_str!("../README.md")]

mod endpoints;
mod error;
pub mod membership;
pub mod relay;
mod reply;

pub use endpoints::Reader;
pub use error::{DataError, ErrorKind};
pub use reply::{Items, Raw, Reply};
