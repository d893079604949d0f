//! Making objects: matching arguments with parameters, checking types, and going on after an error.

use starlark::eval::{Arguments, Evaluator};
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::list::{AllocList, ListRef};
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, Value};

use super::collector::{Collector, Site};
use super::object::{Object, Placeholder, native};
use crate::diagnostic::{Diagnostic, suggest};
use crate::schema::{self, Class, Default, Kind, Param, Shape};

/// The shape of a value.
pub(crate) fn shape_of(value: Value<'_>) -> Shape {
    if let Some(object) = Object::from_value(value) {
        return if object.class().is_some_and(|c| c.kind == Kind::Renderable) { schema::REND } else { schema::OBJ };
    }
    match value.get_type() {
        "NoneType" => schema::NONE,
        "bool" => schema::BOOL,
        "int" => schema::INT,
        "float" => schema::FLOAT,
        "string" => schema::STR,
        "list" | "tuple" | "range" | "set" => schema::LIST,
        "dict" => schema::DICT,
        "unavailable" => schema::ANY,
        _ => schema::CALL,
    }
}

/// What a value is, for messages.
pub(crate) fn describe(value: Value<'_>) -> String {
    if let Some(class) = Object::from_value(value).and_then(|o| o.class()) {
        return if class.kind == Kind::Renderable {
            format!("a renderable ({})", class.name)
        } else {
            class.kind.describe().to_owned()
        };
    }
    let shape = shape_of(value);
    if shape == schema::CALL { "a function".to_owned() } else { shape.describe() }
}

/// A default as a value.
pub(crate) fn default_value(default: Default, heap: Heap<'_>) -> Value<'_> {
    match default {
        Default::Required | Default::None => Value::new_none(),
        Default::Bool(b) => Value::new_bool(b),
        Default::Int(i) => heap.alloc(i),
        Default::Str(s) => heap.alloc(s),
        Default::EmptyList => heap.alloc(AllocList::EMPTY),
    }
}

/// Calls a class.
pub(super) fn construct<'v>(
    index: u32,
    args: &Arguments<'v, '_>,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Value<'v>> {
    let heap = eval.heap();
    let collector = Collector::of(eval);
    let site = collector.map(|c| c.here(eval)).unwrap_or_default();
    let positional = args.positions(heap)?.collect();
    let named = args.names_map()?.iter().map(|(name, value)| (name.as_str().to_owned(), *value)).collect();
    Making { index, site, collector, heap }.make(positional, named)
}

/// Makes an object of a dict of its arguments, as Buildbot takes builders.
pub(super) fn construct_from_dict<'v>(
    index: u32,
    dict: &DictRef<'v>,
    collector: &Collector,
    heap: Heap<'v>,
) -> starlark::Result<Value<'v>> {
    let name = dict.get_str("name").and_then(Value::unpack_str).unwrap_or("");
    let mut named = Vec::new();
    for (key, value) in dict.iter() {
        match key.unpack_str() {
            Some(key) => named.push((key.to_owned(), value)),
            None => return Err(native(format!("the keys of a builder's dict must be strings, not {}", describe(key)))),
        }
    }
    Making { index, site: collector.dict_site(name), collector: Some(collector), heap }.make(Vec::new(), named)
}

/// An object that is being made.
struct Making<'v, 'c> {
    index: u32,
    site: Site,
    collector: Option<&'c Collector>,
    heap: Heap<'v>,
}

