#![doc = include_str!("../README.md")]

mod api;
mod auth;
mod backend;
mod conditional;
mod data_backend;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod glob;
mod handover;
mod http;
mod json;
mod limits;
mod live;
mod metrics;
mod pages;
mod query;
mod routes;
mod server;
mod state;
mod worker;

pub use self::{
    backend::{Answer, Backend, ReadError},
    data_backend::{ControlCalls, DataBackend},
    limits::{ProxyRange, ProxyRangeError},
    server::{StartError, WebOptions, WebParts, WebServer},
};
