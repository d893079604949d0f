//! The value of one field.

use regex::Regex;
use serde_json::Value;

use super::default_of;
use crate::farm::{ForceParameter, ForceParameterKind};
use crate::limits::{FILE_BYTES, LONG_TEXT_BYTES, TEXT_BYTES};

/// The value of a parameter that is no group, given what the form has for it. An error is a text for the user.
pub(super) fn value_of(parameter: &ForceParameter, sent: Option<&Value>) -> Result<Value, String> {
    if parameter.kind == ForceParameterKind::Fixed {
        return Ok(default_of(parameter));
    }
    let sent = sent.unwrap_or(&Value::Null);
    if parameter.multiple {
        let sent: &[Value] = match sent {
            Value::Array(values) => values,
            one => std::slice::from_ref(one),
        };
        let given: Vec<&Value> = sent.iter().filter(|v| !is_blank(v)).collect();
        if given.is_empty() {
            return absent(parameter).map(|default| match default {
                Value::Array(values) => Value::Array(values),
                default if is_blank(&default) => Value::Array(Vec::new()),
                default => Value::Array(vec![default]),
            });
        }
        return given.into_iter().map(|v| single(parameter, v)).collect::<Result<Vec<_>, _>>().map(Value::Array);
    }
    // Some clients send every value as a list of one.
    let sent = match sent {
        Value::Array(values) => values.first().unwrap_or(match parameter.kind {
            ForceParameterKind::Bool => &Value::Bool(false),
            _ => &Value::Null,
        }),
        one => one,
    };
    if is_blank(sent) { absent(parameter) } else { single(parameter, sent) }
}

/// What a field that was left empty has. A required one must be filled in, even if it has a default.
fn absent(parameter: &ForceParameter) -> Result<Value, String> {
    if parameter.required {
        return Err(format!("'{}' needs to be specified", parameter.label));
    }
    let default = default_of(parameter);
    if let ForceParameterKind::Choice { choices, strict: true } = &parameter.kind
        && !parameter.multiple
        && is_blank(&default)
        && !choices.iter().any(|choice| choice.trim().is_empty())
    {
        // Without a default one has to choose.
        return Err(no_choice("", choices));
    }
    Ok(match (&parameter.kind, default) {
        (ForceParameterKind::Int { .. }, Value::Null) => 0.into(),
        (ForceParameterKind::Bool, Value::Null) => false.into(),
        (_, Value::Null) => "".into(),
        (_, default) => default,
    })
}

fn no_choice(text: &str, choices: &[String]) -> String {
    let choices: Vec<String> = choices.iter().map(|c| format!("'{c}'")).collect();
    format!("'{text}' does not belong to list of available choices '[{}]'", choices.join(", "))
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// Checks one value that was given.
fn single(parameter: &ForceParameter, sent: &Value) -> Result<Value, String> {
    match &parameter.kind {
        ForceParameterKind::Int { .. } => integer(sent),
        ForceParameterKind::Bool => Ok(Value::Bool(match sent {
            Value::Bool(value) => *value,
            Value::String(text) => matches!(text.trim().to_ascii_lowercase().as_str(), "true" | "on" | "yes" | "1"),
            Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        })),
        ForceParameterKind::Choice { choices, strict } => {
            let text = text(parameter, sent)?;
            if *strict && !choices.contains(&text) {
                return Err(no_choice(&text, choices));
            }
            match too_large(parameter, &text) {
                Some(error) => Err(error),
                None => Ok(text.into()),
            }
        }
        ForceParameterKind::Username { need_email, .. } => {
            let text = checked_text(parameter, sent)?;
            if *need_email && !looks_like_email(&text) {
                return Err(format!(
                    "{}: please fill in email address in the form 'User <email@email.com>'",
                    parameter.name
                ));
            }
            Ok(text.into())
        }
        ForceParameterKind::String { .. }
        | ForceParameterKind::Text { .. }
        | ForceParameterKind::WorkerChoice
        | ForceParameterKind::InheritBuild { .. }
        | ForceParameterKind::File => checked_text(parameter, sent).map(Value::String),
        // Neither gets here; a group's values are those of its fields, and a fixed one's is the default.
        ForceParameterKind::Fixed | ForceParameterKind::Nested { .. } => Ok(default_of(parameter)),
    }
}

/// How long a text may be: what the parameter says, else what is sane for its kind.
///
/// Buildbot knows the first only, and counts characters.
fn too_large(parameter: &ForceParameter, text: &str) -> Option<String> {
    let limit = match (parameter.maxsize, &parameter.kind) {
        (Some(limit), _) => limit,
        (None, ForceParameterKind::File) => FILE_BYTES as u64,
        (None, ForceParameterKind::Text { .. }) => LONG_TEXT_BYTES as u64,
        (None, _) => TEXT_BYTES as u64,
    };
    let length = if parameter.maxsize.is_some() { text.chars().count() } else { text.len() };
    (length as u64 > limit).then(|| format!("{}: is too large {length} > {limit}", parameter.label))
}

/// A text within the parameter's size that matches its pattern.
fn checked_text(parameter: &ForceParameter, sent: &Value) -> Result<String, String> {
    let text = text(parameter, sent)?;
    if let Some(error) = too_large(parameter, &text) {
        return Err(error);
    }
    if let Some(pattern) = &parameter.regex {
        // As Python's `re.match`: at the start, not necessarily to the end.
        let matches = Regex::new(&format!("^(?:{pattern})")).is_ok_and(|regex| regex.is_match(&text));
        if !matches {
            return Err(format!("{}:'{text}' does not match pattern '{pattern}'", parameter.label));
        }
    }
    Ok(text)
}

fn text(parameter: &ForceParameter, sent: &Value) -> Result<String, String> {
    match sent {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("'{}' needs to be a text", parameter.label))
        }
    }
}

/// An integer as Python's `int()` reads it.
fn integer(sent: &Value) -> Result<Value, String> {
    match sent {
        Value::Number(number) => match number.as_i64() {
            Some(n) => Ok(n.into()),
            #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
            None => match number.as_f64() {
                Some(n) if n.abs() < 9e18 => Ok((n.trunc() as i64).into()),
                _ => Err(format!("{number} is too large for an integer")),
            },
        },
        Value::Bool(b) => Ok(i64::from(*b).into()),
        Value::String(text) => {
            let digits = text.trim();
            let plain = digits.replace('_', "");
            let underscores_inside = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
            match plain.parse::<i64>() {
                Ok(n) if underscores_inside => Ok(n.into()),
                _ => Err(format!("invalid literal for int() with base 10: '{text}'")),
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => Err("int() argument must be a number or a text".to_owned()),
    }
}

fn looks_like_email(text: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || c == '<' || c == '>').any(|word| {
        word.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && host.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
        })
    })
}
