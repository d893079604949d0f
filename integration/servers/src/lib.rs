#![doc = include_str!("../README.md")]

mod owned;
mod postgres;
mod proxies;
mod rabbitmq;
mod redis;
mod sentinel;

pub use owned::free_port;
pub use postgres::{Durability, Postgres};
pub use proxies::{Proxy, ProxyKind};
pub use rabbitmq::{RabbitMq, RabbitMqOptions};
pub use redis::{Redis, RedisOptions};
pub use sentinel::Sentinel;

use std::path::PathBuf;

/// The files of a server that speaks TLS, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, with what leads to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub authority: PathBuf,
}
