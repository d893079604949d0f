//! Which of a builder's waiting requests starts on which of its free workers.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use buildguild_config::{CallError, LoadedFarm};
use buildguild_db::DbError;
use buildguild_types::{
    farm::BuilderConfig,
    ids::{BuildRequestId, BuilderId},
    properties::Properties,
    resources::BuildRequest,
};
use serde_json::Value;

use super::{
    handover::{FreeWorker, WorkerPool, WorkerSlot},
    views,
};
use crate::{functions::Functions, parts::Parts};

/// How much of a queue `nextBuild` and `canStartBuild` see.
pub(crate) const HEAD: i64 = 100;

/// Why nothing could be chosen for a builder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChooseError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("asking its functions panicked")]
    Panicked,
}

/// What a builder would start now. The place is taken; the request is not claimed yet.
pub(crate) struct Choice {
    pub(crate) request: BuildRequest,
    pub(crate) slot: WorkerSlot,
}

/// The choices of one builder.
pub(crate) struct Chooser<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) pool: &'a dyn WorkerPool,
    pub(crate) farm: &'a Arc<LoadedFarm>,
    pub(crate) functions: &'a Functions,
    pub(crate) builder_id: BuilderId,
    pub(crate) builder: &'a BuilderConfig,
}

impl Chooser<'_> {
    /// How many builds could start now for this builder, as far as its workers go.
    pub(crate) fn free_places(&self) -> usize {
        self.pool.free(&self.builder.worker_names).iter().map(|w| w.places).fold(0, usize::saturating_add)
    }

    /// How much of the queue has to be read to start as much as is possible.
    pub(crate) fn head_needed(&self) -> i64 {
        if self.asks_functions() {
            return HEAD;
        }
        i64::try_from(self.free_places()).unwrap_or(HEAD).min(HEAD)
    }

    fn asks_functions(&self) -> bool {
        self.builder.next_build.is_some() || self.builder.can_start_build.is_some()
    }

    /// The workers that have a place, the least busy ones first.
    fn free_workers(&self) -> Vec<FreeWorker> {
        let mut workers = self.pool.free(&self.builder.worker_names);
        // Buildbot chooses at random; among equally busy workers so do we, by a number that differs each time.
        let salt = uuid::Uuid::new_v4().as_u64_pair().1;
        workers.sort_by_cached_key(|w| {
            (w.running_builds, w.worker_id.get().unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt)
        });
        workers
    }

    /// Chooses among `head`, the first requests of the queue, as many as can start.
    ///
    /// # Errors
    /// If the database or a function fails. Places that were taken are given back then.
    pub(crate) async fn choose(&self, mut head: Vec<BuildRequest>) -> Result<Vec<Choice>, ChooseError> {
        let mut choices = Vec::new();
        let mut properties: HashMap<BuildRequestId, Properties> = HashMap::new();
        while !head.is_empty() {
            let workers = self.free_workers();
            if workers.is_empty() {
                break;
            }
            let Some(index) = self.next_build(&head, &mut properties).await? else { break };
            let request = head.remove(index);
            if let Some(slot) = self.place(&request, workers, &mut properties).await? {
                choices.push(Choice { request, slot });
            }
        }
        Ok(choices)
    }

    async fn next_build(
        &self,
        head: &[BuildRequest],
        properties: &mut HashMap<BuildRequestId, Properties>,
    ) -> Result<Option<usize>, ChooseError> {
        let Some(function) = &self.builder.next_build else { return Ok(Some(0)) };
        let mut requests = Vec::with_capacity(head.len());
        for request in head {
            requests.push(self.view(request, properties).await?);
        }
        let builder = views::builder(self.builder_id, self.builder);
        let returned = self.functions.call(function, vec![builder, Value::Array(requests.clone())]).await?;
        Ok(views::chosen(&requests, "buildrequestid", &returned))
    }

    /// A place for a request on one of these workers, as `nextWorker` and `canStartBuild` say.
    async fn place(
        &self,
        request: &BuildRequest,
        mut workers: Vec<FreeWorker>,
        properties: &mut HashMap<BuildRequestId, Properties>,
    ) -> Result<Option<WorkerSlot>, ChooseError> {
        let next_worker = self.builder.next_worker.as_ref().or(self.farm.farm.select_next_worker.as_ref());
        while !workers.is_empty() {
            let index = match next_worker {
                None => 0,
                Some(function) => {
                    let offered: Vec<Value> = workers.iter().map(views::worker).collect();
                    let builder = views::builder(self.builder_id, self.builder);
                    let request = self.view(request, properties).await?;
                    let args = vec![builder, Value::Array(offered.clone()), request];
                    let returned = self.functions.call(function, args).await?;
                    match views::chosen(&offered, "name", &returned) {
                        Some(index) => index,
                        None => return Ok(None),
                    }
                }
            };
            let worker = workers.remove(index);
            if let Some(function) = &self.builder.can_start_build {
                let builder = views::builder(self.builder_id, self.builder);
                let request = self.view(request, properties).await?;
                if !self.functions.is_true(function, vec![builder, views::worker(&worker), request]).await? {
                    continue;
                }
            }
            if let Some(slot) = self.pool.reserve(&worker.name) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    async fn view(
        &self,
        request: &BuildRequest,
        properties: &mut HashMap<BuildRequestId, Properties>,
    ) -> Result<Value, ChooseError> {
        let id = request.buildrequestid;
        if let Entry::Vacant(unknown) = properties.entry(id) {
            unknown.insert(self.parts.store.buildset_properties(request.buildsetid).await?);
        }
        Ok(views::request(request, properties.get(&id)))
    }
}
