//! The Starlark value behind every class of Buildbot's configuration language: a class, where it
//! was made, and its arguments. What an object means is decided when the config is lowered.

// The derives that the interpreter needs for garbage-collected values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::fmt;

use allocative::Allocative;
use starlark::coerce::Coerce;
use starlark::eval::{Arguments, Evaluator};
use starlark::values::dict::DictRef;
use starlark::values::list::{AllocList, ListRef};
use starlark::values::{
    Freeze, Heap, NoSerialize, ProvidesStaticType, StarlarkPagable, StarlarkValue, Trace, Value,
    ValueLifetimeless, ValueLike, starlark_value,
};
use starlark::{starlark_complex_value, starlark_simple_value};

/// An instance of a class.
#[derive(Debug, Clone, Trace, Coerce, Freeze, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
#[repr(C)]
pub(crate) struct ObjectGen<V: ValueLifetimeless> {
    /// Index of the class in the schema.
    pub(crate) class: u32,
    /// Index of the place in the collector; `u32::MAX` for objects made during a call.
    pub(crate) site: u32,
    /// The arguments: a dict from parameter name to value.
    pub(crate) args: V,
    /// Further positional arguments of classes that take any number: a list.
    pub(crate) extra: V,
}
starlark_complex_value!(pub(crate) Object);

impl<'v, V: ValueLike<'v>> fmt::Display for ObjectGen<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.class)
    }
}

#[starlark_value(type = "object")]
impl<'v, V: ValueLike<'v>> StarlarkValue<'v> for ObjectGen<V> where Self: ProvidesStaticType<'v> {}
