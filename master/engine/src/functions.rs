//! Calls of functions of the configuration.

use async_trait::async_trait;
use buildguild_config::{CallArgs, CallError, Evaluators, StepAdvance};
use buildguild_types::{
    farm::ConfigHash,
    pyrepr,
    render::{CallableRef, Renderable},
};
use serde_json::Value;

use crate::render::{Call, CallFailed, Calls};

/// The functions of one configuration version.
#[derive(Debug, Clone)]
pub(crate) struct Functions {
    evaluators: Evaluators,
    version: ConfigHash,
}

impl Functions {
    /// The functions of `version`, called through `evaluators`.
    pub(crate) fn new(evaluators: Evaluators, version: ConfigHash) -> Self {
        Self { evaluators, version }
    }

    /// Calls a function with positional arguments.
    ///
    /// # Errors
    /// If it failed, took too long, or no evaluator could be had.
    pub(crate) async fn call(&self, function: &CallableRef, args: Vec<Value>) -> Result<Value, CallError> {
        self.evaluators.call(&self.version, function, CallArgs::positional(args)).await
    }

    /// Runs a step function from the top with the journal's answers, up to its next effect.
    ///
    /// # Errors
    /// As [`Functions::call`].
    pub(crate) async fn advance_step(
        &self,
        function: &CallableRef,
        context: Value,
        journal: &[Value],
    ) -> Result<StepAdvance, CallError> {
        self.evaluators.advance_step(&self.version, function, context, journal).await
    }

    /// Calls a function and tells whether what it returns is true in Python's sense.
    ///
    /// # Errors
    /// As [`Functions::call`].
    pub(crate) async fn is_true(&self, function: &CallableRef, args: Vec<Value>) -> Result<bool, CallError> {
        Ok(pyrepr::is_true(&self.call(function, args).await?))
    }
}

/// Whether a failed call may work another time: the evaluator was not there, rather than the function wrong.
pub(crate) fn is_transient(error: &CallError) -> bool {
    matches!(error, CallError::Unavailable(_))
}

#[async_trait]
impl Calls for Functions {
    async fn call(&self, function: &CallableRef, call: Call) -> Result<Renderable, CallFailed> {
        let args = CallArgs { scope: call.scope, args: call.args, kwargs: call.kwargs };
        self.evaluators
            .call_renderable(&self.version, function, args)
            .await
            .map_err(|error| CallFailed { transient: is_transient(&error), message: error.to_string() })
    }
}
