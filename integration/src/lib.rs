#![doc = include_str!("../README.md")]

mod balancer;
mod cluster;
mod database;
mod master;
mod repository;
mod rest;
mod stock_worker;
mod waiting;

pub use balancer::Balancer;
pub use cluster::{TestCluster, TestClusterBuilder};
pub use database::{Database, TestDatabase};
pub use master::{MasterProcess, buildguild, programs};
pub use repository::Repository;
pub use rest::Rest;
pub use stock_worker::{StockWorker, buildbot_environment};
pub use waiting::{DEADLINE, wait_for};
