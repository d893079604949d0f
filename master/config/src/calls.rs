//! Arguments for functions of the config.

use serde_json::{Map, Value};

/// What a function is called with.
///
/// Objects among the positional arguments become records: `change.files`, `change["files"]`,
/// `step.getProperty("x")`. `getProperty` looks at the field `properties` (of the object, or of its
/// field `build`), which holds `[value, source]` pairs as the API has them.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CallArgs {
    /// The first argument of a `@util.renderer` function: an object with `properties` and whatever else the
    /// build knows. If it is given, the other arguments are the config author's own and become plain dicts.
    #[serde(default)]
    pub scope: Option<Value>,
    /// Positional arguments.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Keyword arguments.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
}

impl CallArgs {
    /// Positional arguments.
    pub fn positional(args: impl IntoIterator<Item = Value>) -> Self {
        Self { args: args.into_iter().collect(), ..Self::default() }
    }

    /// For a `@util.renderer` function: its properties and the arguments of `withArgs`.
    pub fn renderer(scope: Value, args: Vec<Value>, kwargs: Map<String, Value>) -> Self {
        Self { scope: Some(scope), args, kwargs }
    }
}

/// An array is the list of positional arguments, an object with nothing but `args` and `kwargs` is
/// both, anything else is the only argument.
impl From<Value> for CallArgs {
    fn from(value: Value) -> Self {
        match value {
            Value::Array(args) => Self { args, ..Self::default() },
            Value::Object(mut fields)
                if fields.contains_key("args") && fields.keys().all(|k| k == "args" || k == "kwargs") =>
            {
                let args = fields.remove("args").unwrap_or_default();
                let kwargs = fields.remove("kwargs").unwrap_or_default();
                Self {
                    scope: None,
                    args: args.as_array().cloned().unwrap_or_default(),
                    kwargs: kwargs.as_object().cloned().unwrap_or_default(),
                }
            }
            other => Self { args: vec![other], ..Self::default() },
        }
    }
}
