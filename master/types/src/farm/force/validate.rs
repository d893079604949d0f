//! From a filled-in form to what it asks for, with all errors at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    ANY_WORKER, ForceCall, ForceErrors, ForcePatch, ForceRequest, ForceSourceStamp, force_config, form::parameters_of,
    full_name, literal_builder_names, value::value_of,
};
use crate::{
    farm::{CodebaseParameter, ForceParameter, ForceParameterKind, SchedulerConfig},
    properties::Properties,
};

/// The source of the properties that come from a form.
const SOURCE: &str = "Force Build Form";

/// Checks a filled-in form.
///
/// # Errors
/// All fields that are wrong, by `fullName`. Also if the scheduler is no force scheduler.
pub fn validate(scheduler: &SchedulerConfig, call: ForceCall<'_>) -> Result<ForceRequest, ForceErrors> {
    let Some(config) = force_config(scheduler) else {
        return Err(ForceErrors(BTreeMap::from([(
            "name".to_owned(),
            format!("'{}' is not a force scheduler", scheduler.name),
        )])));
    };
    let mut reader = Reader { params: call.params, errors: BTreeMap::new() };
    let builder_names = reader.builders(scheduler, call.builder_by_id);
    let username = reader.value(&config.username, "");
    let reason = text_of(reader.value(&config.reason, ""));
    let priority = reader.value(&config.priority, "").as_i64().unwrap_or(0);
    let owner = match call.user {
        Some(user) => {
            // The user is known, so it does not matter what the form says, or whether it says anything.
            reader.errors.remove(&full_name("", &config.username.name));
            user.to_owned()
        }
        None => text_of(username),
    };
    let sourcestamps = config.codebases.iter().map(|codebase| reader.sourcestamp(codebase)).collect();
    let mut values = Map::new();
    for parameter in &config.properties {
        reader.collect(parameter, "", &mut values);
    }
    if !reader.errors.is_empty() {
        return Err(ForceErrors(reader.errors));
    }
    let reason_text = python_format(&config.reason_string, &owner, &reason, &values);
    let mut properties: Properties = Properties::new();
    for (name, value) in values {
        properties.set(name, value, SOURCE);
    }
    properties.set("reason", reason, SOURCE);
    properties.set("owner", owner, SOURCE);
    properties.set("scheduler", scheduler.name.as_str(), "Scheduler");
    Ok(ForceRequest { builder_names, reason: reason_text, priority, properties, sourcestamps })
}

struct Reader<'a> {
    params: &'a Map<String, Value>,
    errors: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn builders(&mut self, scheduler: &SchedulerConfig, by_id: Option<&str>) -> Vec<String> {
        let ours = literal_builder_names(scheduler);
        let asked: Vec<String> = if self.params.get("builderid").is_some_and(|v| !v.is_null()) {
            match by_id {
                Some(name) => vec![name.to_owned()],
                None => {
                    self.errors.insert("builderid".to_owned(), "there is no such builder".to_owned());
                    return Vec::new();
                }
            }
        } else {
            match self.params.get("builderNames") {
                None | Some(Value::Null) => return ours,
                Some(Value::String(name)) => vec![name.clone()],
                // One that is no name is none of the scheduler's either.
                Some(Value::Array(names)) => {
                    names.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect()
                }
                Some(_) => Vec::new(),
            }
        };
        let key = if by_id.is_some() { "builderid" } else { "builderNames" };
        let (known, unknown): (Vec<String>, Vec<String>) = asked.into_iter().partition(|name| ours.contains(name));
        if let Some(name) = unknown.first() {
            self.errors.insert(key.to_owned(), format!("'{name}' is not a builder of this scheduler"));
        } else if known.is_empty() {
            self.errors.insert(key.to_owned(), "builderNames not specified or not supported".to_owned());
        }
        known
    }

    /// The value of one field; an error is noted.
    fn value(&mut self, parameter: &ForceParameter, prefix: &str) -> Value {
        let name = full_name(prefix, &parameter.name);
        match value_of(parameter, self.params.get(&name)) {
            Ok(value) => value,
            Err(error) => {
                self.errors.insert(name, error);
                Value::Null
            }
        }
    }

    /// Adds what a parameter sets to the values around it.
    fn collect(&mut self, parameter: &ForceParameter, prefix: &str, into: &mut Map<String, Value>) {
        let ForceParameterKind::Nested { form_type, fields, .. } = &parameter.kind else {
            let value = self.value(parameter, prefix);
            if parameter.kind == ForceParameterKind::WorkerChoice && value.as_str() == Some(ANY_WORKER) {
                // A property would keep the build waiting for a worker of that name; an empty one does not.
                return;
            }
            into.insert(parameter.name.clone(), value);
            return;
        };
        let prefix = full_name(prefix, &parameter.name);
        if parameter.name.is_empty() {
            for field in fields {
                self.collect(field, &prefix, into);
            }
            return;
        }
        let mut inside = Map::new();
        for field in fields {
            self.collect(field, &prefix, &mut inside);
        }
        if form_type == "any_property" {
            // A pair of a name and a value, which sets the property of that name, or none.
            let name = inside.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !name.is_empty() {
                into.insert(name, inside.remove("value").unwrap_or(Value::Null));
            }
        } else {
            into.insert(parameter.name.clone(), Value::Object(inside));
        }
    }

    fn sourcestamp(&mut self, codebase: &CodebaseParameter) -> ForceSourceStamp {
        let mut stamp = ForceSourceStamp { codebase: codebase.codebase.clone(), ..ForceSourceStamp::default() };
        for (parameter, field) in [
            (&codebase.branch, &mut stamp.branch),
            (&codebase.revision, &mut stamp.revision),
            (&codebase.repository, &mut stamp.repository),
            (&codebase.project, &mut stamp.project),
        ] {
            if let Some(parameter) = parameter {
                *field = text_of(self.value(parameter, &codebase.codebase));
            }
        }
        debug_assert!(parameters_of(codebase).count() <= 5, "a code base has four fields and a patch");
        if let Some(patch) = &codebase.patch {
            let mut values = Map::new();
            self.collect(patch, &codebase.codebase, &mut values);
            let mut inside = match values.remove(&patch.name) {
                Some(Value::Object(inside)) => inside,
                _ => values,
            };
            let mut text = |name: &str| text_of(inside.remove(name).unwrap_or(Value::Null));
            let body = text("body");
            if !body.is_empty() {
                let (author, comment, subdir) = (text("author"), text("comment"), text("subdir"));
                let level = inside.get("level").and_then(Value::as_i64).unwrap_or(1);
                stamp.patch = Some(ForcePatch { body, level, author, comment, subdir });
            }
        }
        stamp
    }
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `format % {...}` for `%(name)s`, as `reasonString` uses it. A name that nobody knows stays as it is.
fn python_format(format: &str, owner: &str, reason: &str, values: &Map<String, Value>) -> String {
    let mut out = String::with_capacity(format.len() + reason.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("%%") {
            out.push('%');
            rest = behind;
            continue;
        }
        let named = rest.strip_prefix("%(").and_then(|r| r.split_once(")s"));
        let value = named.and_then(|(name, _)| match name {
            "owner" => Some(owner.to_owned()),
            "reason" => Some(reason.to_owned()),
            name => values.get(name).cloned().map(text_of),
        });
        match (named, value) {
            (Some((_, behind)), Some(value)) => {
                out.push_str(&value);
                rest = behind;
            }
            _ => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}
