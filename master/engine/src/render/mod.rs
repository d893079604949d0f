//! Rendering: values of the configuration that depend on the build become plain values.
//!
//! `Property`, `Interpolate` and the like are evaluated here, natively; only functions of the configuration go to an
//! evaluator process, through [`Calls`]. Rendering reads a [`Scope`], a snapshot of what a build knows, and changes
//! nothing, so it can be repeated at any time on any replica.

mod interpolate;
mod operators;

use std::collections::BTreeMap;

use async_trait::async_trait;
use buildguild_types::properties::Properties;
use buildguild_types::pyrepr;
use buildguild_types::render::{CallableRef, Renderable};
use buildguild_types::resources::SourceStamp;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

pub use operators::OperatorError;

/// How deep renderables may nest, callables that return renderables included.
const MAX_DEPTH: usize = 100;

/// Why something could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A format string that is none.
    #[error(transparent)]
    Format(#[from] buildguild_types::interpolation::InterpolationError),
    /// A value that its conversion cannot write.
    #[error("{0}")]
    Conversion(String),
    /// More conversions than arguments, or fewer.
    #[error("the format string wants {wanted} arguments, there are {given}")]
    ArgumentCount {
        /// Conversions in the string.
        wanted: usize,
        /// Arguments given.
        given: usize,
    },
    /// Operands that do not go together.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A secret that no provider has.
    #[error("secret key '{0}' is not found in any provider")]
    UnknownSecret(String),
    /// The key of a dictionary that is no text.
    #[error("the key of a dictionary must render to a text, not to {0}")]
    Key(&'static str),
    /// Something that should be a function.
    #[error("Transform wants a function, not {0}")]
    NotCallable(&'static str),
    /// Renderables within renderables without end.
    #[error("renderables are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A function of the configuration failed.
    #[error("'{name}' ({location}) failed: {source}")]
    Call {
        /// The function's name.
        name: String,
        /// Where it is defined.
        location: String,
        /// What happened.
        #[source]
        source: CallFailed,
    },
}

/// A function of the configuration failed, or could not be called.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallFailed {
    /// What happened, with function and line.
    pub message: String,
    /// Whether it may work another time: the evaluator was not there, rather than the function wrong.
    pub transient: bool,
}

/// A call of a function of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// What the build knows, if the function asks for it: the first argument of a `@renderer` function.
    pub scope: Option<Value>,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
}

/// Whoever can call functions of the configuration: the evaluator pool, or a test.
#[async_trait]
pub trait Calls: Send + Sync {
    /// Calls a function. What it returns may be a renderable again.
    async fn call(&self, function: &CallableRef, call: Call) -> Result<Renderable, CallFailed>;
}

/// What rendering reads.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The properties as they are now.
    pub properties: &'a Properties,
    /// The build's source stamps.
    pub sources: &'a [SourceStamp],
    /// What the worker said about itself.
    pub worker: &'a BTreeMap<String, Value>,
    /// Secrets by name.
    pub secrets: &'a BTreeMap<String, String>,
    /// The page of the build, for `URLForBuild`.
    pub build_url: &'a str,
    /// More about the build for functions: number, builder, worker, results so far.
    pub build: &'a Value,
    /// Calls functions.
    pub calls: &'a dyn Calls,
}

