//! The Starlark values behind Buildbot's classes. An object is its class, where it was made, and
//! its arguments; what it means is decided when the config is lowered.

// The derives that the interpreter needs for garbage-collected values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::collections::HashMap;
use std::fmt;

use allocative::Allocative;
use starlark::coerce::Coerce;
use starlark::eval::{Arguments, Evaluator};
use starlark::values::dict::{AllocDict, DictMut, DictRef};
use starlark::values::list::AllocList;
use starlark::values::tuple::AllocTuple;
use starlark::values::{
    Freeze, FrozenHeap, FrozenValue, Heap, NoSerialize, ProvidesStaticType, StarlarkPagable, StarlarkValue, Trace,
    Value, ValueLifetimeless, ValueLike, starlark_value,
};
use starlark::{starlark_complex_value, starlark_simple_value};

use super::{construct, methods};
use crate::schema::{self, Class, Kind};

/// An instance of a class.
#[derive(Debug, Clone, Trace, Coerce, Freeze, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
#[repr(C)]
pub(crate) struct ObjectGen<V: ValueLifetimeless> {
    /// Index of the class in the schema.
    pub(crate) class: u32,
    /// Number of the place in the collector.
    pub(crate) site: u32,
    /// The arguments given: a dict from parameter name to value.
    pub(crate) args: V,
    /// Further positional arguments: a list.
    pub(crate) extra: V,
    /// Further keyword arguments: a dict.
    pub(crate) kwargs: V,
}
starlark_complex_value!(pub(crate) Object);

impl<V: ValueLifetimeless> ObjectGen<V> {
    /// The class.
    pub(crate) fn class(&self) -> Option<&'static Class> {
        schema::class_at(self.class)
    }
}

thread_local! {
    /// The names of all parameters as values. An assignment to an attribute has no heap to make one on, so they are made
    /// once, and leaked: they are few and needed to the end.
    static NAMES: HashMap<&'static str, FrozenValue> = {
        let heap: &'static FrozenHeap = Box::leak(Box::default());
        let params = schema::CLASSES.iter().flat_map(Class::all_params);
        params.map(|p| (p.name, heap.alloc_str(p.name).to_frozen_value())).collect()
    };
}

impl<'v, V: ValueLike<'v>> ObjectGen<V> {
    /// An argument that was given.
    pub(crate) fn arg(&self, name: &str) -> Option<Value<'v>> {
        DictRef::from_value(self.args.to_value())?.get_str(name)
    }

    /// Gives an argument, or another value to one that was given.
    fn put(&self, name: &str, value: Value<'v>) -> starlark::Result<()> {
        let key = NAMES.with(|names| names.get(name).copied());
        let key = key.ok_or_else(|| native("no such parameter"))?.to_value().get_hashed()?;
        let mut args = DictMut::from_value(self.args.to_value()).map_err(|_| {
            native("objects of a file that was loaded cannot be changed; make a function of the file that makes them")
        })?;
        args.aref.insert_hashed(key, value);
        Ok(())
    }

    /// Buildbot's builders have lists and dicts of their own, also where none were given, and people add to them.
    fn own_container(&self, class: &Class, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        if class.kind != Kind::Builder {
            return None;
        }
        let frozen = DictMut::from_value(self.args.to_value()).is_err();
        let own = match attribute {
            "tags" | "locks" | "workernames" => {
                let single = self.arg("workername").filter(|v| attribute == "workernames" && !v.is_none());
                let items: Vec<Value<'v>> = single.into_iter().collect();
                // What is added to a tuple is an error, where a list would swallow it.
                if frozen { heap.alloc(AllocTuple(items)) } else { heap.alloc(AllocList(items)) }
            }
            "env" | "properties" | "defaultProperties" => heap.alloc(AllocDict::EMPTY),
            _ => return None,
        };
        if !frozen {
            self.put(attribute, own).ok()?;
            if attribute == "workernames" && self.arg("workername").is_some() {
                self.put("workername", Value::new_none()).ok()?;
            }
        }
        Some(own)
    }
}

impl<'v, V: ValueLike<'v>> fmt::Display for ObjectGen<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.class().map_or("object", |c| c.name);
        match self.arg("name").and_then(Value::unpack_str) {
            Some(n) => write!(f, "{name}({n:?})"),
            None => write!(f, "{name}(...)"),
        }
    }
}

