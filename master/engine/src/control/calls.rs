//! Control calls, as the API offers them.

use std::{sync::Arc, time::Duration};

use buildguild_db::{
    DbError,
    buildsets::{NewBuildset, StampRef},
    changes::NewChange,
    sourcestamps::{NewPatch, NewSourceStamp},
};
use buildguild_types::{
    control::{BuildRef, BuilderRef, Caller, ControlAction, ControlCall, ControlError, WorkerRef},
    farm::{
        SchedulerKind,
        force::{self, ForceCall, ForceSourceStamp},
    },
    ids::{BuildRequestId, BuilderId, WorkerId},
    limits::{LONG_TEXT_BYTES, TEXT_BYTES},
    properties::Properties,
    resources::{Build, BuildRequest, Buildset},
};
use serde_json::{Map, Value, json};

use crate::parts::{Applied, Parts};

/// How long somebody who asks for a build waits for a master that has just started: it serves a moment before it knows its
/// builders, and a balancer may not have noticed that it was away.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// Carries out control calls. Cheap to clone. Any replica can carry out any call.
#[derive(Clone, Debug)]
pub struct Control {
    parts: Arc<Parts>,
}

impl Control {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Whether this master starts nothing any more, because it is about to end.
    pub fn is_leaving(&self) -> bool {
        self.parts.leaving.is_cancelled()
    }

    /// Lets everybody see that this master is about to end, and why; nothing is lost if it cannot be told.
    pub async fn tell_leaving(&self, reason: &str) {
        let store = &self.parts.store;
        let Some(owner) = *store.owner_changes().borrow() else { return };
        let told = store.update(|u| async move { u.drain_master(owner.master_id, Some(reason)).await }).await;
        if let Err(error) = told {
            tracing::warn!(%error, "cannot tell the others that this master leaves");
        }
    }

    /// Whether a farm config has been applied: requests are served a little earlier than that.
    pub fn is_in_force(&self) -> bool {
        is_in_force(&self.parts.applied())
    }

