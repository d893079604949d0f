//! The scene of a take-over.

use std::path::Path;

use anyhow::{Context, Result};

use crate::balancer::Balancer;
use crate::cluster::TestCluster;
use crate::farm::Farm;
use crate::gate::Gate;
use crate::rest::Rest;

/// Two masters that soon notice each other's death, and a stock worker behind a balancer. The worker is connected to the
/// first master, so that this one runs the builds until something happens to it; the second one is asked all questions.
#[derive(Debug)]
pub struct Takeover {
    /// The masters, `m0` and `m1`, and the worker.
    pub cluster: TestCluster,
    /// Before both masters; prefers the first one as long as that takes connections.
    pub balancer: Balancer,
    /// A client of the second master.
    pub survivor: Rest,
}

impl Takeover {
    /// With the `master.cfg` that `farm` gives for the cluster's directory, whose only remote worker is `worker` with the
    /// password `secret`.
    ///
    /// # Errors
    /// If anything of it cannot be made or started.
    pub async fn start(worker: &str, farm: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let mut cluster = TestCluster::builder().quick_to_notice().start(farm).await?;
        let ports: Vec<u16> = cluster.masters.iter().map(|master| master.worker_port()).collect();
        let balancer = Balancer::start(&ports).await?;
        cluster.add_stock_worker(balancer.port(), worker, "secret")?;
        let survivor = cluster.masters[1].rest()?;
        cluster.worker_connected(&survivor, worker).await?;
        Ok(Self { cluster, balancer, survivor })
    }

    /// With a builder `b` whose builds stand at a gate, on a worker `w`.
    ///
    /// # Errors
    /// As [`Takeover::start`].
    pub async fn at_a_gate() -> Result<(Self, Gate)> {
        let mut gate = None;
        let farm = |directory: &Path| {
            let made = gate.insert(Gate::new(directory));
            Ok(Farm::new().worker("w").builder("b", "w", &[&made.step()]).text())
        };
        let scene = Self::start("w", farm).await?;
        Ok((scene, gate.context("made above")?))
    }

    /// From now on the balancer leads to the second master alone; connections stay.
    pub fn lead_to_survivor(&self) {
        self.balancer.set_backends(&[self.cluster.masters[1].worker_port()]);
    }
}