#[starlark_value(type = "object")]
impl<'v, V: ValueLike<'v>> StarlarkValue<'v> for ObjectGen<V>
where
    Self: ProvidesStaticType<'v>,
{
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        let class = self.class()?;
        if let Some(method) = methods::method(class, attribute) {
            // The receiver shares the dicts and lists, so a method may change them.
            let receiver = heap.alloc(Object {
                class: self.class,
                site: self.site,
                args: self.args.to_value(),
                extra: self.extra.to_value(),
                kwargs: self.kwargs.to_value(),
            });
            return Some(heap.alloc(BoundMethod { receiver, method }));
        }
        let param = class.param(attribute)?;
        if let Some(given) = self.arg(attribute).filter(|v| !v.is_none()) {
            return Some(given);
        }
        let own = self.own_container(class, attribute, heap);
        Some(
            own.or_else(|| self.arg(attribute))
                .unwrap_or_else(|| construct::default_value(class.default_of(param), heap)),
        )
    }

    fn dir_attr(&self) -> Vec<String> {
        self.class().map(|c| c.all_params().map(|p| p.name.to_owned()).collect()).unwrap_or_default()
    }

    fn set_attr(&self, attribute: &str, new_value: Value<'v>) -> starlark::Result<()> {
        let Some((class, param)) = self.class().and_then(|c| Some((c, c.param(attribute)?))) else {
            return Err(native(format!("{self} has no attribute `{attribute}`")));
        };
        match construct::check(class, param, new_value) {
            Some(message) => Err(native(message)),
            None => self.put(attribute, new_value),
        }
    }

    fn equals(&self, other: Value<'v>) -> starlark::Result<bool> {
        if self.class().is_some_and(|c| c.kind == Kind::Renderable) {
            return Err(native(format!(
                "{self} is only known in a build and cannot be looked for here; use .in_([...]) for a renderable condition"
            )));
        }
        Ok(Object::from_value(other).is_some_and(|o| {
            o.class == self.class && o.site == self.site && o.args.to_value().ptr_eq(self.args.to_value())
        }))
    }

    fn write_hash(&self, hasher: &mut starlark::collections::StarlarkHasher) -> starlark::Result<()> {
        use std::hash::Hash as _;
        (self.class, self.site).hash(hasher);
        Ok(())
    }

    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        // A `@renderer` function can still be called by another one.
        let function = self.class().filter(|c| c.name == "renderer").and(self.arg("fn"));
        match function {
            Some(function) => {
                let positional: Vec<Value<'v>> = args.positions(eval.heap())?.collect();
                let named = args.names_map()?;
                let named: Vec<(&str, Value<'v>)> = named.iter().map(|(k, v)| (k.as_str(), *v)).collect();
                eval.eval_function(function, &positional, &named)
            }
            None => Err(native(format!("{self} is not a function"))),
        }
    }

    fn add(&self, rhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        methods::operator(self, "add", rhs, false, heap)
    }
    fn radd(&self, lhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        methods::operator(self, "add", lhs, true, heap)
    }
    fn mul(&self, rhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        methods::operator(self, "mul", rhs, false, heap)
    }
    fn rmul(&self, lhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        methods::operator(self, "mul", lhs, true, heap)
    }
    fn sub(&self, rhs: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        methods::operator_or_error(self, "sub", rhs, heap)
    }
    fn div(&self, rhs: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        methods::operator_or_error(self, "div", rhs, heap)
    }
    fn floor_div(&self, rhs: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        methods::operator_or_error(self, "floor_div", rhs, heap)
    }
    fn percent(&self, rhs: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        methods::operator_or_error(self, "mod", rhs, heap)
    }
}

/// A method with its object.
#[derive(Debug, Clone, Trace, Coerce, Freeze, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
#[repr(C)]
pub(crate) struct BoundMethodGen<V: ValueLifetimeless> {
    pub(crate) receiver: V,
    pub(crate) method: u32,
}
starlark_complex_value!(pub(crate) BoundMethod);

impl<'v, V: ValueLike<'v>> fmt::Display for BoundMethodGen<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(methods::name(self.method))
    }
}

#[starlark_value(type = "method")]
impl<'v, V: ValueLike<'v>> StarlarkValue<'v> for BoundMethodGen<V>
where
    Self: ProvidesStaticType<'v>,
{
    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        methods::invoke(self.receiver.to_value(), self.method, args, eval)
    }
}

/// A class: calling it makes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
pub(crate) struct ClassValue {
    pub(crate) index: u32,
}
starlark_simple_value!(ClassValue);

impl fmt::Display for ClassValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(schema::class_at(self.index).map_or("class", |c| c.name))
    }
}

#[starlark_value(type = "class")]
impl<'v> StarlarkValue<'v> for ClassValue {
    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        construct::construct(self.index, args, eval)
    }
}

/// Stands for something that was reported as wrong, so that loading can go on and find more.
/// It accepts everything and means nothing.
#[derive(Debug, Clone, PartialEq, Eq, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
pub(crate) struct Placeholder {
    /// The message that calling it gives; empty if it was reported already.
    pub(crate) message: String,
    pub(crate) help: String,
}
starlark_simple_value!(Placeholder);

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<unavailable>")
    }
}

#[starlark_value(type = "unavailable")]
impl<'v> StarlarkValue<'v> for Placeholder {
    fn invoke(
        &self,
        me: Value<'v>,
        _args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        if self.message.is_empty() {
            return Ok(me);
        }
        construct::report_placeholder(self, eval)?;
        Ok(eval.heap().alloc(Placeholder { message: String::new(), help: String::new() }))
    }

    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        if attribute.starts_with("__") {
            return None;
        }
        Some(heap.alloc(self.clone()))
    }

    fn add(&self, _rhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        Some(Ok(heap.alloc(self.clone())))
    }

    fn radd(&self, _lhs: Value<'v>, heap: Heap<'v>) -> Option<starlark::Result<Value<'v>>> {
        Some(Ok(heap.alloc(self.clone())))
    }

    fn at(&self, _index: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        Ok(heap.alloc(self.clone()))
    }

    fn iterate_collect(&self, _heap: Heap<'v>) -> starlark::Result<Vec<Value<'v>>> {
        Ok(Vec::new())
    }

    fn length(&self) -> starlark::Result<i32> {
        Ok(0)
    }
}

/// An error of ours without a place; the interpreter adds it.
pub(crate) fn native(message: impl Into<String>) -> starlark::Error {
    starlark::Error::new_native(Message(message.into()))
}

/// A plain message as an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Message(String);
