//! Methods and operators of objects.

use starlark::eval::{Arguments, Evaluator};
use starlark::values::dict::AllocDict;
use starlark::values::list::AllocList;
use starlark::values::{Heap, Value, ValueLike};

use super::collector::Collector;
use super::construct::{describe, elements};
use super::object::{Object, ObjectGen, native};
use crate::diagnostic::Diagnostic;
use crate::schema::{self, Class, Kind};

/// All methods; a bound method refers to them by index.
const METHODS: &[(&str, Kind)] = &[
    ("addStep", Kind::Factory),
    ("addSteps", Kind::Factory),
    ("in_", Kind::Renderable),
    ("eq_", Kind::Renderable),
    ("ne_", Kind::Renderable),
    ("lt_", Kind::Renderable),
    ("le_", Kind::Renderable),
    ("gt_", Kind::Renderable),
    ("ge_", Kind::Renderable),
    ("withArgs", Kind::Renderable),
    ("access", Kind::Lock),
];

/// The index of a class's method.
pub(super) fn method(class: &Class, name: &str) -> Option<u32> {
    let index = METHODS.iter().position(|(n, k)| *n == name && *k == class.kind)?;
    u32::try_from(index).ok()
}

/// A method's name.
pub(super) fn name(method: u32) -> &'static str {
    METHODS.get(method as usize).map_or("method", |(n, _)| n)
}

/// Calls a method.
pub(super) fn invoke<'v>(
    receiver: Value<'v>,
    method: u32,
    args: &Arguments<'v, '_>,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Value<'v>> {
    let heap = eval.heap();
    let object = Object::from_value(receiver).ok_or_else(|| native("the method has lost its object"))?;
    let positional: Vec<Value<'v>> = args.positions(heap)?.collect();
    let named = args.names_map()?;
    match name(method) {
        "addStep" => {
            let step = positional.first().copied().or_else(|| named.values().next().copied());
            add_step(object, step.ok_or_else(|| native("addStep needs a step"))?, eval)?;
            Ok(Value::new_none())
        }
        "addSteps" => {
            let steps = positional
                .first()
                .copied()
                .or_else(|| named.values().next().copied())
                .and_then(elements)
                .ok_or_else(|| native("addSteps needs a list of steps"))?;
            for step in steps {
                add_step(object, step, eval)?;
            }
            Ok(Value::new_none())
        }
        "withArgs" => make(
            "<withArgs>",
            vec![("fn", receiver)],
            positional,
            named.iter().map(|(k, v)| (k.as_str().to_owned(), *v)).collect(),
            object.site,
            heap,
        ),
        "access" => {
            let argument = |position: usize, name: &str| {
                positional
                    .get(position)
                    .copied()
                    .or_else(|| named.iter().find(|(k, _)| k.as_str() == name).map(|(_, v)| *v))
            };
            let mode = argument(0, "mode").ok_or_else(|| native("access needs a mode, 'counting' or 'exclusive'"))?;
            let mut args = vec![("lock", receiver), ("mode", mode)];
            args.extend(argument(1, "count").map(|count| ("count", count)));
            make("<access>", args, Vec::new(), Vec::new(), object.site, heap)
        }
        comparison => {
            let [operand] = positional.as_slice() else {
                return Err(native(format!("{comparison} takes one argument")));
            };
            let operator = comparison.trim_end_matches('_');
            operation(operator, receiver, *operand, object.site, heap)
        }
    }
}

fn add_step<'v>(factory: &Object<'v>, step: Value<'v>, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<()> {
    let kind = Object::from_value(step).and_then(|o| o.class()).map(|c| c.kind);
    let placeholder = step.get_type() == "unavailable";
    if kind != Some(Kind::Step) && !placeholder {
        let message = format!("a factory takes steps, not {}", describe(step));
        return match Collector::of(eval) {
            Some(c) => {
                let site = c.here(eval);
                c.report(Diagnostic::error(c.place(&site), message));
                Ok(())
            }
            None => Err(native(message)),
        };
    }
    let steps = factory.arg("steps").ok_or_else(|| native("the factory has no list of steps"))?;
    // The list's own method checks that the list may still change.
    let append = steps.get_attr_error("append", eval.heap())?;
    eval.eval_function(append, &[step], &[])?;
    Ok(())
}

/// `left OP right`, if the object is renderable.
pub(super) fn operator<'v, V: ValueLike<'v>>(
    object: &ObjectGen<V>,
    operator: &str,
    other: Value<'v>,
    reversed: bool,
    heap: Heap<'v>,
) -> Option<starlark::Result<Value<'v>>> {
    object.class().filter(|c| c.kind == Kind::Renderable)?;
    let this = heap.alloc(Object {
        class: object.class,
        site: object.site,
        args: object.args.to_value(),
        extra: object.extra.to_value(),
        kwargs: object.kwargs.to_value(),
    });
    let (left, right) = if reversed { (other, this) } else { (this, other) };
    Some(operation(operator, left, right, object.site, heap))
}

/// The same where the interpreter wants an answer in any case.
pub(super) fn operator_or_error<'v, V: ValueLike<'v>>(
    object: &ObjectGen<V>,
    name: &str,
    other: Value<'v>,
    heap: Heap<'v>,
) -> starlark::Result<Value<'v>> {
    operator(object, name, other, false, heap).unwrap_or_else(|| Err(native(format!("{object} has no operators"))))
}

/// `left OP right` for a comparison with a renderable, which is one itself; nothing if neither is renderable.
pub(super) fn comparison<'v>(
    operator: &str,
    left: Value<'v>,
    right: Value<'v>,
    heap: Heap<'v>,
) -> Option<starlark::Result<Value<'v>>> {
    let renderable =
        |value: Value<'v>| Object::from_value(value).filter(|o| o.class().is_some_and(|c| c.kind == Kind::Renderable));
    let site = renderable(left).or_else(|| renderable(right))?.site;
    Some(operation(operator, left, right, site, heap))
}

fn operation<'v>(
    operator: &str,
    left: Value<'v>,
    right: Value<'v>,
    site: u32,
    heap: Heap<'v>,
) -> starlark::Result<Value<'v>> {
    let args = vec![("operator", heap.alloc(operator)), ("left", left), ("right", right)];
    make("<operation>", args, Vec::new(), Vec::new(), site, heap)
}

/// Makes an object of a class that has no name in the language.
fn make<'v>(
    class: &str,
    args: Vec<(&'static str, Value<'v>)>,
    extra: Vec<Value<'v>>,
    kwargs: Vec<(String, Value<'v>)>,
    site: u32,
    heap: Heap<'v>,
) -> starlark::Result<Value<'v>> {
    let index = schema::find("util", class).ok_or_else(|| native("no such class"))?;
    Ok(heap.alloc(Object {
        class: index,
        site,
        args: heap.alloc(AllocDict(args)),
        extra: heap.alloc(AllocList(extra)),
        kwargs: heap.alloc(AllocDict(kwargs)),
    }))
}
