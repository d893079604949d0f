//! Workers that should be there and are not: `notify_on_missing` and `missing_timeout`.
//!
//! One master of the cluster looks, the one that holds a lease. Since when a worker is missing, and whether that was
//! told, is in the database, so that a takeover neither forgets it nor tells it twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use buildguild_data::StateKey;
use buildguild_db::{DbError, leases::Lease};
use buildguild_types::{farm::WorkerConfig, ids::WorkerId, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    parts::Parts,
    wake::{Wakeups, Woken},
};

const LEASE: Lease<'static> = Lease::Named("missing workers");

/// A worker that is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Absence {
    /// Microseconds.
    since: i64,
    told: bool,
}

/// What is to be told: the worker, since when it is missing, and whom.
type Told = (WorkerId, Timestamp, Vec<String>);

/// Looks for workers that are missing.
pub(crate) struct Missing {
    parts: Arc<Parts>,
}

impl Missing {
    pub(crate) const fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Runs until it is cancelled.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let filters = ["workers/*/connected", "workers/*/disconnected"];
        let mut wakeups = Wakeups::new(&self.parts.hub, &filters, self.parts.rescan_interval);
        loop {
            if let Err(error) = self.pass().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "looking for missing workers failed: {error}");
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                woken = wakeups.next(None) => match woken {
                    Woken::Events(_) | Woken::Rescan | Woken::Due => {}
                },
            }
        }
    }

    async fn pass(&self) -> Result<(), DbError> {
        let farm = self.parts.farm();
        let watched: BTreeMap<&str, &WorkerConfig> = farm
            .farm
            .workers
            .iter()
            .filter(|worker| !worker.notify_on_missing.is_empty())
            .map(|worker| (worker.name.as_str(), worker))
            .collect();
        let store = &self.parts.store;
        if watched.is_empty() || !store.may_hold(LEASE).await? {
            return Ok(());
        }
        let key =
            StateKey { object: "workers".to_owned(), class_name: "Missing".to_owned(), name: "absent".to_owned() };
        let stored = store.state(&key).await?;
        let before: BTreeMap<String, Absence> =
            stored.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
        let now = self.parts.clock.now();
        let mut after = BTreeMap::new();
        let mut told: Vec<Told> = Vec::new();
        for worker in store.workers().await? {
            let Some(config) = watched.get(worker.name.as_str()) else { continue };
            if !worker.connected_to.is_empty() {
                continue;
            }
            let mut absence = before.get(&worker.name).cloned().unwrap_or(Absence { since: now.micros(), told: false });
            let since = Timestamp::from_micros(absence.since);
            if !absence.told && now.since(since) >= Duration::from_secs(config.missing_timeout_secs) {
                absence.told = true;
                told.push((worker.workerid, since, config.notify_on_missing.clone()));
            }
            after.insert(worker.name, absence);
        }
        if after == before {
            return Ok(());
        }
        let (key, value, news) = (&key, &json!(after), &told);
        let stored = store.update(|u| async move {
            if !u.acquire_lease(LEASE).await? {
                return Ok(false);
            }
            u.set_state(key, value).await?;
            for (worker, since, notify) in news {
                u.worker_missing(*worker, *since, notify).await?;
            }
            Ok(true)
        });
        if stored.await? {
            for (worker, ..) in told {
                tracing::warn!(worker.id = worker.get(), "worker {worker} has been missing for too long");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use broker_adapters::TopicFilter;
    use buildguild_db::test_support::TestDb;

    use super::*;
    use crate::testing::{TestMaster, farm};

    async fn a_missing_worker_is_told_of_once(test: &TestDb) {
        let mut config = farm(&["b"], &[("w", None), ("quiet", None)]);
        config.workers[0].notify_on_missing = vec!["admin@example.org".to_owned()];
        config.workers[0].missing_timeout_secs = 0;
        let a = TestMaster::start(test, "a", config.clone()).await;
        let filter: TopicFilter = "workers/*/missing".parse().expect("a filter");
        let mut heard = a.parts.hub.listen(vec![filter]).expect("the hub runs");
        let missing = Missing::new(Arc::clone(&a.parts));
        missing.pass().await.expect("the database answers");
        let event = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await.expect("it is told").expect("it");
        let body: serde_json::Value = serde_json::from_str(event.event().body.get()).expect("JSON");
        assert_eq!((&body["name"], &body["notify"]), (&json!("w"), &json!(["admin@example.org"])));
        // Neither this master nor its successor says it again.
        missing.pass().await.expect("the database answers");
        a.die(test).await;
        let b = TestMaster::start(test, "b", config).await;
        let mut heard = b.parts.hub.listen(vec!["workers/*/*".parse().expect("a filter")]).expect("the hub runs");
        Missing::new(Arc::clone(&b.parts)).pass().await.expect("the database answers");
        let id = b.store.worker_id("w").await.expect("reads").expect("it exists");
        b.store.update(|u| async move { u.set_worker_paused(id, true, None).await }).await.expect("it is paused");
        let next = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await.expect("it is told").expect("it");
        assert_eq!(next.key().parts().last(), Some("state_updated"));
    }

    buildguild_db::on_both_databases!(a_missing_worker_is_told_of_once);
}
