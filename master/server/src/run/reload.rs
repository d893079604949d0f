//! Reconfiguration: load, check, and only then hand over.

use std::sync::Arc;

use anyhow::Result;
use buildguild_config::{Evaluators, FarmDiff, FarmSource, LoadedFarm};
use buildguild_engine::Engine;
use buildguild_types::farm::{ConfigHash, FarmConfig};
use tokio::sync::watch;

use super::load_farm;
use super::versions::Versions;

/// Loads new configurations.
pub(super) struct Reloader {
    evaluators: Evaluators,
    source: FarmSource,
    versions: Arc<Versions>,
    farm: watch::Sender<Arc<LoadedFarm>>,
    web: watch::Sender<Arc<FarmConfig>>,
}

impl Reloader {
    pub(super) fn new(
        evaluators: Evaluators,
        source: FarmSource,
        versions: Arc<Versions>,
        farm: watch::Sender<Arc<LoadedFarm>>,
        web: watch::Sender<Arc<FarmConfig>>,
    ) -> Self {
        Self { evaluators, source, versions, farm, web }
    }

    /// The configuration that was loaded last.
    pub(super) fn current(&self) -> ConfigHash {
        self.farm.borrow().hash.clone()
    }

    /// Loads the configuration and waits until it is in force.
    ///
    /// # Errors
    /// All that is wrong with it; the configuration before stays in force.
    pub(super) async fn reload(&self, engine: &Engine) -> Result<()> {
        let loaded = Arc::new(load_farm(&self.evaluators, &self.source).await?);
        if loaded.hash == self.farm.borrow().hash {
            tracing::info!("the configuration has not changed");
            return Ok(());
        }
        if loaded.farm.protocols != self.farm.borrow().farm.protocols
            || loaded.farm.www.port != self.farm.borrow().farm.www.port
        {
            tracing::warn!("ports are read at start only; restart the master to change them");
        }
        let hash = loaded.hash.clone();
        tracing::info!(config = %hash, "reconfiguring: {}", FarmDiff::between(&self.farm.borrow(), &loaded).summary());
        self.versions.keep(&loaded).await;
        self.web.send_replace(Arc::new(loaded.farm.clone()));
        self.farm.send_replace(loaded);
        engine.in_force(&hash).await;
        Ok(())
    }
}
