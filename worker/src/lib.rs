#![doc = include_str!("../README.md")]

mod address;
pub mod cli;
mod command;
mod config;
mod connect;
mod info;
mod local;
mod logging;
mod output;
mod process;
mod python;
mod session;
mod stop;

pub use address::{AddressError, MasterAddress};
pub use config::{ConfigError, ShutdownBy, WorkerConfig};
pub use connect::{RunEnd, run};
pub use local::run_local;
pub use stop::Stop;
