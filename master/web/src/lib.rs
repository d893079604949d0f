#![doc = include_str!("../README.md")]

mod api;
mod auth;
mod backend;
mod glob;
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
    server::{StartError, WebOptions, WebParts, WebServer},
};
