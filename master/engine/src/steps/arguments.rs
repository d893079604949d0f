//! Rendered arguments of steps, checked.

use buildguild_types::pyrepr;
use buildguild_types::render::Renderable;
use serde_json::Value;
use worker_protocol::EnvValue;

use super::{StepError, StepRun};

/// An argument of the wrong type.
pub(crate) fn wrong(argument: &'static str, wanted: &str, found: &Value) -> StepError {
    StepError::Argument { argument, problem: format!("expected {wanted}, not {}", pyrepr::type_name(found)) }
}

impl StepRun<'_> {
    /// A text; `None` if it is not given or renders to nothing.
    pub(crate) async fn text_argument(
        &self,
        argument: &'static str,
        value: Option<&Renderable>,
    ) -> Result<Option<String>, StepError> {
        match self.render_option(value).await? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(pyrepr::str(&value))),
            Some(other) => Err(wrong(argument, "a text", &other)),
        }
    }

    /// A text that must be there.
    pub(crate) async fn required_text(&self, argument: &'static str, value: &Renderable) -> Result<String, StepError> {
        match self.text_argument(argument, Some(value)).await? {
            Some(text) => Ok(text),
            None => Err(wrong(argument, "a text", &Value::Null)),
        }
    }

    /// A number of seconds; `None` and 0 mean no limit.
    pub(crate) async fn seconds_argument(
        &self,
        argument: &'static str,
        value: Option<&Renderable>,
    ) -> Result<Option<f64>, StepError> {
        match self.render_option(value).await? {
            None => Ok(None),
            Some(value) => match number(&value) {
                Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok((seconds > 0.0).then_some(seconds)),
                _ => Err(wrong(argument, "a number of seconds", &value)),
            },
        }
    }

    /// A count.
    pub(crate) async fn count_argument(
        &self,
        argument: &'static str,
        value: Option<&Renderable>,
    ) -> Result<Option<u64>, StepError> {
        match self.render_option(value).await? {
            None => Ok(None),
            Some(value) => match number(&value) {
                Some(count) if count >= 0.0 && count.is_finite() => Ok(Some(count as u64)),
                _ => Err(wrong(argument, "a number", &value)),
            },
        }
    }

    /// The environment of a command: the builder's, overridden by the step's.
    pub(crate) async fn environment(&self, step: Option<&Renderable>) -> Result<Vec<(String, EnvValue)>, StepError> {
        let mut env: Vec<(String, EnvValue)> = Vec::new();
        for (name, value) in &self.build.plan.env {
            env.push((name.clone(), env_value(&self.render(value).await?)?));
        }
        match self.render_option(step).await? {
            None => {}
            Some(Value::Object(entries)) => {
                for (name, value) in entries {
                    let value = env_value(&value)?;
                    match env.iter_mut().find(|(known, _)| *known == name) {
                        Some(entry) => entry.1 = value,
                        None => env.push((name, value)),
                    }
                }
            }
            Some(other) => return Err(wrong("env", "a dictionary", &other)),
        }
        Ok(env)
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn env_value(value: &Value) -> Result<EnvValue, StepError> {
    Ok(match value {
        Value::Null => EnvValue::Unset,
        Value::String(text) => EnvValue::Text(text.clone()),
        Value::Number(_) => EnvValue::Text(pyrepr::str(value)),
        Value::Array(items) => EnvValue::List(items.iter().map(pyrepr::str).collect()),
        other => return Err(wrong("env", "texts, lists or None as values", other)),
    })
}
