//! Functions of the configuration, called in the version that a build began with.

use async_trait::async_trait;
use buildguild_config::{CallError, Evaluators, StepAdvance};
use buildguild_types::farm::ConfigHash;
use buildguild_types::render::{CallableRef, Renderable};
use serde_json::{Value, json};

use crate::render::{Call, CallFailed, Calls};

/// Functions of one version of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct FarmFunctions {
    evaluators: Evaluators,
    config: ConfigHash,
}

impl FarmFunctions {
    pub(crate) const fn new(evaluators: Evaluators, config: ConfigHash) -> Self {
        Self { evaluators, config }
    }

    /// Runs a step function from the top with the journal's answers up to its next effect.
    pub(crate) async fn advance_step(
        &self,
        function: &CallableRef,
        context: Value,
        journal: &[Value],
    ) -> Result<StepAdvance, CallFailed> {
        self.evaluators.advance_step(&self.config, function, context, journal).await.map_err(failed)
    }
}

#[async_trait]
impl Calls for FarmFunctions {
    async fn call(&self, function: &CallableRef, call: Call) -> Result<Renderable, CallFailed> {
        let mut args = Vec::with_capacity(call.args.len() + 1);
        args.extend(call.scope);
        args.extend(call.args);
        let arguments = json!({"args": args, "kwargs": call.kwargs});
        let result = self.evaluators.call(&self.config, function, arguments).await.map_err(failed)?;
        Ok(renderable(result))
    }
}

fn failed(error: CallError) -> CallFailed {
    CallFailed { transient: matches!(error, CallError::Unavailable(_)), message: error.to_string() }
}

/// What a function returned: a plain value, or a renderable in the form of the farm model.
pub(crate) fn renderable(value: Value) -> Renderable {
    if let Value::Object(entries) = &value
        && entries.get("kind").is_some_and(Value::is_string)
        && let Ok(renderable) = serde_json::from_value(value.clone())
    {
        return renderable;
    }
    Renderable::Literal { value }
}
