//! The form of a force scheduler as JSON.

use serde_json::{Map, Value, json};

use super::{ANY_WORKER, ForceScheduler, default_of, force_config, full_name, literal_builder_names};
use crate::farm::{CodebaseParameter, ForceParameter, ForceParameterKind, SchedulerConfig};

/// From how many visible fields on a code base's group has two columns.
const TWO_COLUMNS_FROM: usize = 4;

/// The form of a scheduler, if it is a force scheduler. `worker_names` are the choices of a `WorkerChoiceParameter`.
pub fn form(scheduler: &SchedulerConfig, enabled: bool, worker_names: &[String]) -> Option<ForceScheduler> {
    let config = force_config(scheduler)?;
    let mut all_fields = vec![group(
        "",
        "",
        1,
        [&config.username, &config.reason, &config.priority].map(|p| field(p, "", worker_names)).into(),
    )];
    all_fields.extend(config.codebases.iter().map(|c| codebase(c, worker_names)));
    all_fields.extend(config.properties.iter().map(|p| field(p, "", worker_names)));
    Some(ForceScheduler {
        name: scheduler.name.clone(),
        label: config.label.clone(),
        button_name: config.button_name.clone(),
        builder_names: literal_builder_names(scheduler),
        enabled,
        all_fields,
    })
}

/// The parameters of a code base, in the order of the form.
pub(super) fn parameters_of(codebase: &CodebaseParameter) -> impl Iterator<Item = &ForceParameter> {
    [&codebase.branch, &codebase.project, &codebase.repository, &codebase.revision, &codebase.patch]
        .into_iter()
        .flatten()
}

fn codebase(codebase: &CodebaseParameter, worker_names: &[String]) -> Value {
    let visible = parameters_of(codebase).filter(|p| !p.hide && p.kind != ForceParameterKind::Fixed).count();
    // A patch is broad, so that with one there is one column.
    let columns = if visible >= TWO_COLUMNS_FROM && codebase.patch.is_none() { 2 } else { 1 };
    let fields = parameters_of(codebase).map(|p| field(p, &codebase.codebase, worker_names)).collect();
    group(&codebase.codebase, &codebase.label, columns, fields)
}

/// A group that is not a parameter by itself.
fn group(name: &str, label: &str, columns: u64, fields: Vec<Value>) -> Value {
    json!({
        "name": name,
        "fullName": if name.is_empty() { Value::Null } else { name.into() },
        "label": label,
        "tablabel": label,
        "type": "nested",
        "default": "",
        "required": false,
        "multiple": false,
        "regex": null,
        "hide": false,
        "maxsize": null,
        "autopopulate": null,
        "tooltip": "",
        "layout": "vertical",
        "columns": columns,
        "fields": fields,
    })
}

fn field(parameter: &ForceParameter, prefix: &str, worker_names: &[String]) -> Value {
    let full = full_name(prefix, &parameter.name);
    let default = match default_of(parameter) {
        Value::Null => "".into(),
        default => default,
    };
    let mut field = Map::new();
    let mut set = |key: &str, value: Value| {
        field.insert(key.to_owned(), value);
    };
    set("name", parameter.name.as_str().into());
    set("fullName", if parameter.name.is_empty() { Value::Null } else { full.as_str().into() });
    set("label", parameter.label.as_str().into());
    set("tablabel", parameter.tablabel.as_str().into());
    set("default", default);
    set("required", parameter.required.into());
    set("multiple", parameter.multiple.into());
    set("regex", Value::Null);
    set("hide", (parameter.hide || parameter.kind == ForceParameterKind::Fixed).into());
    set("maxsize", parameter.maxsize.into());
    set("autopopulate", parameter.autopopulate.clone().unwrap_or(Value::Null));
    set("tooltip", parameter.tooltip.as_str().into());
    match &parameter.kind {
        ForceParameterKind::Fixed => set("type", "fixed".into()),
        ForceParameterKind::String { size } => {
            set("type", "text".into());
            set("size", (*size).into());
        }
        ForceParameterKind::Text { cols, rows } => {
            set("type", "textarea".into());
            set("size", 10.into());
            set("cols", (*cols).into());
            set("rows", (*rows).into());
        }
        ForceParameterKind::Int { size } => {
            set("type", "int".into());
            set("size", (*size).into());
        }
        ForceParameterKind::Bool => set("type", "bool".into()),
        ForceParameterKind::Username { size, need_email } => {
            set("type", "username".into());
            set("size", (*size).into());
            set("need_email", (*need_email).into());
        }
        ForceParameterKind::Choice { choices, strict } => {
            set("type", "list".into());
            set("choices", choices.as_slice().into());
            set("strict", (*strict).into());
        }
        ForceParameterKind::WorkerChoice => {
            set("type", "list".into());
            let any = std::iter::once(ANY_WORKER).chain(worker_names.iter().map(String::as_str));
            set("choices", any.collect());
            set("strict", false.into());
        }
        ForceParameterKind::InheritBuild { .. } => {
            set("type", "list".into());
            set("choices", json!([]));
            set("strict", false.into());
        }
        ForceParameterKind::File => set("type", "file".into()),
        ForceParameterKind::Nested { layout, columns, fields, .. } => {
            set("type", "nested".into());
            set("layout", layout.as_str().into());
            set("columns", columns.unwrap_or(1).into());
            set("fields", fields.iter().map(|p| self::field(p, &full, worker_names)).collect());
        }
    }
    Value::Object(field)
}
