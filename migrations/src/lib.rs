#![doc = include_str!("../README.md")]

mod dialect;
mod m0001_initial;
mod m0002_event_log;
mod m0003_event_streams;
mod m0004_locks;
mod m0005_cluster;
mod m0006_statistics;
mod m0007_agreement;
mod state;

pub use sea_orm_migration::sea_orm;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
pub use state::{SchemaState, UpgradeError, schema_state, upgrade};

/// The list of migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_event_log::Migration),
            Box::new(m0003_event_streams::Migration),
            Box::new(m0004_locks::Migration),
            Box::new(m0005_cluster::Migration),
            Box::new(m0006_statistics::Migration),
            Box::new(m0007_agreement::Migration),
        ]
    }
}

/// The names of all migrations: two programs with equal ones make equal schemas.
pub fn fingerprint() -> String {
    let names: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    names.join(",")
}
