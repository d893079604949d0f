//! The config as a tree of plain data: the values that the main file leaves in its dictionary, freed
//! from the interpreter. Functions become references; the interpreter keeps them under their paths.

use std::collections::HashMap;
use std::rc::Rc;

use buildguild_types::render::CallableRef;
use starlark::collections::SmallMap;
use starlark::values::dict::DictRef;
use starlark::values::{Heap, Value, ValueLike};

use super::collector::Collector;
use super::construct::{self, elements};
use super::object::Object;
use super::record::Record;
use crate::diagnostic::{Diagnostic, Place};
use crate::schema::Class;

/// A value of the config.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Dict(Vec<(Node, Node)>),
    Object(Rc<ObjectNode>),
    Call(CallableRef),
    /// Reported already; lowering passes over it.
    Placeholder,
    /// Something that a config cannot hold; lowering reports it where it stands.
    Other(String),
}

/// An object of the config.
#[derive(Debug)]
pub(crate) struct ObjectNode {
    pub(crate) class: &'static Class,
    /// Number of the place in the collector.
    pub(crate) site: u32,
    pub(crate) args: Vec<(&'static str, Node)>,
    pub(crate) extra: Vec<Node>,
    pub(crate) kwargs: Vec<(String, Node)>,
}

impl ObjectNode {
    /// The owner of values that belong to no object.
    pub(crate) fn nobody() -> Self {
        static NOBODY: Class = crate::schema::class("value", &[], crate::schema::Kind::Service, 0, &[]);
        Self { class: &NOBODY, site: u32::MAX, args: Vec::new(), extra: Vec::new(), kwargs: Vec::new() }
    }

    /// An argument that was given and is not None.
    pub(crate) fn arg(&self, name: &str) -> Option<&Node> {
        self.args.iter().find(|(n, _)| *n == name).map(|(_, v)| v).filter(|v| !matches!(v, Node::Null))
    }

    /// True if an argument was given, if only as None.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.args.iter().any(|(n, _)| *n == name)
    }

    /// The `name` argument, for messages and paths.
    pub(crate) fn name(&self) -> Option<&str> {
        match self.arg("name") {
            Some(Node::Str(s)) => Some(s),
            _ => None,
        }
    }
}

/// Nesting beyond this is a cycle or a mistake.
const MAX_DEPTH: usize = 60;

