#![doc = include_str!("../README.md")]

mod calls;
mod diagnostic;
mod evaluator;
mod farm;
mod lang;
mod loaded;
mod schema;
mod settings;
mod source;

pub use calls::CallArgs;
pub use diagnostic::{Diagnostic, Place, Severity, render_all};
pub use evaluator::{EvaluatorError, EvaluatorOptions, Evaluators, run_evaluator};
pub use loaded::{CallError, LoadedFarm, StepAdvance, StepEffect};
pub use settings::{
    BrokerSettings, ClusterSettings, DatabaseSettings, ENV_PREFIX, EffectiveSetting, EvaluatorSettings, FarmSettings,
    LogFormat, MasterSettings, Origin, Secret, Settings, SettingsError, TelemetrySettings,
};
pub use source::{FarmBundle, FarmSource, Input};
