//! Values of the config as renderables.

use std::collections::BTreeMap;

use buildguild_types::interpolation::{LookupKey, Template};
use buildguild_types::render::{CallableRef, Operator, Renderable};
use serde_json::{Map, Value};

use super::Lower;
use crate::lang::{Node, ObjectNode};
use crate::schema::Kind;

impl Lower<'_> {
    /// A plain JSON value, or what in it is none.
    pub(super) fn json(node: &Node) -> Result<Value, String> {
        Ok(match node {
            Node::Null | Node::Placeholder => Value::Null,
            Node::Bool(b) => Value::Bool(*b),
            Node::Int(i) => Value::from(*i),
            Node::Float(f) => Value::from(*f),
            Node::Str(s) => Value::from(s.as_str()),
            Node::List(items) => Value::Array(items.iter().map(Self::json).collect::<Result<_, _>>()?),
            Node::Dict(entries) => {
                let mut map = Map::new();
                for (k, v) in entries {
                    let key = match k {
                        Node::Str(s) => s.clone(),
                        Node::Int(i) => i.to_string(),
                        _ => return Err("a dict whose keys are no strings".to_owned()),
                    };
                    map.insert(key, Self::json(v)?);
                }
                Value::Object(map)
            }
            Node::Object(o) => return Err(o.class.kind.describe().to_owned()),
            Node::Call(c) => return Err(format!("the function {}", c.name)),
            Node::Other(what) => return Err(what.clone()),
        })
    }

    /// A value that may have to be rendered; problems are reported at the argument.
    pub(super) fn renderable(&self, node: &Node, owner: &ObjectNode, argument: &str) -> Renderable {
        match node {
            Node::List(items) => {
                let items: Vec<Renderable> = items.iter().map(|i| self.renderable(i, owner, argument)).collect();
                match items.iter().map(|i| i.as_literal().cloned()).collect::<Option<Vec<Value>>>() {
                    Some(plain) => Renderable::literal(plain),
                    None => Renderable::List { items },
                }
            }
            Node::Dict(entries) => {
                if let Ok(plain) = Self::json(node) {
                    return Renderable::Literal { value: plain };
                }
                let entries = entries
                    .iter()
                    .map(|(k, v)| (self.renderable(k, owner, argument), self.renderable(v, owner, argument)))
                    .collect();
                Renderable::Dict { entries }
            }
            Node::Object(object) if object.class.kind == Kind::Renderable => self.renderable_object(object),
            plain => match Self::json(plain) {
                Ok(value) => Renderable::Literal { value },
                Err(what) => {
                    self.report.argument(
                        owner,
                        argument,
                        format!("{}: argument `{argument}` cannot hold {what}", owner.class.name),
                        matches!(plain, Node::Call(_)).then(|| "did you mean util.renderer(function)?".to_owned()),
                    );
                    Renderable::literal(Value::Null)
                }
            },
        }
    }

    fn renderable_object(&self, o: &ObjectNode) -> Renderable {
        let text = |name: &str| match o.arg(name) {
            Some(Node::Str(s)) => s.clone(),
            _ => String::new(),
        };
        match o.class.name {
            "Property" => {
                if let Some(Node::Object(_)) = o.arg("key") {
                    self.report.argument(o, "key", "Property: the name must be a string", None);
                }
                Renderable::Property {
                    name: text("key"),
                    default: o.arg("default").map(|d| Box::new(self.renderable(d, o, "default"))),
                    default_when_false: !matches!(o.arg("defaultWhenFalse"), Some(Node::Bool(false) | Node::Int(0))),
                }
            }
            "Interpolate" => {
                let format = text("fmtstring");
                let kwargs = self.kwargs(o);
                self.check_interpolation(o, &format, &kwargs);
                Renderable::Interpolate { format, args: self.extra(o), kwargs }
            }
            "WithProperties" => self.with_properties(o, text("fmtstring")),
            "Secret" => Renderable::Secret { name: text("key") },
            "renderer" => match o.arg("fn") {
                Some(Node::Call(callable)) => callable_renderable(callable, Vec::new(), BTreeMap::new()),
                _ => Renderable::literal(Value::Null),
            },
            "<withArgs>" => {
                let inner = o.arg("fn").map(|f| self.renderable(f, o, "fn"));
                match inner {
                    Some(Renderable::Callable { callable, mut args, mut kwargs }) => {
                        args.extend(self.extra(o));
                        kwargs.extend(self.kwargs(o));
                        Renderable::Callable { callable, args, kwargs }
                    }
                    _ => {
                        self.report.argument(o, "withArgs", "withArgs: only a util.renderer takes arguments", None);
                        Renderable::literal(Value::Null)
                    }
                }
            }
            "Transform" => {
                let function = match o.arg("function") {
                    Some(Node::Call(callable)) => callable_renderable(callable, Vec::new(), BTreeMap::new()),
                    Some(other) => self.renderable(other, o, "function"),
                    None => Renderable::literal(Value::Null),
                };
                Renderable::Transform { function: Box::new(function), args: self.extra(o), kwargs: self.kwargs(o) }
            }
            "FlattenList" => {
                let nested = o.arg("nestedlist").unwrap_or(&Node::Null);
                Renderable::FlattenList { nested: Box::new(self.renderable(nested, o, "nestedlist")) }
            }
            "<URLForBuild>" => Renderable::UrlForBuild,
            "<operation>" => {
                let side = |name: &str| Box::new(self.renderable(o.arg(name).unwrap_or(&Node::Null), o, name));
                let operator = match text("operator").as_str() {
                    "eq" => Operator::Eq,
                    "ne" => Operator::Ne,
                    "lt" => Operator::Lt,
                    "le" => Operator::Le,
                    "gt" => Operator::Gt,
                    "ge" => Operator::Ge,
                    "add" => Operator::Add,
                    "sub" => Operator::Sub,
                    "mul" => Operator::Mul,
                    "div" => Operator::Div,
                    "floor_div" => Operator::FloorDiv,
                    "mod" => Operator::Mod,
                    _ => Operator::In,
                };
                Renderable::Operation { operator, left: side("left"), right: side("right") }
            }
            _ => Renderable::literal(Value::Null),
        }
    }

    fn extra(&self, o: &ObjectNode) -> Vec<Renderable> {
        o.extra.iter().map(|n| self.renderable(n, o, "")).collect()
    }

    fn kwargs(&self, o: &ObjectNode) -> BTreeMap<String, Renderable> {
        o.kwargs.iter().map(|(k, n)| (k.clone(), self.renderable(n, o, k))).collect()
    }

    fn check_interpolation(&self, o: &ObjectNode, format: &str, kwargs: &BTreeMap<String, Renderable>) {
        match Template::parse(format) {
            Err(e) => self.report.argument(o, "fmtstring", format!("Interpolate: {e}"), None),
            Ok(template) => {
                for key in template.keys() {
                    if let LookupKey::Keyword(name) = key
                        && !kwargs.contains_key(name)
                    {
                        let message = format!("Interpolate: `%(kw:{name})s` has no keyword argument `{name}`");
                        let help = crate::diagnostic::suggest(name, kwargs.keys().map(String::as_str));
                        self.report.argument(o, "fmtstring", message, help);
                    }
                }
                if !o.extra.is_empty() && !kwargs.is_empty() {
                    self.report.argument(
                        o,
                        "fmtstring",
                        "Interpolate: positional and keyword arguments cannot be mixed",
                        None,
                    );
                }
            }
        }
    }

    fn with_properties(&self, o: &ObjectNode, format: String) -> Renderable {
        if let Err(e) = Template::parse_with_properties(&format) {
            self.report.argument(o, "fmtstring", format!("WithProperties: {e}"), None);
        }
        let mut args = Vec::new();
        for node in &o.extra {
            match node {
                Node::Str(name) => args.push(name.clone()),
                _ => self.report.argument(
                    o,
                    "",
                    "WithProperties: positional arguments are names of properties",
                    Some("use util.Interpolate".to_owned()),
                ),
            }
        }
        let mut lambdas = BTreeMap::new();
        for (name, node) in &o.kwargs {
            match node {
                Node::Call(callable) => {
                    lambdas.insert(name.clone(), callable.clone());
                }
                _ => self.report.argument(o, name, "WithProperties: keyword arguments are functions", None),
            }
        }
        Renderable::WithProperties { format, args, lambdas }
    }
}

fn callable_renderable(
    callable: &CallableRef,
    args: Vec<Renderable>,
    kwargs: BTreeMap<String, Renderable>,
) -> Renderable {
    Renderable::Callable { callable: callable.clone(), args, kwargs }
}