/// Frees values from the interpreter.
pub(crate) struct Extractor<'v, 'c> {
    collector: &'c Collector,
    heap: Heap<'v>,
    /// Functions by path, in the order in which they were met.
    pub(crate) functions: SmallMap<String, Value<'v>>,
    refs: Vec<(Value<'v>, CallableRef)>,
    objects: HashMap<usize, Vec<(Value<'v>, Rc<ObjectNode>)>>,
    path: Vec<String>,
    /// The object and argument that is being read, for the places of functions.
    context: Vec<(u32, String)>,
}

impl<'v, 'c> Extractor<'v, 'c> {
    pub(crate) fn new(collector: &'c Collector, heap: Heap<'v>) -> Self {
        Self {
            collector,
            heap,
            functions: SmallMap::new(),
            refs: Vec::new(),
            objects: HashMap::new(),
            path: Vec::new(),
            context: Vec::new(),
        }
    }

    /// Reads a value that stands at a path of its own.
    pub(crate) fn read(&mut self, name: &str, value: Value<'v>) -> Node {
        self.path.push(name.to_owned());
        let node = self.node(value);
        self.path.pop();
        node
    }

    fn node(&mut self, value: Value<'v>) -> Node {
        if self.path.len() > MAX_DEPTH {
            return Node::Other("something nested too deeply, or in itself".to_owned());
        }
        if value.is_none() {
            return Node::Null;
        }
        if let Some(b) = value.unpack_bool() {
            return Node::Bool(b);
        }
        if let Some(s) = value.unpack_str() {
            return Node::Str(s.to_owned());
        }
        if let Some(object) = Object::from_value(value) {
            return self.object(value, object);
        }
        if let Some(dict) = DictRef::from_value(value) {
            let entries: Vec<(Value<'v>, Value<'v>)> = dict.iter().collect();
            return Node::Dict(
                entries
                    .into_iter()
                    .map(|(k, v)| {
                        let name = k.unpack_str().map_or_else(|| k.to_str(), str::to_owned);
                        let key = self.node(k);
                        (key, self.read(&name, v))
                    })
                    .collect(),
            );
        }
        if let Some(items) = elements(value) {
            return Node::List(self.items(items));
        }
        match value.get_type() {
            "int" => match value.to_json_value().ok().and_then(|j| j.as_i64()) {
                Some(i) => Node::Int(i),
                None => Node::Other("an integer beyond 64 bits".to_owned()),
            },
            "float" => value
                .to_json_value()
                .ok()
                .and_then(|j| j.as_f64())
                .map_or(Node::Other("not a number".to_owned()), Node::Float),
            "range" | "set" => match value.iterate(self.heap) {
                Ok(items) => {
                    let items: Vec<Value<'v>> = items.collect();
                    Node::List(self.items(items))
                }
                Err(_) => Node::Other(value.get_type().to_owned()),
            },
            "record" => match value.downcast_ref::<Record>() {
                // A returned record is the data that it was made of.
                Some(record) => from_json(&serde_json::Value::Object(record.fields.clone())),
                None => Node::Placeholder,
            },
            "unavailable" => Node::Placeholder,
            "function" | "native_function" | "partial" => self.function(value),
            other => Node::Other(format!("a value of type {other}")),
        }
    }

    fn items(&mut self, items: Vec<Value<'v>>) -> Vec<Node> {
        items
            .into_iter()
            .enumerate()
            .map(|(i, item)| {
                // Named things keep their path when others come or go.
                let name = Object::from_value(item).and_then(|o| o.arg("name")).and_then(Value::unpack_str);
                let name = name.map_or_else(|| i.to_string(), str::to_owned);
                self.read(&name, item)
            })
            .collect()
    }

    fn object(&mut self, value: Value<'v>, object: &Object<'v>) -> Node {
        let Some(class) = object.class() else {
            return Node::Placeholder;
        };
        let key = object.site as usize;
        if let Some((_, known)) = self.objects.get(&key).and_then(|l| l.iter().find(|(v, _)| v.ptr_eq(value))) {
            return Node::Object(known.clone());
        }
        let mut args = Vec::new();
        let given: Vec<(Value<'v>, Value<'v>)> =
            DictRef::from_value(object.args).map(|d| d.iter().collect()).unwrap_or_default();
        for (k, v) in given {
            if let Some(param) = k.unpack_str().and_then(|n| class.param(n)) {
                // Lists and dicts may have been added to since the object was made.
                if let Some(message) = construct::check(class, param, v) {
                    let place = self.collector.argument_place(&self.collector.site(object.site), param.name);
                    self.collector.report(Diagnostic::error(place, message));
                }
                self.context.push((object.site, param.name.to_owned()));
                args.push((param.name, self.read(param.name, v)));
                self.context.pop();
            }
        }
        let extra = elements(object.extra).unwrap_or_default();
        let extra = self.items(extra);
        let given: Vec<(Value<'v>, Value<'v>)> =
            DictRef::from_value(object.kwargs).map(|d| d.iter().collect()).unwrap_or_default();
        let kwargs = given
            .into_iter()
            .filter_map(|(k, v)| {
                let name = k.unpack_str()?.to_owned();
                self.context.push((object.site, name.clone()));
                let node = self.read(&name, v);
                self.context.pop();
                Some((name, node))
            })
            .collect();
        let node = Rc::new(ObjectNode { class, site: object.site, args, extra, kwargs });
        self.objects.entry(key).or_default().push((value, node.clone()));
        Node::Object(node)
    }

    fn function(&mut self, value: Value<'v>) -> Node {
        if let Some((_, known)) = self.refs.iter().find(|(v, _)| v.ptr_eq(value)) {
            return Node::Call(known.clone());
        }
        let name = value.function_name().unwrap_or("lambda").to_owned();
        let place = self.function_place(&name);
        let mut path = self.path.join("/");
        if self.functions.contains_key(path.as_str()) {
            path = format!("{path}#{}", self.functions.len());
        }
        let reference = CallableRef { path: path.clone(), name, location: format!("{}:{}", place.file, place.line) };
        self.functions.insert(path, value);
        self.refs.push((value, reference.clone()));
        Node::Call(reference)
    }

    fn function_place(&self, name: &str) -> Place {
        if name != "lambda"
            && let Some(place) = self.collector.function_place(name)
        {
            return place;
        }
        match self.context.last() {
            Some((site, argument)) => self.collector.argument_place(&self.collector.site(*site), argument),
            None => Place { file: self.collector.bundle.main.clone(), line: 0, column: 0 },
        }
    }
}

/// JSON as a node.
fn from_json(json: &serde_json::Value) -> Node {
    use serde_json::Value as Json;
    match json {
        Json::Null => Node::Null,
        Json::Bool(b) => Node::Bool(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Node::Float(n.as_f64().unwrap_or(0.0)), Node::Int),
        Json::String(s) => Node::Str(s.clone()),
        Json::Array(items) => Node::List(items.iter().map(from_json).collect()),
        Json::Object(fields) => Node::Dict(fields.iter().map(|(k, v)| (Node::Str(k.clone()), from_json(v))).collect()),
    }
}

/// Reports problems of lowering at the places of objects.
pub(crate) struct Reporter<'c> {
    pub(crate) collector: &'c Collector,
}

impl Reporter<'_> {
    /// At an argument of an object.
    pub(crate) fn argument(
        &self,
        object: &ObjectNode,
        argument: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let place = self.collector.argument_place(&self.collector.site(object.site), argument);
        self.collector.report(Diagnostic::error(place, message).with_help(help));
    }

    /// At a string within an argument of an object.
    pub(crate) fn string(
        &self,
        object: &ObjectNode,
        argument: &str,
        content: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let place = self.collector.string_place(&self.collector.site(object.site), argument, content);
        self.collector.report(Diagnostic::error(place, message).with_help(help));
    }

    /// At a key of the main dictionary.
    pub(crate) fn key(&self, key: &str, message: impl Into<String>, help: Option<String>) {
        let place = self.collector.key_place(key);
        self.collector.report(Diagnostic::error(place, message).with_help(help));
    }

    /// At a key below others, such as `www`, `port`.
    pub(crate) fn nested_key(&self, keys: &[&str], message: impl Into<String>, help: Option<String>) {
        let place = self.collector.nested_key_place(keys);
        self.collector.report(Diagnostic::error(place, message).with_help(help));
    }

    /// A warning at an argument of an object.
    pub(crate) fn argument_warning(
        &self,
        object: &ObjectNode,
        argument: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let place = self.collector.argument_place(&self.collector.site(object.site), argument);
        self.collector.report(Diagnostic::warning(place, message).with_help(help));
    }

    /// A warning at a key of the main dictionary.
    pub(crate) fn key_warning(&self, key: &str, message: impl Into<String>, help: Option<String>) {
        let place = self.collector.key_place(key);
        self.collector.report(Diagnostic::warning(place, message).with_help(help));
    }
}
