//! What the engine's services share.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use broker_adapters::EventHub;
use buildguild_config::{Evaluators, LoadedFarm};
use buildguild_types::{farm::BuilderConfig, ids::BuilderId, time::Clock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{figures::Figures, functions::Functions, store::Store};

/// A configuration version whose builders and workers are known to the database.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The version.
    pub(crate) farm: Arc<LoadedFarm>,
    /// The ids of its builders, by name.
    pub(crate) builders: Arc<BTreeMap<String, BuilderId>>,
    /// Its builders, by id.
    pub(crate) configs: BTreeMap<BuilderId, Arc<BuilderConfig>>,
}

/// What the engine's services share.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The database and the events of what is written there.
    pub(crate) store: Store,
    /// Events.
    pub(crate) hub: EventHub,
    /// Who calls functions of the configuration.
    pub(crate) evaluators: Evaluators,
    /// The configuration in force.
    pub(crate) applied: watch::Receiver<Arc<Applied>>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// How often the database is searched for what a lost event would have told.
    pub(crate) rescan_interval: Duration,
    /// The directory of this master.
    pub(crate) basedir: PathBuf,
    /// Cancelled when this master begins to end.
    pub(crate) leaving: CancellationToken,
    /// The figures of scheduling and distribution.
    pub(crate) figures: Figures,
}

impl Parts {
    /// The configuration in force, with what the database says of it.
    pub(crate) fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied.borrow())
    }

    /// The configuration version in force.
    pub(crate) fn farm(&self) -> Arc<LoadedFarm> {
        Arc::clone(&self.applied.borrow().farm)
    }

    /// The ids of the builders in force, by name.
    pub(crate) fn builders(&self) -> Arc<BTreeMap<String, BuilderId>> {
        Arc::clone(&self.applied.borrow().builders)
    }

    /// The functions of the version in force.
    pub(crate) fn functions(&self) -> Functions {
        Functions::new(self.evaluators.clone(), self.applied.borrow().farm.hash.clone())
    }

    /// Changes when another version comes into force.
    pub(crate) fn farm_changes(&self) -> watch::Receiver<Arc<Applied>> {
        self.applied.clone()
    }
}
