//! From the tree of a config to the typed farm model. Everything that is wrong is reported at its
//! place, and what is right goes on.

mod builders;
mod changes;
mod check;
mod cron;
mod force;
mod global;
mod locks;
mod render;
mod schedulers;
mod steps;
mod workers;
mod www;

use std::collections::BTreeMap;

use buildguild_types::farm::{FarmConfig, OrCallable};
use buildguild_types::render::{CallableRef, Renderable};
use serde_json::Value;

use crate::lang::{Node, ObjectNode, Reporter};
use crate::schema::{Default as ParamDefault, Kind};

/// Lowers the entries of `BuildmasterConfig`.
pub(crate) fn lower(entries: &[(String, Node)], report: Reporter<'_>) -> FarmConfig {
    let lower = Lower { report };
    let mut farm = FarmConfig::default();
    lower.globals(entries, &mut farm);
    lower.check(entries, &farm);
    farm
}

/// A value that a function returned.
pub(crate) fn returned(node: &Node, report: Reporter<'_>) -> Renderable {
    let lower = Lower { report };
    let owner = ObjectNode::nobody();
    lower.renderable(node, &owner, "")
}

struct Lower<'c> {
    report: Reporter<'c>,
}

/// Typed access to the arguments of an object, with the schema's defaults. Types were checked when
/// the object was made, so a mismatch here was reported and the default stands in.
impl Lower<'_> {
    fn default_of(o: &ObjectNode, name: &str) -> ParamDefault {
        o.class.param(name).map_or(ParamDefault::None, |p| o.class.default_of(p))
    }

    fn opt_str(&self, o: &ObjectNode, name: &str) -> Option<String> {
        match o.arg(name) {
            Some(Node::Str(s)) => Some(s.clone()),
            Some(_) => None,
            None if o.is_given(name) => None,
            None => match Self::default_of(o, name) {
                ParamDefault::Str(s) => Some(s.to_owned()),
                _ => None,
            },
        }
    }

    fn str(&self, o: &ObjectNode, name: &str) -> String {
        self.opt_str(o, name).unwrap_or_default()
    }

    fn bool(&self, o: &ObjectNode, name: &str) -> bool {
        match o.arg(name) {
            Some(Node::Bool(b)) => *b,
            Some(Node::Int(i)) => *i != 0,
            _ => Self::default_of(o, name) == ParamDefault::Bool(true),
        }
    }

    fn float(&self, o: &ObjectNode, name: &str) -> Option<f64> {
        match o.arg(name) {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a config are far below 2^52")]
            Some(Node::Int(i)) => Some(*i as f64),
            Some(Node::Float(f)) => Some(*f),
            Some(_) => None,
            None if o.is_given(name) => None,
            None => match Self::default_of(o, name) {
                #[expect(clippy::cast_precision_loss, reason = "defaults are small")]
                ParamDefault::Int(i) => Some(i as f64),
                _ => None,
            },
        }
    }

    /// A duration in whole seconds; a negative one is reported.
    fn seconds(&self, o: &ObjectNode, name: &str) -> Option<u64> {
        let value = self.float(o, name)?;
        if !(0.0..=1e12).contains(&value) {
            self.report.argument(o, name, format!("{}: argument `{name}` must not be negative", o.class.name), None);
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        Some(value.round() as u64)
    }

    fn unsigned(&self, o: &ObjectNode, name: &str) -> Option<u64> {
        let value = match o.arg(name) {
            Some(Node::Int(i)) => *i,
            Some(_) => return None,
            None if o.is_given(name) => return None,
            None => match Self::default_of(o, name) {
                ParamDefault::Int(i) => i,
                _ => return None,
            },
        };
        match u64::try_from(value) {
            Ok(v) => Some(v),
            Err(_) => {
                let message = format!("{}: argument `{name}` must not be negative", o.class.name);
                self.report.argument(o, name, message, None);
                None
            }
        }
    }

    fn strings(&self, o: &ObjectNode, name: &str) -> Vec<String> {
        match o.arg(name) {
            Some(Node::Str(s)) => vec![s.clone()],
            Some(Node::List(items)) => strings(items),
            _ => Vec::new(),
        }
    }

    fn callable(&self, o: &ObjectNode, name: &str) -> Option<CallableRef> {
        match o.arg(name) {
            Some(Node::Call(c)) => Some(c.clone()),
            _ => None,
        }
    }

    fn or_callable(&self, o: &ObjectNode, name: &str) -> Option<OrCallable<String>> {
        match o.arg(name) {
            Some(Node::Call(c)) => Some(OrCallable::Callable(c.clone())),
            Some(Node::Str(s)) => Some(OrCallable::Value(s.clone())),
            _ => None,
        }
    }

    fn opt_renderable(&self, o: &ObjectNode, name: &str) -> Option<Renderable> {
        if let Some(node) = o.arg(name) {
            return Some(self.renderable(node, o, name));
        }
        if o.is_given(name) {
            return None;
        }
        match Self::default_of(o, name) {
            ParamDefault::Required | ParamDefault::None => None,
            ParamDefault::Bool(b) => Some(Renderable::literal(b)),
            ParamDefault::Int(i) => Some(Renderable::literal(i)),
            ParamDefault::Str(s) => Some(Renderable::literal(s)),
            ParamDefault::EmptyList => Some(Renderable::literal(Vec::<Value>::new())),
        }
    }

    fn required_renderable(&self, o: &ObjectNode, name: &str) -> Renderable {
        self.opt_renderable(o, name).unwrap_or(Renderable::literal(Value::Null))
    }

    /// A dict of properties with plain values.
    fn properties(&self, o: &ObjectNode, name: &str) -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        if let Some(Node::Dict(entries)) = o.arg(name) {
            for (k, v) in entries {
                let Node::Str(key) = k else {
                    let message = format!("{}: the keys of `{name}` must be strings", o.class.name);
                    self.report.argument(o, name, message, None);
                    continue;
                };
                match Self::json(v) {
                    Ok(value) => {
                        out.insert(key.clone(), value);
                    }
                    Err(what) => {
                        let message = format!("{}: property `{key}` cannot hold {what}", o.class.name);
                        self.report.string(o, name, key, message, None);
                    }
                }
            }
        }
        out
    }

    /// A dict whose values may be renderables.
    fn renderable_map(&self, o: &ObjectNode, name: &str) -> BTreeMap<String, Renderable> {
        let mut out = BTreeMap::new();
        if let Some(Node::Dict(entries)) = o.arg(name) {
            for (k, v) in entries {
                match k {
                    Node::Str(key) => {
                        out.insert(key.clone(), self.renderable(v, o, name));
                    }
                    _ => {
                        let message = format!("{}: the keys of `{name}` must be strings", o.class.name);
                        self.report.argument(o, name, message, None);
                    }
                }
            }
        }
        out
    }

    /// Reports an argument that Buildbot has and this version has not.
    fn unavailable(&self, o: &ObjectNode, names: &[&str]) {
        for name in names {
            let used = match o.arg(name) {
                None => false,
                Some(Node::List(items)) => !items.is_empty(),
                Some(Node::Bool(b)) => *b,
                Some(_) => true,
            };
            if used {
                self.report.argument(
                    o,
                    name,
                    format!(
                        "{}: argument `{name}` is known to Buildbot but not available in this version",
                        o.class.name
                    ),
                    None,
                );
            }
        }
    }

    /// The objects of one kind in a key's list.
    fn objects<'n>(&self, key: &str, node: &'n Node, kind: Kind) -> Vec<&'n ObjectNode> {
        let items: Vec<&Node> = match node {
            Node::List(items) => items.iter().collect(),
            other => vec![other],
        };
        let mut out = Vec::new();
        for item in items {
            match item {
                Node::Object(o) if o.class.kind == kind => out.push(&**o),
                Node::Object(o) => self.report.argument(
                    o,
                    "",
                    format!("c['{key}'] takes {} only, not {}", plural(kind), o.class.kind.describe()),
                    None,
                ),
                Node::Placeholder => {}
                other => self.report.key(
                    key,
                    format!("c['{key}'] takes {} only, not {}", plural(kind), describe(other)),
                    None,
                ),
            }
        }
        out
    }
}

fn plural(kind: Kind) -> String {
    let name = kind.describe();
    let name = name.strip_prefix("a ").or(name.strip_prefix("an ")).unwrap_or(name);
    match name.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{name}s"),
    }
}

/// What a node is, for messages.
fn describe(node: &Node) -> &str {
    match node {
        Node::Null => "None",
        Node::Bool(_) => "True or False",
        Node::Int(_) => "an integer",
        Node::Float(_) => "a number",
        Node::Str(_) => "a string",
        Node::List(_) => "a list",
        Node::Dict(_) => "a dict",
        Node::Object(o) => o.class.kind.describe(),
        Node::Call(_) => "a function",
        Node::Placeholder => "something unavailable",
        Node::Other(what) => what,
    }
}

fn strings(items: &[Node]) -> Vec<String> {
    items
        .iter()
        .filter_map(|n| match n {
            Node::Str(s) => Some(s.clone()),
            _ => None,
        })
        .collect()
}
