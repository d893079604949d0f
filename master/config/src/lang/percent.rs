//! Python's `%` with names (`"%(name)s" % dict`), widths and flags (`"%02d" % 7`), which Starlark's has not. The
//! translator wraps such a text into a value whose `%` knows them.

// The derives that the interpreter needs for its values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::fmt;

use allocative::Allocative;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::starlark_simple_value;
use starlark::values::dict::DictRef;
use starlark::values::tuple::TupleRef;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagable, StarlarkValue, Value, ValueLike, starlark_value,
};

use super::format::{Spec, format_value, format_whole, text_of};
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
        let mut given = Given::new(values);
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
            let (conversion, after) = Conversion::parse(conversion, &mut given).map_err(native)?;
            let value = match conversion.name {
                Some(name) => {
                    given.by_name = true;
                    look_up(values, name, heap)?
                }
                None => given.next().map_err(native)?,
            };
            out.push_str(&conversion.format(value).map_err(native)?);
            rest = after;
        }
        out.push_str(rest);
        given.finish().map_err(native)?;
        Ok(heap.alloc(out))
    }
}

/// What stands between `%` and a width.
const FLAGS: &str = "-+ #0";

/// True if a literal has conversions that Starlark's own `%` does not know.
pub(super) fn needs_us(literal: &str) -> bool {
    let mut rest = literal;
    while let Some(at) = rest.find('%') {
        let mut chars = rest[at + 1..].chars();
        match chars.next() {
            Some('%' | 's' | 'r' | 'd' | 'o' | 'x' | 'X' | 'e' | 'f' | 'g' | 'c') => rest = chars.as_str(),
            Some(c) => return c == '(' || c.is_ascii_alphanumeric() || FLAGS.contains(c) || ".*".contains(c),
            None => return false,
        }
    }
    false
}

/// The values on the right of `%`.
struct Given<'v> {
    values: Vec<Value<'v>>,
    taken: usize,
    /// Whether they are looked up by name: then not all have to be used.
    by_name: bool,
}

impl<'v> Given<'v> {
    fn new(values: Value<'v>) -> Self {
        let values = TupleRef::from_value(values).map_or_else(|| vec![values], |tuple| tuple.content().to_vec());
        Self { values, taken: 0, by_name: false }
    }

    fn next(&mut self) -> Result<Value<'v>, String> {
        let value = self.values.get(self.taken).copied().ok_or("there are more `%` conversions than values")?;
        self.taken += 1;
        Ok(value)
    }

    fn finish(&self) -> Result<(), String> {
        match (self.by_name, self.taken) {
            (true, 1..) => Err("`%` conversions with and without names cannot be mixed".to_owned()),
            (false, taken) if taken < self.values.len() => {
                Err("there are fewer `%` conversions than values".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// `%[(name)][flags][width][.precision]kind`.
struct Conversion<'a> {
    name: Option<&'a str>,
    flags: &'a str,
    /// The width and the precision, as `format` writes them, too.
    size: String,
    kind: char,
}

impl<'a> Conversion<'a> {
    /// Reads a conversion, and gives what follows it.
    fn parse(text: &'a str, given: &mut Given<'_>) -> Result<(Self, &'a str), String> {
        let mut rest = text.strip_prefix('%').unwrap_or(text);
        let mut name = None;
        if let Some(named) = rest.strip_prefix('(') {
            let (before, after) = named.split_once(')').ok_or("`%(` without `)`")?;
            name = Some(before);
            rest = after;
        }
        let after = rest.trim_start_matches(|c| FLAGS.contains(c));
        let (flags, mut rest) = rest.split_at(rest.len() - after.len());
        let mut size = String::new();
        while let Some(c) = rest.chars().next().filter(|c| c.is_ascii_digit() || ".*".contains(*c)) {
            match c {
                '*' => size.push_str(&given.next()?.to_str()),
                _ => size.push(c),
            }
            rest = &rest[1..];
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some(kind) if "diouxXeEfFgGcrsa".contains(kind) => Ok((Self { name, flags, size, kind }, chars.as_str())),
            other => {
                let other = other.map_or("nothing".to_owned(), |c| format!("`{c}`"));
                Err(format!("`%` and {other} make no conversion; write `%%` for a percent sign"))
            }
        }
    }

    /// The value as Python writes it: with the specification that `format` would need for the same.
    fn format(&self, value: Value<'_>) -> Result<String, String> {
        let has = |flag: char| self.flags.contains(flag);
        let align = if has('-') { "<" } else { ">" };
        let text = match self.kind {
            's' => Some(text_of(value)),
            'r' | 'a' => Some(value.to_repr()),
            'c' => value.unpack_str().filter(|text| text.chars().count() == 1).map(str::to_owned),
            _ => None,
        };
        if let Some(text) = text {
            return Spec::parse(&format!("{align}{}", self.size))?.text(&text);
        }
        if value.unpack_str().is_some() {
            return Err(format!("`%{}` needs a number, not a string", self.kind));
        }
        let (align, zero) = if has('0') && !has('-') { ("", "0") } else { (align, "") };
        let sign = if has('+') {
            "+"
        } else if has(' ') {
            " "
        } else {
            ""
        };
        let alternate = if has('#') { "#" } else { "" };
        let kind = if "iu".contains(self.kind) { 'd' } else { self.kind };
        let spec = format!("{align}{sign}{alternate}{zero}{}{kind}", self.size);
        if kind == 'd' { format_whole(value, &spec) } else { format_value(value, &spec) }
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
