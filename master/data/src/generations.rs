//! The generation of the event log, as the cluster's database has it.

use std::sync::Arc;

use async_trait::async_trait;
use broker_adapters::{GenerationError, Generations};
use buildguild_db::{Db, DbError, event_log};

/// Keeps the generation in the database, where conditional updates decide between replicas.
#[derive(Debug, Clone)]
pub struct DbGenerations(Db);

impl DbGenerations {
    /// In this database.
    pub fn new(db: Db) -> Self {
        Self(db)
    }
}

fn failed(error: DbError) -> GenerationError {
    GenerationError(error.into())
}

#[async_trait]
impl Generations for DbGenerations {
    async fn current(&self) -> Result<Option<Arc<str>>, GenerationError> {
        Ok(event_log::generation(self.0.read()).await.map_err(failed)?.map(Arc::from))
    }

    async fn replace(&self, old: Option<&str>, new: &str) -> Result<Arc<str>, GenerationError> {
        let in_force = self
            .0
            .write(|tx| async move { event_log::replace_generation(&tx, old, new).await })
            .await
            .map_err(failed)?;
        Ok(in_force.into())
    }
}
