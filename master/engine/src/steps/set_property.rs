//! `SetProperty` and `SetProperties`: properties from the configuration, rendered when the step runs.

use buildguild_types::render::Renderable;
use buildguild_types::results::Results;
use serde_json::Value;

use super::arguments::wrong;
use super::{StepError, StepRun};

pub(super) async fn one(
    step: &mut StepRun<'_>,
    property: &Renderable,
    value: &Renderable,
) -> Result<Results, StepError> {
    let property = step.required_text("property", property).await?;
    let value = step.render(value).await?;
    let source = step.property_source();
    step.set_property(&property, value, &source);
    step.done_text = Some("Set".to_owned());
    Ok(Results::Success)
}

pub(super) async fn many(step: &mut StepRun<'_>, properties: &Renderable) -> Result<Results, StepError> {
    let properties = match step.render(properties).await? {
        Value::Object(properties) => properties,
        other => return Err(wrong("properties", "a dictionary", &other)),
    };
    let source = step.property_source();
    for (name, value) in properties {
        step.set_property(&name, value, &source);
    }
    step.done_text = Some("Properties Set".to_owned());
    Ok(Results::Success)
}
