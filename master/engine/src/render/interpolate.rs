//! Fills templates with values.

use std::collections::BTreeMap;

use buildguild_types::interpolation::{FormatSpec, LookupKey, Piece, Substitution, Template};
use buildguild_types::pyrepr;
use buildguild_types::render::{CallableRef, Renderable};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Call, RenderError, Scope};

/// Where the lookups of one template find their values.
struct Filler<'a> {
    scope: &'a Scope<'a>,
    kwargs: &'a BTreeMap<String, Renderable>,
    lambdas: Option<&'a BTreeMap<String, CallableRef>>,
    depth: usize,
}

pub(super) async fn interpolate(
    scope: &Scope<'_>,
    format: &str,
    args: &[Renderable],
    kwargs: &BTreeMap<String, Renderable>,
    depth: usize,
) -> Result<String, RenderError> {
    let template = Template::parse(format)?;
    let values = scope.render_all(args, depth).await?;
    let filler = Filler { scope, kwargs, lambdas: None, depth };
    filler.fill(&template, &values).await
}

pub(super) async fn with_properties(
    scope: &Scope<'_>,
    format: &str,
    names: &[String],
    lambdas: &BTreeMap<String, CallableRef>,
    depth: usize,
) -> Result<String, RenderError> {
    let template = Template::parse_with_properties(format)?;
    let values: Vec<Value> = names
        .iter()
        .map(|name| match scope.properties.value(name) {
            None | Some(Value::Null) => Value::String(String::new()),
            Some(value) => value.clone(),
        })
        .collect();
    let kwargs = BTreeMap::new();
    let filler = Filler { scope, kwargs: &kwargs, lambdas: Some(lambdas), depth };
    filler.fill(&template, &values).await
}

impl Filler<'_> {
    async fn fill(&self, template: &Template, args: &[Value]) -> Result<String, RenderError> {
        let wanted = template.0.iter().filter(|piece| matches!(piece, Piece::Positional(_))).count();
        if wanted != args.len() {
            return Err(RenderError::ArgumentCount { wanted, given: args.len() });
        }
        let mut args = args.iter();
        let mut out = String::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Positional(format) => out.push_str(&write(format, args.next().unwrap_or(&Value::Null))?),
                Piece::Lookup { key, substitution, format } => {
                    let value = self.value(key, substitution).await?;
                    out.push_str(&write(format, &value)?);
                }
            }
        }
        Ok(out)
    }

    /// Replacements recurse through this box; the parser limits how deep they nest.
    fn replacement<'s>(&'s self, template: &'s Template) -> BoxFuture<'s, Result<Value, RenderError>> {
        Box::pin(async move { self.fill(template, &[]).await.map(Value::String) })
    }

    async fn value(&self, key: &LookupKey, substitution: &Substitution) -> Result<Value, RenderError> {
        // A replacement makes a missing secret or keyword harmless; without one it is a mistake.
        let found = match (self.find(key).await?, substitution, key) {
            (None, Substitution::Value, LookupKey::Secret(name)) => {
                return Err(RenderError::UnknownSecret(name.clone()));
            }
            (found, _, _) => found,
        };
        let is_true = found.as_ref().is_some_and(pyrepr::is_true);
        let nothing = || Value::String(String::new());
        let value = match substitution {
            Substitution::Value => found.unwrap_or_else(nothing),
            Substitution::IfMissing(template) => match found {
                Some(value) => value,
                None => self.replacement(template).await?,
            },
            Substitution::IfFalse(template) => match found {
                Some(value) if is_true => value,
                _ => self.replacement(template).await?,
            },
            Substitution::IfPresent(template) => match found {
                Some(_) => self.replacement(template).await?,
                None => nothing(),
            },
            Substitution::Ternary { by_truth, yes, no } => {
                let branch = if *by_truth { is_true } else { found.is_some() };
                self.replacement(if branch { yes } else { no }).await?
            }
        };
        Ok(if value.is_null() { nothing() } else { value })
    }

    async fn find(&self, key: &LookupKey) -> Result<Option<Value>, RenderError> {
        Ok(match key {
            LookupKey::Property(name) => match self.scope.properties.value(name) {
                Some(value) => Some(value.clone()),
                None => match self.lambdas.and_then(|lambdas| lambdas.get(name)) {
                    Some(lambda) => {
                        let call = Call { scope: Some(self.scope.as_json()), ..Call::default() };
                        Some(self.scope.call_at(lambda, call, self.depth).await?)
                    }
                    None => None,
                },
            },
            LookupKey::Source { codebase, attribute } => self.scope.source_attribute(codebase, attribute),
            LookupKey::Keyword(name) => match self.kwargs.get(name) {
                Some(value) => Some(self.scope.render_at(value, self.depth).await?),
                None => None,
            },
            LookupKey::Secret(name) => self.scope.secrets.get(name).cloned().map(Value::String),
            LookupKey::Worker(name) => self.scope.worker.get(name).cloned(),
        })
    }
}

fn write(format: &FormatSpec, value: &Value) -> Result<String, RenderError> {
    format.write(value).map_err(RenderError::Conversion)
}
