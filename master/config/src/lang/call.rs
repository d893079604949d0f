//! Calling functions of a loaded config.

use std::time::Instant;

use buildguild_types::render::Renderable;
use serde_json::Value as Json;
use starlark::environment::Module;
use starlark::eval::Evaluator;
use starlark::values::dict::FrozenDictRef;
use starlark::values::{OwnedFrozenValue, Value};

use super::collector::Collector;
use super::load::{MAX_CALL_DEPTH, Program, message_of};
use super::node::{Extractor, Reporter};
use super::record::to_starlark;
use super::step::{StepContext, StepState};
use crate::calls::CallArgs;
use crate::diagnostic::Diagnostic;
use crate::loaded::StepAdvance;

/// What a call may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) deadline: Instant,
    /// Of the Starlark heap, in bytes.
    pub(crate) heap_bytes: usize,
}

impl Program {
    fn function(&self, path: &str) -> Result<OwnedFrozenValue, String> {
        let functions = self.module.owned_extra_value().ok_or("the config has no functions")?;
        functions.try_map(|f| {
            FrozenDictRef::from_frozen_value(f)
                .and_then(|functions| functions.get_str(path))
                .ok_or_else(|| format!("the config has no function at `{path}`"))
        })
    }

    /// Calls the function at a path.
    pub(crate) fn call(&self, path: &str, args: &CallArgs, limits: Limits) -> Result<Renderable, String> {
        let function = self.function(path)?;
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            let mut eval = Evaluator::new(&module);
            limit(&mut eval, limits)?;
            let function = module.heap().access_owned_frozen_value(&function);
            let mut positional = Vec::new();
            if let Some(scope) = &args.scope {
                positional.push(to_starlark(scope, true, heap));
            }
            // With a scope the arguments are what the config's author gave; without, they are ours.
            positional.extend(args.args.iter().map(|a| to_starlark(a, args.scope.is_none(), heap)));
            let kwargs: Vec<(&str, Value<'_>)> =
                args.kwargs.iter().map(|(k, v)| (k.as_str(), to_starlark(v, false, heap))).collect();
            let returned = eval.eval_function(function, &positional, &kwargs).map_err(|e| self.describe(&e))?;
            give_back(returned, heap)
        })
    }

    /// Runs a step function with the journal's answers.
    pub(crate) fn advance(
        &self,
        path: &str,
        ctx: &Json,
        journal: &[Json],
        limits: Limits,
    ) -> Result<StepAdvance, String> {
        let function = self.function(path)?;
        let state = StepState::new(ctx, journal);
        super::step::set_fields(ctx);
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            let outcome = {
                let mut eval = Evaluator::new(&module);
                limit(&mut eval, limits)?;
                eval.extra = Some(&state);
                let function = module.heap().access_owned_frozen_value(&function);
                let kwargs: Vec<(&str, Value<'_>)> = ctx
                    .get("args")
                    .and_then(Json::as_object)
                    .map(|a| a.iter().map(|(k, v)| (k.as_str(), to_starlark(v, false, heap))).collect())
                    .unwrap_or_default();
                let context = heap.alloc(StepContext::default());
                eval.eval_function(function, &[context], &kwargs)
            };
            if let Some(effect) = state.pending.take() {
                return Ok(StepAdvance::Effect { effect });
            }
            let returned = outcome.map_err(|e| self.describe(&e))?;
            match give_back(returned, heap)? {
                Renderable::Literal { value } => Ok(StepAdvance::Done { returned: value }),
                _ => Err("a step function returns a result, not a renderable".to_owned()),
            }
        })
    }

    /// An error with its place and the function that it arose in.
    fn describe(&self, error: &starlark::Error) -> String {
        let message = message_of(error);
        let frames = &error.call_stack().frames;
        let span = error.span().or_else(|| frames.iter().rev().find_map(|f| f.location.as_ref()));
        let Some(span) = span else {
            return message;
        };
        let name = span.file.filename();
        let Some(file) = self.files.get(name) else {
            return message;
        };
        let place = file.place(file.original_offset(span.span.begin().get() as usize));
        format!("{name}:{}:{}: {message}", place.line, place.column)
    }
}

fn limit<'v, 'a>(eval: &mut Evaluator<'v, 'a, '_>, limits: Limits) -> Result<(), String> {
    eval.set_max_callstack_size(MAX_CALL_DEPTH).map_err(|e| e.to_string())?;
    eval.set_max_heap_size(limits.heap_bytes.max(1)).map_err(|e| e.to_string())?;
    eval.set_check_cancelled(Box::new(move || Instant::now() >= limits.deadline));
    Ok(())
}

/// A returned value as data; what was wrong in making it data is the error.
fn give_back<'v>(returned: Value<'v>, heap: starlark::values::Heap<'v>) -> Result<Renderable, String> {
    let collector = Collector::default();
    let mut extractor = Extractor::new(&collector, heap);
    let node = extractor.read("", returned);
    let renderable = crate::farm::returned(&node, Reporter { collector: &collector });
    match collector.diagnostics.take().first() {
        Some(Diagnostic { message, .. }) => Err(format!("the returned value cannot be used: {message}")),
        None => Ok(renderable),
    }
}
