//! `"%(name)s" % dict`, which Python has and Starlark has not. The translator wraps the text into a
//! value whose `%` looks names up.

// The derives that the interpreter needs for its values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::fmt;

use allocative::Allocative;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::starlark_simple_value;
use starlark::values::dict::DictRef;
use starlark::values::tuple::AllocTuple;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagable, StarlarkValue, Value, ValueLike, starlark_value,
};

use super::object::native;
use super::record::Record;

/// The function that the translator wraps texts with.
pub(super) const FUNCTION: &str = "percent_format_";

#[derive(Debug, Clone, PartialEq, Eq, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
struct PercentFormat {
    text: String,
}
starlark_simple_value!(PercentFormat);

impl fmt::Display for PercentFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[starlark_value(type = "string_format")]
impl<'v> StarlarkValue<'v> for PercentFormat {
    fn percent(&self, values: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let mut out = String::new();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find('%') {
            let (before, conversion) = rest.split_at(at);
            out.push_str(before);
            if let Some(after) = conversion.strip_prefix("%%") {
                out.push('%');
                rest = after;
                continue;
            }
            let named = conversion.strip_prefix("%(").and_then(|c| c.split_once(')'));
            let Some((name, spec)) = named else {
                return Err(native("`%` conversions with and without names cannot be mixed"));
            };
            let length = spec.find(|c: char| c.is_ascii_alphabetic()).map_or(spec.len(), |i| i + 1);
            let (spec, after) = spec.split_at(length);
            let value = look_up(values, name, heap)?;
            // The conversion itself is Starlark's.
            let formatted = heap.alloc(format!("%{spec}")).percent(heap.alloc(AllocTuple([value])), heap)?;
            out.push_str(formatted.unpack_str().unwrap_or(""));
            rest = after;
        }
        out.push_str(rest);
        Ok(heap.alloc(out))
    }
}

fn look_up<'v>(values: Value<'v>, name: &str, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
    let found = match DictRef::from_value(values) {
        Some(dict) => dict.get_str(name),
        None if values.downcast_ref::<Record>().is_some() => return values.at(heap.alloc(name), heap),
        None => return Err(native(format!("`%({name})` needs a dict on the right of `%`"))),
    };
    found.ok_or_else(|| native(format!("there is no `{name}` in the dict")))
}

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    /// Wraps a text for `%` with names; the translator writes it.
    fn percent_format_<'v>(#[starlark(require = pos)] text: &str, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        Ok(heap.alloc(PercentFormat { text: text.to_owned() }))
    }
}