    /// Carries out a call and gives its JSON-RPC result.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn call(&self, call: ControlCall) -> Result<Value, ControlError> {
        let store = &self.parts.store;
        match call.action {
            ControlAction::Force { scheduler, values } => self.force(&scheduler, &values, &call.caller).await,
            ControlAction::StopBuild { build, reason } => {
                let build = self.build(&build).await?.buildid;
                let reason = Some(reason.as_str());
                store.update(|u| async move { u.stop_build(build, reason).await }).await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::RebuildBuild { build } => {
                let build = self.build(&build).await?.buildid;
                let (buildset, requests) =
                    store.update(|u| async move { u.rebuild(build).await }).await.map_err(error)?;
                Ok(submitted(&buildset, &requests))
            }
            ControlAction::CancelRequest { request, reason } => self.cancel(&[request], &reason).await,
            ControlAction::CancelBuildset { buildset, reason } => {
                let requests = store.buildset_requests(buildset).await.map_err(error)?;
                if requests.is_empty() {
                    return Err(ControlError::NotFound(format!("buildset {buildset}")));
                }
                let ids: Vec<_> = requests.iter().map(|r| r.buildrequestid).collect();
                self.cancel(&ids, &reason).await
            }
            ControlAction::SetPriority { request, priority } => {
                let set = store.update(|u| async move { u.set_build_request_priority(request, priority).await });
                set.await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::PauseWorker { worker, reason } => {
                let worker = self.worker(&worker).await?;
                let reason = Some(reason.as_str());
                store.update(|u| async move { u.pause_worker(worker, reason).await }).await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::UnpauseWorker { worker, .. } => {
                let worker = self.worker(&worker).await?;
                store.update(|u| async move { u.unpause_worker(worker).await }).await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::StopWorker { worker, reason } => {
                let worker = self.worker(&worker).await?;
                let reason = Some(reason.as_str());
                store.update(|u| async move { u.stop_worker(worker, reason).await }).await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::KillWorker { worker, reason } => {
                let worker = self.worker(&worker).await?;
                let reason = Some(reason.as_str());
                store.update(|u| async move { u.kill_worker(worker, reason).await }).await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::EnableScheduler { scheduler, enabled } => {
                let set = store.update(|u| async move { u.enable_scheduler(scheduler, enabled).await });
                set.await.map_err(error)?;
                Ok(Value::Null)
            }
            ControlAction::DrainMaster { master, reason } => {
                let reason = Some(reason.as_str());
                let drained = store.update(|u| async move { u.drain_master(master, reason).await }).await;
                match drained {
                    Ok(()) => Ok(Value::Null),
                    Err(DbError::EpochEnded) => Err(ControlError::Conflict(format!("master {master} does not run"))),
                    Err(other) => Err(error(other)),
                }
            }
            ControlAction::SubmitChange { change } => {
                let change = &new_change(&change)?;
                let change = store.update(|u| async move { u.add_change(change).await }).await.map_err(error)?;
                Ok(json!(change.changeid))
            }
            _ => Err(ControlError::InvalidParams("this master does not know that call".to_owned())),
        }
    }

    async fn cancel(&self, requests: &[BuildRequestId], reason: &str) -> Result<Value, ControlError> {
        let cancel = self.parts.store.update(|u| async move {
            for request in requests {
                u.cancel_build_request(*request, Some(reason)).await?;
            }
            Ok(())
        });
        cancel.await.map_err(error)?;
        Ok(Value::Null)
    }

    async fn force(&self, name: &str, values: &Map<String, Value>, caller: &Caller) -> Result<Value, ControlError> {
        // One look: builders and schedulers of two versions do not fit each other.
        let mut versions = self.parts.applied.clone();
        let in_force =
            async { versions.wait_for(|applied| is_in_force(applied)).await.map(|found| Arc::clone(&found)) };
        let Ok(Ok(applied)) = tokio::time::timeout(START_PATIENCE, in_force).await else {
            return Err(ControlError::Starting);
        };
        let scheduler = applied
            .farm
            .farm
            .schedulers
            .iter()
            .find(|s| s.name == name && force::force_config(s).is_some())
            .ok_or_else(|| ControlError::NotFound(format!("force scheduler {name}")))?;
        let mut scheduler = scheduler.clone();
        if let SchedulerKind::Force(config) = &mut scheduler.kind {
            super::defaults::render_defaults(config, &self.parts.functions()).await.map_err(|(parameter, why)| {
                ControlError::InvalidForce([(parameter, format!("the default: {why}"))].into())
            })?;
        }
        let scheduler = &scheduler;
        let store = &self.parts.store;
        let id = store.scheduler_id(name).await.map_err(error)?;
        if !store.scheduler_enabled(id).await.map_err(error)? {
            return Err(ControlError::Conflict(format!("scheduler '{name}' is disabled")));
        }
        let builder_by_id = builder_id(values)
            .and_then(|id| applied.builders.iter().find(|(_, known)| **known == id))
            .map(|(name, _)| name.as_str());
        let request = force::validate(scheduler, ForceCall { params: values, user: caller.owner(), builder_by_id })
            .map_err(|errors| ControlError::InvalidForce(errors.0))?;
        let ids = request
            .builder_names
            .iter()
            .map(|builder| {
                let id = applied.builders.get(builder).copied();
                id.ok_or_else(|| ControlError::Conflict(format!("builder '{builder}' of '{name}' is not configured")))
            })
            .collect::<Result<_, _>>()?;
        let mut properties = Properties::new();
        for (name, value) in &scheduler.properties {
            if let Some(value) = value.as_literal() {
                properties.set(name.as_str(), value.clone(), "Scheduler");
            }
        }
        properties.extend(&request.properties);
        let new = NewBuildset {
            sourcestamps: request.sourcestamps.into_iter().map(stamp).collect(),
            reason: request.reason,
            properties,
            builders: ids,
            priority: request.priority,
            ..NewBuildset::default()
        };
        let (buildset, requests) = store.add_buildset(&new).await.map_err(error)?;
        Ok(submitted(&buildset, &requests))
    }

    async fn build(&self, build: &BuildRef) -> Result<Build, ControlError> {
        let found = match build {
            BuildRef::Id(id) => self.parts.store.build(*id).await.map_err(error)?,
            BuildRef::Number(builder, number) => {
                let builder = match builder {
                    BuilderRef::Id(id) => Some(*id),
                    BuilderRef::Name(name) => self.parts.store.builder_id(name).await.map_err(error)?,
                };
                match builder {
                    Some(builder) => self.parts.store.build_by_number(builder, *number).await.map_err(error)?,
                    None => None,
                }
            }
        };
        found.ok_or_else(|| {
            ControlError::NotFound(match build {
                BuildRef::Id(id) => format!("build {id}"),
                BuildRef::Number(BuilderRef::Id(id), number) => format!("build {number} of builder {id}"),
                BuildRef::Number(BuilderRef::Name(name), number) => format!("build {number} of builder '{name}'"),
            })
        })
    }

    async fn worker(&self, worker: &WorkerRef) -> Result<WorkerId, ControlError> {
        let found = match worker {
            WorkerRef::Id(id) => self.parts.store.worker_states(&[*id]).await.map_err(error)?.first().map(|w| w.worker),
            WorkerRef::Name(name) => self.parts.store.worker_id(name).await.map_err(error)?,
        };
        found.ok_or_else(|| {
            ControlError::NotFound(match worker {
                WorkerRef::Id(id) => format!("worker {id}"),
                WorkerRef::Name(name) => format!("worker '{name}'"),
            })
        })
    }
}

/// Whether the database knows the builders of this version.
fn is_in_force(applied: &Applied) -> bool {
    !applied.builders.is_empty() || applied.farm.farm.builders.is_empty()
}

/// `builderid` may come as a number or as a text.
fn builder_id(values: &Map<String, Value>) -> Option<BuilderId> {
    match values.get("builderid")? {
        Value::Number(number) => number.as_i64().map(BuilderId),
        Value::String(text) => text.trim().parse().ok().map(BuilderId),
        _ => None,
    }
}

/// The result of what submits a buildset.
fn submitted(buildset: &Buildset, requests: &[BuildRequest]) -> Value {
    let ids: Map<String, Value> = requests.iter().map(|r| (r.builderid.to_string(), json!(r.buildrequestid))).collect();
    json!([buildset.bsid, ids])
}

fn stamp(stamp: ForceSourceStamp) -> StampRef {
    StampRef::New(NewSourceStamp {
        // A form with empty fields gives empty texts, not null.
        branch: Some(stamp.branch),
        revision: Some(stamp.revision),
        repository: stamp.repository,
        project: stamp.project,
        codebase: stamp.codebase,
        patch: stamp.patch.map(|patch| NewPatch {
            body: patch.body,
            level: patch.level,
            author: patch.author,
            comment: patch.comment,
            subdir: Some(patch.subdir),
        }),
    })
}

/// A change from its fields by their API names.
fn new_change(fields: &Map<String, Value>) -> Result<NewChange, ControlError> {
    let mut change = NewChange::default();
    for (name, value) in fields {
        let wrong = || ControlError::InvalidParams(format!("'{name}' has a wrong type"));
        let within = |limit: usize, length: usize| {
            let text = || format!("'{name}' is longer than {limit} bytes");
            if length > limit { Err(ControlError::InvalidParams(text())) } else { Ok(()) }
        };
        let text = || {
            let text = value.as_str().ok_or_else(wrong)?;
            within(if name == "comments" { LONG_TEXT_BYTES } else { TEXT_BYTES }, text.len())?;
            Ok(text.to_owned())
        };
        let maybe = || if value.is_null() { Ok(None) } else { text().map(Some) };
        match name.as_str() {
            "author" | "who" => change.author = text()?,
            "committer" => change.committer = maybe()?,
            "comments" => change.comments = text()?,
            "branch" => change.branch = maybe()?,
            "revision" => change.revision = maybe()?,
            "revlink" => change.revlink = maybe()?,
            "category" => change.category = maybe()?,
            "repository" => change.repository = text()?,
            "project" => change.project = text()?,
            "codebase" => change.codebase = text()?,
            "files" => {
                let files = value.as_array().ok_or_else(wrong)?;
                within(LONG_TEXT_BYTES, files.iter().filter_map(Value::as_str).map(str::len).sum())?;
                change.files =
                    files.iter().map(|f| f.as_str().map(str::to_owned)).collect::<Option<_>>().ok_or_else(wrong)?;
            }
            "when_timestamp" | "when" => {
                if !value.is_null() {
                    let secs = value.as_f64().filter(|secs| secs.abs() < 1e12).ok_or_else(wrong)?;
                    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
                    {
                        change.when_micros = Some((secs * 1e6) as i64);
                    }
                }
            }
            "properties" => {
                let properties = value.as_object().ok_or_else(wrong)?;
                for (name, value) in properties {
                    if value.to_string().len() > LONG_TEXT_BYTES {
                        let text = format!("the property '{name}' is longer than {LONG_TEXT_BYTES} bytes");
                        return Err(ControlError::InvalidParams(text));
                    }
                    change.properties.set(name.as_str(), value.clone(), "Change");
                }
            }
            _ => return Err(ControlError::InvalidParams(format!("unknown field '{name}'"))),
        }
    }
    Ok(change)
}

fn error(error: DbError) -> ControlError {
    match error {
        DbError::NotFound(what) => ControlError::NotFound(what.to_owned()),
        DbError::Conflict(_) | DbError::AlreadyClaimed | DbError::AlreadyComplete => {
            ControlError::Conflict(error.to_string())
        }
        DbError::Invalid(what) => ControlError::InvalidParams(what),
        error if error.is_transient() || error.is_fenced() => ControlError::Unavailable(Box::new(error)),
        error => ControlError::Internal(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_change_have_limits() {
        let change = |field: &str, value: Value| new_change(&Map::from_iter([(field.to_owned(), value)]));
        let refused = |field: &str, value: Value| change(field, value).expect_err("is refused").to_string();
        let text = |length: usize| Value::from("x".repeat(length));
        assert!(change("author", text(TEXT_BYTES)).is_ok() && change("comments", text(LONG_TEXT_BYTES)).is_ok());
        assert_eq!(refused("author", text(TEXT_BYTES + 1)), "'author' is longer than 65536 bytes");
        assert_eq!(refused("comments", text(LONG_TEXT_BYTES + 1)), "'comments' is longer than 1048576 bytes");
        let files = json!([text(LONG_TEXT_BYTES), "y"]);
        assert_eq!(refused("files", files), "'files' is longer than 1048576 bytes");
        let properties = json!({"p": text(LONG_TEXT_BYTES)});
        assert_eq!(refused("properties", properties), "the property 'p' is longer than 1048576 bytes");
    }
}