impl Scope<'_> {
    /// What a function gets as its view of the build.
    pub fn as_json(&self) -> Value {
        json!({
            "properties": self.properties,
            "sourcestamps": self.sources,
            "worker": self.worker,
            "build": self.build,
            "url": self.build_url,
        })
    }

    /// Renders a value.
    ///
    /// # Errors
    ///
    /// If a format, an operator, a secret or a function fails.
    pub async fn render(&self, value: &Renderable) -> Result<Value, RenderError> {
        if let Renderable::Literal { value } = value {
            return Ok(value.clone());
        }
        self.render_at(value, 0).await
    }

    /// Renders a value if there is one; `null` counts as none.
    ///
    /// # Errors
    ///
    /// As [`Scope::render`].
    pub async fn render_option(&self, value: Option<&Renderable>) -> Result<Option<Value>, RenderError> {
        match value {
            Some(value) => Ok(Some(self.render(value).await?).filter(|value| !value.is_null())),
            None => Ok(None),
        }
    }

    /// Calls a function of the configuration with these arguments and renders what it returns.
    ///
    /// # Errors
    ///
    /// If the function fails.
    pub async fn call(&self, function: &CallableRef, call: Call) -> Result<Value, RenderError> {
        self.call_at(function, call, 0).await
    }

    fn render_at<'s>(&'s self, value: &'s Renderable, depth: usize) -> BoxFuture<'s, Result<Value, RenderError>> {
        Box::pin(async move {
            if depth > MAX_DEPTH {
                return Err(RenderError::TooDeep);
            }
            let depth = depth + 1;
            match value {
                Renderable::Literal { value } => Ok(value.clone()),
                Renderable::List { items } => Ok(Value::Array(self.render_all(items, depth).await?)),
                Renderable::Dict { entries } => {
                    let mut rendered = Map::new();
                    for (key, value) in entries {
                        let key = match self.render_at(key, depth).await? {
                            Value::String(key) => key,
                            Value::Number(key) => key.to_string(),
                            other => return Err(RenderError::Key(pyrepr::type_name(&other))),
                        };
                        rendered.insert(key, self.render_at(value, depth).await?);
                    }
                    Ok(Value::Object(rendered))
                }
                Renderable::Property { name, default, default_when_false } => {
                    let found = self.properties.value(name);
                    match found {
                        Some(value) if !default_when_false || pyrepr::is_true(value) => Ok(value.clone()),
                        _ => match default {
                            Some(default) => self.render_at(default, depth).await,
                            None => Ok(Value::Null),
                        },
                    }
                }
                Renderable::Interpolate { format, args, kwargs } => {
                    interpolate::interpolate(self, format, args, kwargs, depth).await.map(Value::String)
                }
                Renderable::WithProperties { format, args, lambdas } => {
                    interpolate::with_properties(self, format, args, lambdas, depth).await.map(Value::String)
                }
                Renderable::Secret { name } => self.secret(name).map(Value::String),
                Renderable::Transform { function, args, kwargs } => {
                    let function = self.function(function, depth).await?;
                    let call = self.arguments(None, args, kwargs, depth).await?;
                    self.call_at(&function, call, depth).await
                }
                Renderable::FlattenList { nested } => {
                    let mut flat = Vec::new();
                    flatten(self.render_at(nested, depth).await?, &mut flat);
                    Ok(Value::Array(flat))
                }
                Renderable::UrlForBuild => Ok(Value::String(self.build_url.to_owned())),
                Renderable::Operation { operator, left, right } => {
                    let left = self.render_at(left, depth).await?;
                    let right = self.render_at(right, depth).await?;
                    Ok(operators::apply(*operator, &left, &right)?)
                }
                Renderable::Callable { callable, args, kwargs } => {
                    let call = self.arguments(Some(self.as_json()), args, kwargs, depth).await?;
                    self.call_at(callable, call, depth).await
                }
            }
        })
    }

    async fn render_all(&self, items: &[Renderable], depth: usize) -> Result<Vec<Value>, RenderError> {
        let mut rendered = Vec::with_capacity(items.len());
        for item in items {
            rendered.push(self.render_at(item, depth).await?);
        }
        Ok(rendered)
    }

    async fn arguments(
        &self,
        scope: Option<Value>,
        args: &[Renderable],
        kwargs: &BTreeMap<String, Renderable>,
        depth: usize,
    ) -> Result<Call, RenderError> {
        let args = self.render_all(args, depth).await?;
        let mut rendered = Map::new();
        for (name, value) in kwargs {
            rendered.insert(name.clone(), self.render_at(value, depth).await?);
        }
        Ok(Call { scope, args, kwargs: rendered })
    }

    /// The function of a `Transform`: a plain function is wrapped as a callable without arguments.
    async fn function(&self, function: &Renderable, depth: usize) -> Result<CallableRef, RenderError> {
        match function {
            Renderable::Callable { callable, args, kwargs } if args.is_empty() && kwargs.is_empty() => {
                Ok(callable.clone())
            }
            other => {
                let value = self.render_at(other, depth).await?;
                serde_json::from_value(value.clone()).map_err(|_| RenderError::NotCallable(pyrepr::type_name(&value)))
            }
        }
    }

    async fn call_at(&self, function: &CallableRef, call: Call, depth: usize) -> Result<Value, RenderError> {
        let result = self.calls.call(function, call).await.map_err(|source| RenderError::Call {
            name: function.name.clone(),
            location: function.location.clone(),
            source,
        })?;
        self.render_at(&result, depth).await
    }

    fn secret(&self, name: &str) -> Result<String, RenderError> {
        self.secrets.get(name).cloned().ok_or_else(|| RenderError::UnknownSecret(name.to_owned()))
    }

    /// An attribute of the source stamp of a code base. The outer `None`: there is no such attribute.
    fn source_attribute(&self, codebase: &str, attribute: &str) -> Option<Value> {
        let source = self.sources.iter().find(|source| source.codebase == codebase)?;
        Some(match attribute {
            "branch" => json!(source.branch),
            "revision" => json!(source.revision),
            "repository" => json!(source.repository),
            "project" => json!(source.project),
            "codebase" => json!(source.codebase),
            "patch" => json!(source.patch),
            "ssid" => json!(source.ssid),
            "created_at" => json!(source.created_at),
            _ => return None,
        })
    }
}

fn flatten(value: Value, flat: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.into_iter().for_each(|item| flatten(item, flat)),
        other => flat.push(other),
    }
}

#[cfg(test)]
mod tests;
