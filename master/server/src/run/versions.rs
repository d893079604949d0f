//! Versions of the farm config in the database, sealed.

use anyhow::Result;
use async_trait::async_trait;
use buildguild_config::{FarmBundle, LoadedFarm, Settings, StorageKey, StoredPart, StoredVersions};

use buildguild_db::Db;
use buildguild_db::config_versions::{self, Part, PartKind};
use buildguild_types::farm::ConfigHash;
use buildguild_types::time::{Clock, SystemClock};

/// The versions in the database.
pub(super) struct Versions {
    db: Db,
    key: Option<StorageKey>,
}

impl Versions {
    /// The versions in that database, sealed with the settings' key.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub(super) fn new(db: Db, settings: &Settings) -> Result<Self> {
        let key = settings.farm.storage_key.as_ref().map(StorageKey::new).transpose()?;
        if key.is_none() {
            tracing::info!("versions of the farm config are not kept: farm.storage_key is not set");
        }
        Ok(Self { db, key })
    }

    /// Keeps a version. It may be used before it is kept: what fails here is told, and nothing else.
    pub(super) async fn keep(&self, loaded: &LoadedFarm) {
        let Some(key) = &self.key else {
            return;
        };
        if let Err(error) = self.put(key, loaded).await {
            tracing::warn!(config = %loaded.hash, error = format!("{error:#}"), "the farm config's version is not kept");
        }
    }

    async fn put(&self, key: &StorageKey, loaded: &LoadedFarm) -> Result<()> {
        let parts: Vec<Part> = key
            .seal(&loaded.bundle)?
            .into_iter()
            .map(|part| Part {
                kind: if part.is_file { PartKind::File } else { PartKind::Input },
                name: part.name,
                content: part.content,
            })
            .collect();
        let (hash, now) = (loaded.hash.0.clone(), SystemClock.now());
        self.db
            .write(|tx| {
                let (hash, parts) = (hash.clone(), parts.clone());
                async move { config_versions::put(&tx, &hash, &parts, now).await }
            })
            .await?;
        Ok(())
    }
}

#[async_trait]
impl StoredVersions for Versions {
    async fn find(&self, hash: &ConfigHash) -> Option<FarmBundle> {
        let key = self.key.as_ref()?;
        let parts = match config_versions::get(self.db.read(), &hash.0).await {
            Ok(parts) if parts.is_empty() => return None,
            Ok(parts) => parts,
            Err(error) => {
                tracing::warn!(config = %hash, %error, "a kept version of the farm config cannot be read");
                return None;
            }
        };
        let parts: Vec<StoredPart> = parts
            .into_iter()
            .map(|part| StoredPart { is_file: part.kind == PartKind::File, name: part.name, content: part.content })
            .collect();
        key.open(hash, &parts)
            .inspect_err(|error| {
                tracing::warn!(config = %hash, %error, "a kept version of the farm config cannot be opened");
            })
            .ok()
    }
}
