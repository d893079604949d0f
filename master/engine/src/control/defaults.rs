//! Defaults of force forms that have to be rendered: nothing but the configuration is known then.

use std::collections::BTreeMap;

use buildguild_types::{
    farm::{CodebaseParameter, ForceConfig, ForceParameter, ForceParameterKind},
    properties::Properties,
    render::Renderable,
};
use serde_json::Value;

use crate::{
    functions::Functions,
    render::{RenderError, Scope},
};

/// Puts plain values in the place of defaults that are renderables.
///
/// # Errors
/// The name of the parameter whose default cannot be rendered, and why.
pub(super) async fn render_defaults(
    config: &mut ForceConfig,
    functions: &Functions,
) -> Result<(), (String, RenderError)> {
    let (properties, nothing, no_secrets) = (Properties::new(), BTreeMap::new(), BTreeMap::new());
    let scope = Scope {
        properties: &properties,
        sources: &[],
        worker: &nothing,
        secrets: &no_secrets,
        build_url: "",
        build: &Value::Null,
        calls: functions,
    };
    let mut parameters = Vec::new();
    for parameter in [&mut config.username, &mut config.reason, &mut config.priority] {
        late(parameter, &mut parameters);
    }
    for codebase in &mut config.codebases {
        let CodebaseParameter { branch, revision, repository, project, patch, .. } = codebase;
        for parameter in [branch, revision, repository, project, patch].into_iter().flatten() {
            late(parameter, &mut parameters);
        }
    }
    for parameter in &mut config.properties {
        late(parameter, &mut parameters);
    }
    for parameter in parameters {
        match scope.render(&parameter.default).await {
            Ok(value) => parameter.default = Renderable::Literal { value },
            Err(error) => return Err((parameter.name.clone(), error)),
        }
    }
    Ok(())
}

/// Collects the parameters below `parameter` whose defaults are no plain values.
fn late<'a>(parameter: &'a mut ForceParameter, found: &mut Vec<&'a mut ForceParameter>) {
    if matches!(parameter.kind, ForceParameterKind::Nested { .. }) {
        if let ForceParameterKind::Nested { fields, .. } = &mut parameter.kind {
            for field in fields {
                late(field, found);
            }
        }
    } else if parameter.default.as_literal().is_none() {
        found.push(parameter);
    }
}
