//! What a running build knows, and its steps may read and change.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildguild_types::farm::{BuilderConfig, LockAccess};
use buildguild_types::plan::BuildPlan;
use buildguild_types::properties::Properties;
use buildguild_types::render::{CallableRef, Renderable};
use buildguild_types::resources::{Build, SourceStamp};
use buildguild_types::results::Results;
use serde_json::{Value, json};

use super::record::Recorder;
use super::stop::StopSignal;
use crate::functions::Functions;
use crate::hooks::Hooks;
use crate::render::{Call, RenderError, Scope};
use crate::workers::WorkerHandle;

/// What a running build knows.
pub(crate) struct BuildContext {
    /// Writes what happens.
    pub(crate) recorder: Recorder,
    /// The build's row.
    pub(crate) build: Build,
    /// The builder, in the version that the build began with.
    pub(crate) builder: Arc<BuilderConfig>,
    /// What the build does.
    pub(crate) plan: BuildPlan,
    /// Where it runs.
    pub(crate) worker: WorkerHandle,
    /// The properties as they are now.
    pub(crate) properties: Properties,
    /// Properties that were set and are not stored yet.
    pub(crate) unsaved: Properties,
    /// What is built.
    pub(crate) sources: Vec<SourceStamp>,
    /// Why it is built.
    pub(crate) reason: String,
    /// The page of the build.
    pub(crate) url: String,
    /// Secrets by name.
    pub(crate) secrets: BTreeMap<String, String>,
    /// The locks that the whole build needs.
    pub(crate) locks: Vec<LockAccess>,
    /// Wishes to stop.
    pub(crate) stop: StopSignal,
    /// Calls functions of the configuration version that the build began with.
    pub(crate) functions: Functions,
    /// The result so far.
    pub(crate) results: Results,
    /// Points for tests.
    pub(crate) hooks: Hooks,
}

impl BuildContext {
    /// Sets a property; it is stored with the next thing that the step stores.
    pub(crate) fn set_property(&mut self, name: &str, value: Value, source: &str) {
        self.properties.set(name, value.clone(), source);
        self.unsaved.set(name, value, source);
    }

    /// Takes the properties that are to be stored.
    pub(crate) fn take_unsaved(&mut self) -> Properties {
        std::mem::take(&mut self.unsaved)
    }

    /// What functions see of the build beside its properties.
    pub(crate) fn as_json(&self) -> Value {
        json!({
            "buildid": self.build.buildid,
            "number": self.build.number,
            "builderid": self.build.builderid,
            "builder": self.builder.name,
            "worker": self.worker.name(),
            "reason": self.reason,
            "results": self.results,
        })
    }

    /// Renders a value with what the build knows now.
    pub(crate) async fn render(&self, value: &Renderable) -> Result<Value, RenderError> {
        if let Some(value) = value.as_literal() {
            return Ok(value.clone());
        }
        let build = self.as_json();
        self.scope(&build).render(value).await
    }

    /// Renders a value if there is one; `null` counts as none.
    pub(crate) async fn render_option(&self, value: Option<&Renderable>) -> Result<Option<Value>, RenderError> {
        match value {
            Some(value) => Ok(Some(self.render(value).await?).filter(|value| !value.is_null())),
            None => Ok(None),
        }
    }

    /// Calls a function of the configuration. With `scope` its first argument is its view of the build.
    pub(crate) async fn call(&self, function: &CallableRef, mut call: Call, scope: bool) -> Result<Value, RenderError> {
        let build = self.as_json();
        let view = self.scope(&build);
        if scope {
            call.scope = Some(view.as_json());
        }
        view.call(function, call).await
    }

    fn scope<'a>(&'a self, build: &'a Value) -> Scope<'a> {
        Scope {
            properties: &self.properties,
            sources: &self.sources,
            worker: self.worker.info_json(),
            secrets: &self.secrets,
            build_url: &self.url,
            build,
            calls: &self.functions,
        }
    }
}
