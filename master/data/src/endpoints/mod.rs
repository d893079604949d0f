//! The GET tree of the API: a path and a result spec in, a [`Reply`] out.
//!
//! `table.rs` lists the endpoints; most of them are nothing but a resource type and what the path limits it to, and the
//! database connector does the rest. What is different has a file here.

mod commits;
mod forceschedulers;
mod logs;
mod path;
mod plan;
mod spec;
mod table;
mod workers;

use std::sync::Arc;

use buildguild_config::LoadedFarm;
use buildguild_db::query::{self, BuildRef, Resource, Scope, resources};
use buildguild_db::{Db, build_data, changes};
use buildguild_types::spec::{FilterOp, ResultSpec};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};

use crate::error::DataError;
use crate::reply::{Items, Raw, Reply, TextItems};
use path::Args;
use plan::Plan;
use table::{ENDPOINTS, Endpoint};

/// Answers reads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    db: Db,
    farm: Option<watch::Receiver<Arc<LoadedFarm>>>,
    /// Lets few large answers be made at once; the others wait.
    large: Arc<Semaphore>,
}

/// Answers with more items than this are large: none of the pages asks for so many.
const LARGE_ITEMS: u64 = 1_000;

/// Large answers that are made at once: at most some tens of mebibytes each.
const LARGE_AT_ONCE: usize = 2;

impl Reader {
    /// Reads from `db`; the force schedulers are those of `farm`, none without it.
    pub fn new(db: Db, farm: Option<watch::Receiver<Arc<LoadedFarm>>>) -> Self {
        Self { db, farm, large: Arc::new(Semaphore::new(LARGE_AT_ONCE)) }
    }

    /// Answers the path below `/api/v2`, given as its decoded parts; no parts are the root.
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    /// [`DataError::InvalidPath`], [`DataError::NotFound`], [`DataError::BadQuery`], or what the database reported.
    pub async fn get(&self, path: &[&str], spec: &ResultSpec) -> Result<Reply, DataError> {
        let Some((endpoint, args)) = find_endpoint(path) else {
            return Err(DataError::InvalidPath(path.join("/")));
        };
        let Some(plan) = (endpoint.plan)(&args) else {
            return Err(DataError::InvalidPath(path.join("/")));
        };
        let not_found = || DataError::NotFound(format!("endpoint for /{}", endpoint.path));
        if plan.is_single() {
            // What is wrong with a question is told whether or not there is something to answer it.
            query::check_single(endpoint.resource, spec)?;
        }
        match plan {
            Plan::List(resource, scopes) => self.list(resource, &scopes, spec).await,
            Plan::One(resource, scopes) => {
                let item = query::find(self.db.read(), resource, &scopes, spec).await?.ok_or_else(not_found)?;
                Ok(one(resource, item))
            }
            Plan::Projects => self.projects(spec).await,
            Plan::Workers { masterid, builderid, worker } => {
                workers::get(&self.db, masterid, builderid, worker, spec).await?.ok_or_else(not_found)
            }
            Plan::ChangesOfBuild(build) => {
                let Some(build) = self.build_id(build).await? else {
                    return self.list(&resources::CHANGES, &[Scope::Ids("changeid", vec![])], spec).await;
                };
                let changes = changes::for_build(self.db.read(), build.into()).await?;
                let ids = changes.into_iter().map(|change| change.changeid.get()).collect();
                self.list(&resources::CHANGES, &[Scope::Ids("changeid", ids)], spec).await
            }
            Plan::BuildProperties(build) => {
                let id = self.build_id(build).await?.ok_or_else(not_found)?;
                self.properties(&resources::BUILD_PROPERTIES, Scope::PropertiesOfBuild(BuildRef::Id(id)), spec).await
            }
            Plan::RequestProperties(request) => {
                let fields = ResultSpec { fields: vec!["buildsetid".to_owned()], ..ResultSpec::default() };
                let scope = Scope::Id("buildrequestid", request);
                let found = query::find(self.db.read(), &resources::BUILDREQUESTS, &[scope], &fields).await?;
                let bsid = found.as_ref().and_then(|found| found.get("buildsetid")?.as_i64()).ok_or_else(not_found)?;
                self.properties(&resources::BUILDSET_PROPERTIES, Scope::PropertiesOfBuildset(bsid), spec).await
            }
            Plan::BuildsetProperties(bsid) => {
                self.properties(&resources::BUILDSET_PROPERTIES, Scope::PropertiesOfBuildset(bsid), spec).await
            }
            Plan::BuildDataValue(build, name) => {
                let id = self.build_id(build).await?.ok_or_else(not_found)?;
                let data = build_data::get(self.db.read(), id.into(), &name).await?.ok_or_else(not_found)?;
                Ok(Reply::Raw(Raw {
                    mime_type: "application/octet-stream",
                    filename: Some(name),
                    tag: None,
                    body: stream::once(async move { Ok(Bytes::from(data.value)) }).boxed(),
                }))
            }
            Plan::LogContents(log) => logs::contents(&self.db, log, spec).await?.ok_or_else(not_found),
            Plan::LogRaw { log, inline } => logs::raw(&self.db, log, inline).await?.ok_or_else(not_found),
            Plan::ForceSchedulers(builderid) => {
                let items = forceschedulers::all(&self.db, self.farm(), builderid).await?;
                in_memory(&resources::FORCE_SCHEDULERS, items, spec)
            }
            Plan::ForceScheduler(name) => {
                let items = forceschedulers::all(&self.db, self.farm(), None).await?;
                let item = items
                    .into_iter()
                    .find(|item| item.get("name").and_then(Value::as_str) == Some(name.as_str()))
                    .ok_or_else(not_found)?;
                one_in_memory(&resources::FORCE_SCHEDULERS, item, spec)
            }
            Plan::CommonParent { codebaseid, commits } => {
                let graph = commits::graph(&self.db, codebaseid, commits).await?.ok_or_else(not_found)?;
                one_in_memory(&resources::COMMIT_GRAPHS, graph, spec)
            }
            Plan::CommitRangeTestResultSets { codebaseid, commits } => {
                let commits = commits::range(&self.db, codebaseid, commits).await?;
                self.list(&resources::TEST_RESULT_SETS, &[Scope::TestResultSetsOfCommits(commits)], spec).await
            }
            Plan::RootLinks => in_memory(&resources::ROOT_LINKS, spec::root_links(), spec),
            Plan::ApplicationSpec => in_memory(&resources::SPECS, spec::application_spec(), spec),
        }
    }

