//! Schedulers and the parameters of force schedulers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChangeFilter, OrCallable};
use crate::render::{CallableRef, Renderable};

/// A scheduler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// Its name, unique in the farm.
    pub name: String,
    /// `builderNames`: a list, or something that renders to one.
    pub builder_names: Renderable,
    /// `properties`
    #[serde(default)]
    pub properties: BTreeMap<String, Renderable>,
    /// `codebases`: name to what to take when no change says otherwise. `{"": {}}` if not said.
    pub codebases: BTreeMap<String, CodebaseSpec>,
    /// `priority`
    #[serde(default)]
    pub priority: Option<OrCallable<i64>>,
    /// `reason`
    #[serde(default)]
    pub reason: Option<Renderable>,
    /// What it does.
    pub kind: SchedulerKind,
}

/// What a scheduler takes of a code base by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CodebaseSpec {
    /// The repository.
    pub repository: String,
    /// The branch.
    pub branch: Option<String>,
    /// The revision.
    pub revision: Option<String>,
}

/// What a scheduler does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SchedulerKind {
    /// `SingleBranchScheduler`
    SingleBranch(Box<TreeSchedulerConfig>),
    /// `AnyBranchScheduler`
    AnyBranch(Box<TreeSchedulerConfig>),
    /// `ForceScheduler`
    Force(Box<ForceConfig>),
    /// `Triggerable`
    Triggerable,
    /// `Dependent`
    Dependent {
        /// The name of the scheduler before it.
        upstream: String,
    },
    /// `Periodic`
    Periodic {
        /// `periodicBuildTimer`, in seconds.
        period_secs: u64,
        /// `onlyIfChanged`, `change_filter`, `fileIsImportant`, `onlyImportant`, `createAbsoluteSourceStamps`.
        changes: Box<TreeSchedulerConfig>,
        /// `onlyIfChanged`
        only_if_changed: bool,
    },
    /// `Nightly`
    Nightly {
        /// `minute`, `hour`, `dayOfMonth`, `month`, `dayOfWeek`, as written.
        time: BTreeMap<String, Value>,
        /// `force_at_*`, as written.
        force_at: BTreeMap<String, Value>,
        /// `onlyIfChanged`
        only_if_changed: bool,
        /// `change_filter`, `fileIsImportant`, `onlyImportant`, `createAbsoluteSourceStamps`.
        changes: Box<TreeSchedulerConfig>,
    },
}

/// What the schedulers that follow changes have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TreeSchedulerConfig {
    /// `treeStableTimer`, in seconds; nothing: one buildset for each change.
    #[serde(deserialize_with = "optional_float")]
    pub tree_stable_timer_secs: Option<f64>,
    /// `change_filter`
    pub change_filter: ChangeFilter,
    /// `fileIsImportant`
    pub file_is_important: Option<CallableRef>,
    /// `onlyImportant`
    pub only_important: bool,
    /// `createAbsoluteSourceStamps`
    pub create_absolute_source_stamps: bool,
}

/// `ForceScheduler`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForceConfig {
    /// `label`
    pub label: String,
    /// `buttonName`
    pub button_name: String,
    /// `reasonString`
    pub reason_string: String,
    /// `username`
    pub username: ForceParameter,
    /// `reason`
    pub reason: ForceParameter,
    /// `priority`
    pub priority: ForceParameter,
    /// `codebases`
    pub codebases: Vec<CodebaseParameter>,
    /// `properties`
    pub properties: Vec<ForceParameter>,
}

/// A parameter of a force scheduler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForceParameter {
    /// Its name; empty only for unnamed groups.
    pub name: String,
    /// What the form shows.
    pub label: String,
    /// What the tab shows.
    pub tablabel: String,
    /// The value taken when none is given.
    pub default: Renderable,
    /// Whether a value must be given.
    pub required: bool,
    /// Whether several values may be given.
    pub multiple: bool,
    /// What a text must match.
    pub regex: Option<String>,
    /// Whether the form hides it.
    pub hide: bool,
    /// The longest text allowed, in characters.
    pub maxsize: Option<u64>,
    /// Values of other fields set along with this one.
    pub autopopulate: Option<Value>,
    /// An explanation.
    pub tooltip: String,
    /// What kind of value.
    pub kind: ForceParameterKind,
}

/// What kind of value a parameter takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ForceParameterKind {
    /// `FixedParameter`
    Fixed,
    /// `StringParameter`
    String {
        /// The width of the field.
        size: u64,
    },
    /// `TextParameter`
    Text {
        /// Columns.
        cols: u64,
        /// Rows.
        rows: u64,
    },
    /// `IntParameter`
    Int {
        /// The width of the field.
        size: u64,
    },
    /// `BooleanParameter`
    Bool,
    /// `UserNameParameter`
    Username {
        /// The width of the field.
        size: u64,
        /// Whether it must look like an e-mail address.
        need_email: bool,
    },
    /// `ChoiceStringParameter`
    Choice {
        /// What can be chosen.
        choices: Vec<String>,
        /// Whether anything else is refused.
        strict: bool,
    },
    /// `WorkerChoiceParameter`
    WorkerChoice,
    /// `InheritBuildParameter`
    InheritBuild {
        /// Which builds can be chosen.
        compatible_builds: Option<CallableRef>,
    },
    /// `FileParameter`
    File,
    /// `NestedParameter`, `ParameterGroup`, `AnyPropertyParameter`, `PatchParameter`
    Nested {
        /// The type in the form's specification: `nested`, `any_property`...
        form_type: String,
        /// `simple`, `vertical` or `tabs`.
        layout: String,
        /// Columns of the layout.
        columns: Option<u64>,
        /// The parameters inside.
        fields: Vec<ForceParameter>,
    },
}

/// `CodebaseParameter`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodebaseParameter {
    /// The code base's name.
    pub codebase: String,
    /// What the form shows.
    pub label: String,
    /// `branch`
    pub branch: Option<ForceParameter>,
    /// `revision`
    pub revision: Option<ForceParameter>,
    /// `repository`
    pub repository: Option<ForceParameter>,
    /// `project`
    pub project: Option<ForceParameter>,
    /// `patch`
    pub patch: Option<ForceParameter>,
}

/// A float inside a tagged enum: serde buffers that, and with serde_json's `arbitrary_precision` (which the Starlark
/// interpreter switches on for the whole program) a buffered float can only be read as a JSON value.
fn optional_float<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => value.as_f64().map(Some).ok_or_else(|| serde::de::Error::custom("a number is needed")),
    }
}
