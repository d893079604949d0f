//! The names that a config finds: the namespaces of `from buildbot.plugins import *`, result codes,
//! and the declared inputs `env()` and `read_file()`.

// The derives that the interpreter needs for its values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::fmt;

use allocative::Allocative;
use starlark::environment::{Globals, GlobalsBuilder, LibraryExtension};
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::starlark_simple_value;
use starlark::values::none::NoneOr;
use starlark::values::{Heap, NoSerialize, ProvidesStaticType, StarlarkPagable, StarlarkValue, Value, starlark_value};

use super::collector::{Collector, Found};
use super::object::{ClassValue, Object, Placeholder, native};
use crate::diagnostic::suggest;
use crate::schema;
use crate::source::Input;

/// Result codes, by their numbers.
pub(crate) const RESULT_NAMES: &[&str] =
    &["SUCCESS", "WARNINGS", "FAILURE", "SKIPPED", "EXCEPTION", "RETRY", "CANCELLED"];

/// Functions of the `util` namespace.
const HELPER_NAMES: &[&str] = &["enforceChosenWorker"];

/// True if a namespace has a helper function of that name.
pub(super) fn is_helper(namespace: &str, name: &str) -> bool {
    namespace == "util" && (HELPER_NAMES.contains(&name) || name == "URLForBuild")
}

/// A namespace such as `steps`. Unknown names give a placeholder that reports itself when used, so
/// that the rest of the config is still checked.
#[derive(Debug, Clone, PartialEq, Eq, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
struct Namespace {
    name: String,
}
starlark_simple_value!(Namespace);

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[starlark_value(type = "namespace")]
impl<'v> StarlarkValue<'v> for Namespace {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        if let Some(index) = schema::find(&self.name, attribute).filter(|_| !attribute.starts_with('<')) {
            return Some(heap.alloc(ClassValue { index }));
        }
        if self.name == "util" {
            if let Some(code) = RESULT_NAMES.iter().position(|n| *n == attribute) {
                return i32::try_from(code).ok().map(|c| heap.alloc(c));
            }
            if attribute == "URLForBuild" {
                return url_for_build(heap);
            }
            if HELPER_NAMES.contains(&attribute) {
                return Some(heap.alloc(Helper { name: attribute.to_owned() }));
            }
        }
        let (message, help) = if schema::deferred(&self.name, attribute) {
            (format!("{}.{attribute} is known to Buildbot but not available in this version", self.name), String::new())
        } else {
            let classes = schema::CLASSES
                .iter()
                .filter(|c| c.namespaces.contains(&self.name.as_str()))
                .map(|c| c.name)
                .chain(schema::deferred_names(&self.name));
            (format!("`{}` has no `{attribute}`", self.name), suggest(attribute, classes).unwrap_or_default())
        };
        Some(heap.alloc(Placeholder { message, help }))
    }
}

fn url_for_build(heap: Heap<'_>) -> Option<Value<'_>> {
    use starlark::values::dict::AllocDict;
    use starlark::values::list::AllocList;
    let class = schema::find("util", "<URLForBuild>")?;
    Some(heap.alloc(Object {
        class,
        site: u32::MAX,
        args: heap.alloc(AllocDict::EMPTY),
        extra: heap.alloc(AllocList::EMPTY),
        kwargs: heap.alloc(AllocDict::EMPTY),
    }))
}

/// A function of the `util` namespace.
#[derive(Debug, Clone, PartialEq, Eq, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
pub(crate) struct Helper {
    pub(crate) name: String,
}
starlark_simple_value!(Helper);

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[starlark_value(type = "function")]
impl<'v> StarlarkValue<'v> for Helper {
    fn invoke(
        &self,
        _me: Value<'v>,
        args: &starlark::eval::Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        super::util_functions::invoke(&self.name, args, eval)
    }
}

/// The `os` module's few names that configs use, all of them declared inputs or pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagable)]
struct Os {
    part: u32,
}
starlark_simple_value!(Os);

impl Os {
    const MODULE: u32 = 0;
    const ENVIRON: u32 = 1;
    const PATH: u32 = 2;
    const GET: u32 = 3;
    const JOIN: u32 = 4;
    const BASENAME: u32 = 5;
    const DIRNAME: u32 = 6;
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("os")
    }
}

