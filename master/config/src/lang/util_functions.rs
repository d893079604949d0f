//! Functions of the `util` namespace.

use starlark::eval::{Arguments, Evaluator};
use starlark::values::Value;

use super::object::native;

/// Calls one of them.
pub(super) fn invoke<'v>(
    name: &str,
    args: &Arguments<'v, '_>,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Value<'v>> {
    match name {
        "enforceChosenWorker" => enforce_chosen_worker(args, eval),
        _ => Err(native(format!("util.{name} is missing"))),
    }
}

/// `canStartBuild=util.enforceChosenWorker`: a request with the property `workername` runs on that
/// worker only.
fn enforce_chosen_worker<'v>(
    args: &Arguments<'v, '_>,
    eval: &mut Evaluator<'v, '_, '_>,
) -> starlark::Result<Value<'v>> {
    let heap = eval.heap();
    let [_builder, wfb, request] = args.positional(heap)?;
    let get = request.get_attr_error("properties", heap)?.get_attr_error("getProperty", heap)?;
    let wanted = eval.eval_function(get, &[heap.alloc("workername"), Value::new_none()], &[])?;
    // Empty if a form left the choice open.
    let Some(wanted) = wanted.unpack_str().filter(|wanted| !wanted.is_empty()) else {
        return Ok(Value::new_bool(true));
    };
    let worker = wfb.get_attr_error("worker", heap)?.get_attr_error("workername", heap)?;
    Ok(Value::new_bool(worker.unpack_str() == Some(wanted)))
}