impl<'v> Making<'v, '_> {
    fn report(&self, argument: &str, message: String, help: Option<String>) -> starlark::Result<()> {
        match self.collector {
            Some(c) => {
                c.report(Diagnostic::error(c.argument_place(&self.site, argument), message).with_help(help));
                Ok(())
            }
            // During a call there is nobody to collect for: the call fails.
            None => Err(native(message)),
        }
    }

    fn make(self, positional: Vec<Value<'v>>, named: Vec<(String, Value<'v>)>) -> starlark::Result<Value<'v>> {
        let class = schema::class_at(self.index).ok_or_else(|| native("no such class"))?;
        let mut given: Vec<(&'static str, Value<'v>)> = Vec::new();
        let mut extra = Vec::new();
        let mut kwargs: Vec<(String, Value<'v>)> = Vec::new();
        for (i, value) in positional.into_iter().enumerate() {
            match class.all_params().nth(i).filter(|_| i < class.positional) {
                Some(param) => given.push((param.name, value)),
                None if class.varargs => extra.push(value),
                None => {
                    let takes = count(class.positional, "argument");
                    let message = format!("{} takes {takes} by position; give further ones by name", class.name);
                    self.report("", message, None)?;
                    break;
                }
            }
        }
        for (name, value) in named {
            match class.param(&name) {
                Some(param) if given.iter().any(|(n, _)| *n == param.name) => {
                    self.report(&name, format!("{}: argument `{name}` is given twice", class.name), None)?;
                }
                Some(param) => given.push((param.name, value)),
                None if class.kwargs => kwargs.push((name, value)),
                None => {
                    let help = suggest(&name, class.all_params().map(|p| p.name));
                    self.report(&name, format!("{} has no argument `{name}`", class.name), help)?;
                }
            }
        }
        self.check(class, &mut given)?;
        own_steps(class, &mut given, self.heap);
        let (heap, collector, site) = (self.heap, self.collector, self.site);
        let site = collector.map_or(u32::MAX, |c| c.add_site(site));
        Ok(heap.alloc(Object {
            class: self.index,
            site,
            args: heap.alloc(AllocDict(given)),
            extra: heap.alloc(AllocList(extra)),
            kwargs: heap.alloc(AllocDict(kwargs)),
        }))
    }

    /// Reports what is missing, of a wrong type or deprecated, and drops what cannot be used.
    fn check(&self, class: &'static Class, given: &mut Vec<(&'static str, Value<'v>)>) -> starlark::Result<()> {
        for param in class.all_params() {
            let Some((_, value)) = given.iter().find(|(n, _)| *n == param.name).copied() else {
                if class.default_of(param) == Default::Required {
                    self.report("", format!("{} needs the argument `{}`", class.name, param.name), None)?;
                }
                continue;
            };
            if let Some(message) = check(class, param, value) {
                self.report(param.name, message, None)?;
                // A list with one wrong element keeps its others, so that they are checked as well.
                if !param.shape.has(shape_of(value)) {
                    given.retain(|(n, _)| *n != param.name);
                }
                continue;
            }
            if let (Some(hint), Some(c)) = (param.deprecated, self.collector)
                && !value.is_none()
            {
                let place = c.argument_place(&self.site, param.name);
                c.report(
                    Diagnostic::warning(place, format!("{}: argument `{}` is deprecated", class.name, param.name))
                        .with_help(Some(hint.to_owned())),
                );
            }
        }
        Ok(())
    }
}

/// A factory gets a list of its own, so that two factories made from one list stay apart.
fn own_steps<'v>(class: &Class, given: &mut Vec<(&'static str, Value<'v>)>, heap: Heap<'v>) {
    if class.kind != Kind::Factory {
        return;
    }
    let steps: Vec<Value<'v>> =
        given.iter().find(|(n, _)| *n == "steps").and_then(|(_, v)| elements(*v)).unwrap_or_default();
    given.retain(|(n, _)| *n != "steps");
    given.push(("steps", heap.alloc(AllocList(steps))));
}

/// The elements of a list or tuple.
pub(crate) fn elements(value: Value<'_>) -> Option<Vec<Value<'_>>> {
    if let Some(list) = ListRef::from_value(value) {
        return Some(list.content().to_vec());
    }
    TupleRef::from_value(value).map(|t| t.content().to_vec())
}

/// What is wrong with an argument's value, if anything.
pub(super) fn check(class: &Class, param: &Param, value: Value<'_>) -> Option<String> {
    let shape = shape_of(value);
    let integer_as_bool =
        shape == schema::INT && param.shape.has(schema::BOOL) && matches!(value.unpack_i32(), Some(0 | 1));
    if !param.shape.has(shape) && !integer_as_bool {
        return Some(format!(
            "{}: argument `{}` must be {}, not {}",
            class.name,
            param.name,
            param.shape.describe(),
            describe(value)
        ));
    }
    if let Some(kind) = param.kind {
        let mut objects = vec![value];
        objects.extend(elements(value).unwrap_or_default());
        for object in objects {
            let actual = Object::from_value(object).and_then(|o| o.class());
            if let Some(actual) = actual.filter(|a| a.kind != kind && a.kind != Kind::Renderable) {
                return Some(format!(
                    "{}: argument `{}` needs {}, not {}",
                    class.name,
                    param.name,
                    kind.describe(),
                    actual.kind.describe()
                ));
            }
        }
    }
    let inner: Vec<Value<'_>> = match DictRef::from_value(value) {
        Some(dict) => dict.iter().map(|(_, v)| v).collect(),
        None => elements(value).unwrap_or_default(),
    };
    let bad = inner.into_iter().find(|e| !param.element.has(shape_of(*e)))?;
    Some(format!(
        "{}: argument `{}` must hold {} only, not {}",
        class.name,
        param.name,
        plural(param.element),
        describe(bad)
    ))
}

fn plural(shape: Shape) -> String {
    if shape == schema::STR {
        "strings".to_owned()
    } else if shape == schema::OBJ {
        "objects".to_owned()
    } else {
        shape.describe()
    }
}

fn count(n: usize, noun: &str) -> String {
    match n {
        0 => format!("no {noun}s"),
        1 => format!("one {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// Reports the use of a name that does not exist or is not available.
pub(super) fn report_placeholder(p: &Placeholder, eval: &Evaluator<'_, '_, '_>) -> starlark::Result<()> {
    let Some(c) = Collector::of(eval) else {
        return Err(native(p.message.clone()));
    };
    let site: Site = c.here(eval);
    let help = Some(p.help.clone()).filter(|h| !h.is_empty());
    c.report(Diagnostic::error(c.place(&site), p.message.clone()).with_help(help));
    Ok(())
}