    fn farm(&self) -> Option<Arc<LoadedFarm>> {
        self.farm.as_ref().map(|farm| farm.borrow().clone())
    }

    async fn list(&self, resource: &'static Resource, scopes: &[Scope], spec: &ResultSpec) -> Result<Reply, DataError> {
        let large = resource.grows() && spec.limit.is_none_or(|limit| limit > LARGE_ITEMS);
        // The semaphore is never closed, so there always is a permit some time.
        let _permit = if large { self.large.acquire().await.ok() } else { None };
        let page = query::list_text(self.db.read(), resource, scopes, spec).await?;
        let (plural, total) = (resource.plural, Some(page.total));
        Ok(Reply::Text(TextItems { plural, items: page.items, total, next: page.next }))
    }

    /// The id of a build, if it exists.
    async fn build_id(&self, build: BuildRef) -> Result<Option<i64>, DataError> {
        let spec = ResultSpec { fields: vec!["buildid".to_owned()], ..ResultSpec::default() };
        let item = query::find(self.db.read(), &resources::BUILDS, &[Scope::Build("buildid", build)], &spec).await?;
        Ok(item.and_then(|item| item.get("buildid").and_then(Value::as_i64)))
    }

    /// Properties as one object, name to `[value, source]`. `field=` and `property=` choose by name.
    async fn properties(
        &self,
        resource: &'static Resource,
        scope: Scope,
        spec: &ResultSpec,
    ) -> Result<Reply, DataError> {
        if !spec.filters.is_empty() {
            return Err(query::QueryError::NotACollection.into());
        }
        let page = query::list(self.db.read(), resource, &[scope], &ResultSpec::default()).await?;
        let mut properties = Map::new();
        for item in page.items {
            let Value::Object(mut item) = item else { continue };
            let (Some(Value::String(name)), Some(Value::String(value))) = (item.remove("name"), item.remove("value"))
            else {
                continue;
            };
            if !spec.fields.is_empty() && !spec.fields.contains(&name) {
                continue;
            }
            let value: Value = serde_json::from_str(&value).unwrap_or(Value::Null);
            properties.insert(name, json!([value, item.remove("source").unwrap_or(Value::Null)]));
        }
        Ok(one(&resources::PROPERTIES, Value::Object(properties)))
    }

    /// The projects; `active` is no column but a question about their builders, and told only to those who ask it.
    async fn projects(&self, spec: &ResultSpec) -> Result<Reply, DataError> {
        let mut spec = spec.clone();
        let mut active = None;
        for filter in spec.filters.iter().filter(|filter| filter.field == "active" && filter.op == FilterOp::Eq) {
            let wanted = query::parse_boolean(&filter.values[..])
                .ok_or_else(|| DataError::from(query::QueryError::InvalidValue("active".to_owned())))?;
            active = Some(wanted);
        }
        if active.is_some() {
            spec.filters.retain(|filter| filter.field != "active");
        }
        let scopes: Vec<Scope> = active.map(Scope::ActiveProjects).into_iter().collect();
        let mut page = query::list(self.db.read(), &resources::PROJECTS, &scopes, &spec).await?;
        if let Some(active) = active {
            for item in page.items.iter_mut().filter_map(Value::as_object_mut) {
                item.entry("active").and_modify(|value| *value = Value::Bool(active));
            }
        }
        Ok(Reply::Items(Items { plural: resources::PROJECTS.plural, items: page.items, total: Some(page.total) }))
    }
}

fn find_endpoint(path: &[&str]) -> Option<(&'static Endpoint, Args)> {
    ENDPOINTS.iter().find_map(|endpoint| Some((endpoint, endpoint.pattern.matches(path)?)))
}

fn one(resource: &'static Resource, item: Value) -> Reply {
    Reply::Items(Items { plural: resource.plural, items: vec![item], total: None })
}

fn in_memory(
    resource: &'static Resource,
    items: Vec<Map<String, Value>>,
    spec: &ResultSpec,
) -> Result<Reply, DataError> {
    let page = query::list_in_memory(resource, items, spec)?;
    Ok(Reply::Items(Items { plural: resource.plural, items: page.items, total: Some(page.total) }))
}

fn one_in_memory(resource: &'static Resource, item: Map<String, Value>, spec: &ResultSpec) -> Result<Reply, DataError> {
    query::check_single(resource, spec)?;
    let spec = ResultSpec { fields: spec.fields.clone(), ..ResultSpec::default() };
    let mut page = query::list_in_memory(resource, vec![item], &spec)?;
    Ok(one(resource, page.items.pop().unwrap_or(Value::Null)))
}
