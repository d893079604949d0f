#![doc = include_str!("../README.md")]

mod balancer;
mod broker;
pub mod chaos;
mod cluster;
mod database;
mod farm;
mod gate;
mod hook_points;
mod link;
mod master;
mod native_worker;
mod program;
mod repository;
mod rest;
mod stock_master;
mod stock_page;
mod stock_worker;
mod subscriber;
mod waiting;

pub use balancer::Balancer;
pub use broker::{Broker, TestBroker};
pub use cluster::{TestCluster, TestClusterBuilder};
pub use database::{Database, TestDatabase};
pub use farm::Farm;
pub use gate::Gate;
pub use hook_points::{HookPoints, Strike};
pub use link::Link;
pub use master::{MasterProcess, buildguild, programs};
pub use native_worker::NativeWorker;
pub use repository::Repository;
pub use rest::Rest;
pub use stock_master::StockMaster;
pub use stock_page::stock_page;
pub use stock_worker::{StockWorker, buildbot_environment, python_environment};
pub use subscriber::Subscriber;
pub use waiting::{DEADLINE, wait_for};
