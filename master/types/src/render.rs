//! Renderables as data: values of the configuration that are only known once a build runs.
//!
//! The configuration evaluates to these; the engine renders them. A callable stays a reference into the configuration
//! version it came from, so that any replica can call it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A reference to a function of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallableRef {
    /// Its path in the configuration, stable for one configuration hash, for example `builders/runtests/nextWorker`.
    pub path: String,
    /// The function's name, for messages; `lambda` for one without.
    pub name: String,
    /// Where it is defined, `file:line`, for messages.
    pub location: String,
}

/// An operator between two renderables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `//`
    FloorDiv,
    /// `%`
    Mod,
    /// `.in_(...)`
    In,
}

/// A value that may have to be rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Renderable {
    /// A plain value with nothing to render in it.
    Literal {
        /// The value.
        value: Value,
    },
    /// A list with something to render in it.
    List {
        /// Its items.
        items: Vec<Renderable>,
    },
    /// A dictionary with something to render in it, keys included.
    Dict {
        /// Its entries in order.
        entries: Vec<(Renderable, Renderable)>,
    },
    /// `Property(name, default=..., defaultWhenFalse=True)`
    Property {
        /// The property's name.
        name: String,
        /// What to give when it is missing.
        default: Option<Box<Renderable>>,
        /// Whether a false value counts as missing.
        default_when_false: bool,
    },
    /// `Interpolate(format, *args, **kwargs)`
    Interpolate {
        /// The format string.
        format: String,
        /// Positional arguments; never together with `kwargs`.
        args: Vec<Renderable>,
        /// Keyword arguments, for `%(kw:name)s`.
        kwargs: BTreeMap<String, Renderable>,
    },
    /// `WithProperties(format, *args, **lambdas)`, the old form.
    WithProperties {
        /// The format string.
        format: String,
        /// Names of properties for `%s`.
        args: Vec<String>,
        /// Callables for names that are no properties.
        lambdas: BTreeMap<String, CallableRef>,
    },
    /// `Secret(name)`
    Secret {
        /// The secret's name.
        name: String,
    },
    /// `Transform(function, *args, **kwargs)`
    Transform {
        /// The function, or something that renders to one.
        function: Box<Renderable>,
        /// Positional arguments.
        args: Vec<Renderable>,
        /// Keyword arguments.
        kwargs: BTreeMap<String, Renderable>,
    },
    /// `FlattenList(nested)`
    FlattenList {
        /// The nested list.
        nested: Box<Renderable>,
    },
    /// `URLForBuild`
    UrlForBuild,
    /// `left OP right`
    Operation {
        /// The operator.
        operator: Operator,
        /// Its left side.
        left: Box<Renderable>,
        /// Its right side.
        right: Box<Renderable>,
    },
    /// A `@renderer` function, called with the properties and these arguments.
    Callable {
        /// The function.
        callable: CallableRef,
        /// Arguments given by `withArgs`.
        args: Vec<Renderable>,
        /// Keyword arguments given by `withArgs`.
        kwargs: BTreeMap<String, Renderable>,
    },
}

impl Renderable {
    /// A value with nothing to render.
    pub fn literal(value: impl Into<Value>) -> Self {
        Self::Literal { value: value.into() }
    }

    /// The value, if there is nothing to render in it.
    pub fn as_literal(&self) -> Option<&Value> {
        match self {
            Self::Literal { value } => Some(value),
            _ => None,
        }
    }

    /// The text, if this is a plain text.
    pub fn as_str(&self) -> Option<&str> {
        self.as_literal().and_then(Value::as_str)
    }
}
