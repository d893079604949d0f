//! `SetPropertyFromCommand`: the output of a command becomes a property.

use buildguild_types::farm::SetPropertyFromCommandConfig;
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use serde_json::{Map, Value, json};

use super::arguments::wrong;
use super::{StepError, StepRun, shell};
use crate::render::Call;

pub(super) async fn run(step: &mut StepRun<'_>, config: &SetPropertyFromCommandConfig) -> Result<Results, StepError> {
    let extracts = config.extract_fn.is_some();
    let outcome =
        shell::run_shell(step, &config.shell, config.include_stdout || extracts, config.include_stderr || extracts)
            .await?;
    let results = outcome.results(&config.shell.decode_rc);
    if results.worst(Results::Warnings) != Results::Warnings {
        // What a command that failed has to say is no property.
        return Ok(results);
    }
    let mut changes = Map::new();
    if let Some(function) = &config.extract_fn {
        let call = Call {
            args: vec![json!(outcome.rc.unwrap_or(0)), json!(outcome.stdout), json!(outcome.stderr)],
            ..Call::default()
        };
        match step.build.call(function, call, false).await? {
            Value::Object(extracted) => changes = extracted,
            Value::Null => {}
            other => return Err(wrong("extract_fn", "a dictionary", &other)),
        }
    } else if let Some(property) = &config.property {
        let property = step.required_text("property", property).await?;
        let mut value = String::new();
        if config.include_stdout {
            value.push_str(&outcome.stdout);
        }
        if config.include_stderr {
            value.push_str(&outcome.stderr);
        }
        let value = if config.strip { value.trim() } else { value.as_str() };
        changes.insert(property, json!(value));
    }
    let source = step.property_source();
    let mut report = String::new();
    for (name, value) in &changes {
        step.set_property(name, value.clone(), &source);
        report.push_str(&format!("{name}: {}\n", buildguild_types::pyrepr::repr(value)));
    }
    if !report.is_empty() {
        step.add_complete_log("property changes", LogKind::Text, &report).await?;
    }
    match changes.keys().collect::<Vec<_>>().as_slice() {
        [] => {}
        [name] => step.done_text = Some(format!("property '{name}' set")),
        names => step.done_text = Some(format!("{} properties set", names.len())),
    }
    Ok(results)
}