#[starlark_value(type = "os")]
impl<'v> StarlarkValue<'v> for Os {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        let part = match (self.part, attribute) {
            (Os::MODULE, "environ") => Os::ENVIRON,
            (Os::MODULE, "path") => Os::PATH,
            (Os::MODULE, "getenv") | (Os::ENVIRON, "get") => Os::GET,
            (Os::PATH, "join") => Os::JOIN,
            (Os::PATH, "basename") => Os::BASENAME,
            (Os::PATH, "dirname") => Os::DIRNAME,
            _ => return None,
        };
        Some(heap.alloc(Os { part }))
    }

    fn at(&self, index: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let _ = heap;
        let name = index.unpack_str().unwrap_or("?");
        Err(native(format!("write env({name:?}) instead of os.environ[{name:?}]: inputs are declared by calls")))
    }

    fn invoke(
        &self,
        _me: Value<'v>,
        args: &starlark::eval::Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let values: Vec<Value<'v>> = args.positions(eval.heap())?.collect();
        let mut texts = Vec::new();
        for value in &values {
            texts.push(value.unpack_str());
        }
        let first = texts.first().copied().flatten().ok_or_else(|| native("a string is needed"))?;
        Ok(match self.part {
            Os::GET => {
                let default = values.get(1).copied().unwrap_or_else(Value::new_none);
                return read_env(first, default, eval);
            }
            Os::JOIN => {
                let mut path = String::new();
                for part in texts {
                    let part = part.ok_or_else(|| native("os.path.join takes strings"))?;
                    if part.starts_with('/') {
                        path.clear();
                    } else if !path.is_empty() && !path.ends_with('/') {
                        path.push('/');
                    }
                    path.push_str(part);
                }
                eval.heap().alloc(path)
            }
            Os::BASENAME => eval.heap().alloc(first.rsplit('/').next().unwrap_or("")),
            Os::DIRNAME => eval.heap().alloc(first.rsplit_once('/').map_or("", |(d, _)| d)),
            _ => return Err(native("os is not a function")),
        })
    }
}

fn read_env<'v>(name: &str, default: Value<'v>, eval: &Evaluator<'v, '_, '_>) -> starlark::Result<Value<'v>> {
    let collector =
        Collector::of(eval).ok_or_else(|| native("inputs are read while the config loads, not in a call"))?;
    Ok(match collector.env(name) {
        Found::Value(Some(value)) => eval.heap().alloc(value),
        Found::Value(None) => default,
        // The evaluation will be repeated with the value; until then the most likely type.
        Found::Missing if default.is_none() => eval.heap().alloc(""),
        Found::Missing => default,
    })
}

#[starlark_module]
fn functions(builder: &mut GlobalsBuilder) {
    /// The value of an environment variable, which becomes an input of this config version.
    fn env<'v>(
        #[starlark(require = pos)] name: &str,
        default: Option<Value<'v>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        read_env(name, default.unwrap_or_else(Value::new_none), eval)
    }

    /// The text of a file in the config's directory, which becomes an input of this config version.
    fn read_file<'v>(
        #[starlark(require = pos)] name: &str,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let collector =
            Collector::of(eval).ok_or_else(|| native("inputs are read while the config loads, not in a call"))?;
        match collector.read(name) {
            Found::Value(Input::Text(text)) => Ok(eval.heap().alloc(text)),
            Found::Value(Input::Failed(why)) => Err(native(format!("read_file({name:?}): {why}"))),
            Found::Missing => Ok(eval.heap().alloc("")),
        }
    }

    /// Python's `isinstance`, for the built-in types.
    fn isinstance<'v>(
        #[starlark(require = pos)] value: Value<'v>,
        #[starlark(require = pos)] class: Value<'v>,
    ) -> starlark::Result<bool> {
        let mut classes = vec![class];
        if let Some(several) = super::construct::elements(class) {
            classes = several;
        }
        Ok(classes.iter().any(|c| {
            let name = c.function_name().map_or_else(|| c.to_str(), str::to_owned);
            let name = match name.as_str() {
                "str" => "string",
                other => other,
            };
            value.get_type() == name
        }))
    }

    /// Python's `sum`.
    fn sum<'v>(
        #[starlark(require = pos)] values: Value<'v>,
        #[starlark(require = pos)] start: Option<NoneOr<Value<'v>>>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let heap = eval.heap();
        let mut total = start.and_then(NoneOr::into_option).unwrap_or_else(|| heap.alloc(0));
        for value in values.iterate(heap)? {
            total = total.add(value, heap)?;
        }
        Ok(total)
    }
}

/// The global environment of a config.
pub(super) fn globals() -> Globals {
    let mut builder = GlobalsBuilder::extended_by(&[
        LibraryExtension::StructType,
        LibraryExtension::Map,
        LibraryExtension::Filter,
        LibraryExtension::Partial,
        LibraryExtension::Print,
        LibraryExtension::Json,
        LibraryExtension::SetType,
    ])
    .with(functions)
    .with(super::percent::functions)
    .with(super::compare::functions)
    .with(super::format::functions);
    for name in schema::NAMESPACES {
        builder.set(name, Namespace { name: (*name).to_owned() });
    }
    for (code, name) in RESULT_NAMES.iter().enumerate() {
        builder.set(name, i32::try_from(code).unwrap_or(0));
    }
    // Buildbot gives these to a config. Where a replica has its directory is no input of the config, so it is the
    // current one.
    builder.set("basedir", ".");
    builder.set("__file__", "master.cfg");
    builder.set("os", Os { part: Os::MODULE });
    builder.build()
}
