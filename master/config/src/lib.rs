#![doc = include_str!("../README.md")]

mod calls;
mod diagnostic;
mod diff;
mod evaluator;
mod farm;
mod lang;
mod loaded;
mod sample;
mod schema;
mod settings;
mod source;
mod storage;

pub use calls::CallArgs;
pub use diagnostic::{Diagnostic, Place, Severity, render_all};
pub use diff::{FarmDiff, KindDiff};
pub use evaluator::{EvaluatorError, EvaluatorOptions, Evaluators, run_evaluator, run_evaluator_on};
pub use loaded::{CallError, LoadedFarm, StepAdvance, StepEffect};
pub use sample::{SAMPLE_CONFIG, sample_settings};
pub use settings::{
    BrokerSettings, ClusterSettings, DatabaseSettings, ENV_PREFIX, EffectiveSetting, EvaluatorSettings, FarmSettings,
    LogFormat, MasterSettings, Origin, Secret, Settings, SettingsError, TelemetrySettings,
};
pub use source::{FarmBundle, FarmSource, Input};
pub use storage::{StorageError, StorageKey, StoredPart, StoredVersions, new_storage_key};
