//! Force schedulers: the form that a client shows, and what a filled-in form asks for.
//!
//! Everything here is pure. The form's JSON and the texts of the errors are those that clients of Buildbot see.

mod form;
mod validate;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ForceConfig, ForceParameter, SchedulerConfig, SchedulerKind};
use crate::{properties::Properties, render::Renderable};

/// A force scheduler as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForceScheduler {
    /// Its name.
    pub name: String,
    /// What pages call it.
    pub label: String,
    /// What its button says.
    pub button_name: String,
    /// The builders it can force.
    pub builder_names: Vec<String>,
    /// Whether it may start builds.
    pub enabled: bool,
    /// The fields of its form, as JSON.
    pub all_fields: Vec<Value>,
}

/// What went wrong with a filled-in form: the field's `fullName` to a text for the user. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
#[error("accept the form: {0:?}")]
pub struct ForceErrors(pub BTreeMap<String, String>);

/// What a filled-in form asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ForceRequest {
    /// The builders to force, all of them builders of the scheduler.
    pub builder_names: Vec<String>,
    /// The reason of the buildset.
    pub reason: String,
    /// The priority of the requests.
    pub priority: i64,
    /// The properties of the buildset.
    pub properties: Properties,
    /// What to check out, one for each code base.
    pub sourcestamps: Vec<ForceSourceStamp>,
}

/// What to check out of one code base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceSourceStamp {
    /// The code base.
    pub codebase: String,
    /// The branch; empty for the default one.
    pub branch: String,
    /// The revision; empty for the newest one.
    pub revision: String,
    /// The repository.
    pub repository: String,
    /// The project.
    pub project: String,
    /// A patch on top.
    pub patch: Option<ForcePatch>,
}

/// A patch that came with a form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcePatch {
    /// The diff.
    pub body: String,
    /// How many leading path components to strip.
    pub level: i64,
    /// Who made it.
    pub author: String,
    /// What it is for.
    pub comment: String,
    /// The directory to apply it in.
    pub subdir: String,
}

/// A filled-in form, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct ForceCall<'a> {
    /// What the client sent: values by `fullName`, `builderNames`, `builderid`.
    pub params: &'a serde_json::Map<String, Value>,
    /// The logged-in user (e-mail, else user name), who is then the owner, whatever the form says.
    pub user: Option<&'a str>,
    /// The name of the builder that `builderid` names, if there is one.
    pub builder_by_id: Option<&'a str>,
}

/// What a `WorkerChoiceParameter` offers for no choice.
const ANY_WORKER: &str = "-any-";

/// The parameters of a scheduler's form, if it is a force scheduler.
pub fn force_config(scheduler: &SchedulerConfig) -> Option<&ForceConfig> {
    match &scheduler.kind {
        SchedulerKind::Force(config) => Some(config),
        SchedulerKind::SingleBranch(_)
        | SchedulerKind::AnyBranch(_)
        | SchedulerKind::Triggerable
        | SchedulerKind::Dependent { .. }
        | SchedulerKind::Periodic { .. }
        | SchedulerKind::Nightly { .. } => None,
    }
}

/// The builders of a scheduler whose `builderNames` is a plain list; a force scheduler's always is.
pub fn literal_builder_names(scheduler: &SchedulerConfig) -> Vec<String> {
    let texts = |values: &[Value]| values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    match &scheduler.builder_names {
        Renderable::Literal { value: Value::Array(values) } => texts(values),
        Renderable::List { items } => items.iter().filter_map(Renderable::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The default of a parameter; what has to be rendered first has none here.
fn default_of(parameter: &ForceParameter) -> Value {
    parameter.default.as_literal().cloned().unwrap_or(Value::Null)
}

/// A parameter's key in forms: its name, behind that of the named groups around it.
fn full_name(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, name) => format!("{prefix}_{name}"),
    }
}

pub use form::form;
pub use validate::validate;
