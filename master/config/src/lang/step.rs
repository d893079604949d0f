//! Step functions: each effect asks the journal; the first one without an answer stops the function.
//! Starlark cannot catch errors, so stopping is an error that nobody sees.

// The derives that the interpreter needs for its values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::cell::{Cell, RefCell};
use std::fmt;

use allocative::Allocative;
use serde_json::{Map, Value as Json, json};
use starlark::any::ProvidesStaticType;
use starlark::eval::{Arguments, Evaluator};
use starlark::starlark_simple_value;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType as Provides, StarlarkPagable, StarlarkValue, Value, starlark_value,
};

use super::collector::Collector;
use super::node::{Extractor, Reporter};
use super::object::native;
use super::record::{Record, to_starlark};
use crate::loaded::StepEffect;

/// The state of one run from the top.
#[derive(Debug, ProvidesStaticType)]
pub(crate) struct StepState {
    ctx: Map<String, Json>,
    journal: Vec<Json>,
    position: Cell<usize>,
    /// Properties that this step has set.
    set: RefCell<Map<String, Json>>,
    /// The effect that has no answer yet.
    pub(crate) pending: RefCell<Option<StepEffect>>,
}

impl StepState {
    pub(crate) fn new(ctx: &Json, journal: &[Json]) -> Self {
        Self {
            ctx: ctx.as_object().cloned().unwrap_or_default(),
            journal: journal.to_vec(),
            position: Cell::new(0),
            set: RefCell::new(Map::new()),
            pending: RefCell::new(None),
        }
    }

    fn of<'a>(eval: &Evaluator<'_, 'a, '_>) -> Result<&'a StepState, starlark::Error> {
        eval.extra
            .and_then(|e| e.downcast_ref::<StepState>())
            .ok_or_else(|| native("this belongs to a step function, and none is running"))
    }

    /// The journal's answer to an effect; without one, the function stops here.
    fn answer(&self, effect: StepEffect) -> starlark::Result<Json> {
        let position = self.position.get();
        self.position.set(position + 1);
        match self.journal.get(position) {
            Some(answer) => Ok(answer.clone()),
            None => {
                *self.pending.borrow_mut() = Some(effect);
                Err(native("waiting for an effect"))
            }
        }
    }
}

/// What a step function gets: the step.
#[derive(Debug, Clone, Default, Provides, Allocative, NoSerialize, StarlarkPagable)]
pub(crate) struct StepContext {
    /// Nothing: the state is the evaluator's.
    unused: bool,
}
starlark_simple_value!(StepContext);

impl fmt::Display for StepContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<step>")
    }
}

/// The methods of the step and of its logs.
const METHODS: &[&str] = &[
    "run",
    "addLog",
    "addCompleteLog",
    "addHTMLLog",
    "addURL",
    "getProperty",
    "hasProperty",
    "setProperty",
    "setBuildData",
    "addTestResultSet",
    "addTestResult",
    "setSummary",
    "render",
    "get",
];
const LOG_METHODS: &[&str] = &["addStdout", "addStderr", "addHeader", "addContent", "finish"];

#[starlark_value(type = "step")]
impl<'v> StarlarkValue<'v> for StepContext {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        let known = METHODS.contains(&attribute);
        Some(heap.alloc(StepMethod {
            // Anything else is a field of the step, which only a call can look up; see `field`.
            name: if known { attribute.to_owned() } else { return field(attribute, heap) },
            log: String::new(),
            log_type: String::new(),
        }))
    }
}

thread_local! {
    /// Fields of the step that is running: attributes are read without the evaluator.
    static FIELDS: RefCell<Map<String, Json>> = RefCell::new(Map::new());
}

/// Makes the step's fields known to attribute access in this thread.
pub(crate) fn set_fields(ctx: &Json) {
    FIELDS.with(|f| *f.borrow_mut() = ctx.as_object().cloned().unwrap_or_default());
}

fn field<'v>(name: &str, heap: Heap<'v>) -> Option<Value<'v>> {
    FIELDS.with(|fields| {
        let fields = fields.borrow();
        // The step's own name and class stand under `step`.
        let value = fields.get(name).or_else(|| fields.get("step")?.get(name))?;
        Some(to_starlark(value, true, heap))
    })
}

/// A method of the step, or of a log of it.
#[derive(Debug, Clone, Provides, Allocative, NoSerialize, StarlarkPagable)]
struct StepMethod {
    name: String,
    log: String,
    log_type: String,
}
starlark_simple_value!(StepMethod);

impl fmt::Display for StepMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A log of the step.
#[derive(Debug, Clone, Provides, Allocative, NoSerialize, StarlarkPagable)]
struct StepLog {
    name: String,
    log_type: String,
}
starlark_simple_value!(StepLog);

impl fmt::Display for StepLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<log {}>", self.name)
    }
}

#[starlark_value(type = "log")]
impl<'v> StarlarkValue<'v> for StepLog {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        if attribute == "name" {
            return Some(heap.alloc(self.name.as_str()));
        }
        LOG_METHODS.contains(&attribute).then(|| {
            heap.alloc(StepMethod {
                name: attribute.to_owned(),
                log: self.name.clone(),
                log_type: self.log_type.clone(),
            })
        })
    }
}

#[starlark_value(type = "method")]
impl<'v> StarlarkValue<'v> for StepMethod {
    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let state = StepState::of(eval)?;
        let heap = eval.heap();
        let given = Given::new(&self.name, args, heap)?;
        if !self.log.is_empty() {
            return self.log_effect(state, &given);
        }
        Ok(match self.name.as_str() {
            "run" => run(state, &given, heap)?,
            "addLog" => {
                given.only(&["name", "type"])?;
                let (name, log_type) = (given.text("name", 0)?, given.opt_text("type", 1)?.unwrap_or("s".to_owned()));
                if !["s", "t", "h"].contains(&log_type.as_str()) {
                    return Err(native(format!("addLog: the type is 's', 't' or 'h', not '{log_type}'")));
                }
                state.answer(StepEffect::AddLog { name: name.clone(), log_type: log_type.clone() })?;
                heap.alloc(StepLog { name, log_type })
            }
            "addCompleteLog" | "addHTMLLog" => {
                given.only(&["name", "text", "html"])?;
                let html = self.name == "addHTMLLog";
                let text = match given.opt_text("html", usize::MAX)? {
                    Some(html) => html,
                    None => given.text("text", 1)?,
                };
                let log_type = if html { "h" } else { "t" }.to_owned();
                state.answer(StepEffect::AddCompleteLog { name: given.text("name", 0)?, log_type, text })?;
                Value::new_none()
            }
            "addURL" => {
                given.only(&["name", "url"])?;
                state.answer(StepEffect::AddUrl { name: given.text("name", 0)?, url: given.text("url", 1)? })?;
                Value::new_none()
            }
            "getProperty" | "hasProperty" | "get" => {
                let name = given.text("name", 0)?;
                let found = state.set.borrow().get(&name).cloned();
                let found = found.or_else(|| Record { fields: state.ctx.clone() }.property(&name).cloned());
                if self.name == "hasProperty" {
                    Value::new_bool(found.is_some())
                } else {
                    match found {
                        Some(value) => to_starlark(&value, false, heap),
                        None => given.value("default", 1).unwrap_or_else(Value::new_none),
                    }
                }
            }
            "setProperty" => {
                given.only(&["name", "value", "source"])?;
                let name = given.text("name", 0)?;
                let value = given.json("value", 1)?;
                state.set.borrow_mut().insert(name.clone(), value.clone());
                let source = given.opt_text("source", 2)?;
                state.answer(StepEffect::SetProperty { name, value, source })?;
                Value::new_none()
            }
            "setBuildData" => {
                given.only(&["name", "value", "source"])?;
                let (name, value) = (given.text("name", 0)?, given.text("value", 1)?);
                let source = given.opt_text("source", 2)?.unwrap_or_default();
                state.answer(StepEffect::SetBuildData { name, value, source })?;
                Value::new_none()
            }
            "addTestResultSet" => {
                given.only(&["description", "category", "value_unit"])?;
                let id = state.answer(StepEffect::AddTestResultSet {
                    description: given.text("description", 0)?,
                    category: given.text("category", 1)?,
                    value_unit: given.text("value_unit", 2)?,
                })?;
                to_starlark(&id, false, heap)
            }
            "addTestResult" => {
                given.only(&["set", "value", "test_name", "test_code_path", "line", "duration_ns"])?;
                let value = match given.json("value", 1)? {
                    Json::String(s) => s,
                    other => other.to_string(),
                };
                state.answer(StepEffect::AddTestResult {
                    set: given.json("set", 0)?,
                    value,
                    test_name: given.opt_text("test_name", 2)?,
                    test_code_path: given.opt_text("test_code_path", 3)?,
                    line: given.json("line", 4)?.as_i64(),
                    duration_ns: given.json("duration_ns", 5)?.as_i64(),
                })?;
                Value::new_none()
            }
            "setSummary" => {
                given.only(&["text"])?;
                state.answer(StepEffect::SetSummary { text: given.text("text", 0)? })?;
                Value::new_none()
            }
            "render" => {
                let renderable = given.renderable("value", 0)?;
                let rendered = state.answer(StepEffect::Render { renderable })?;
                to_starlark(&rendered, false, heap)
            }
            other => return Err(native(format!("a step has no `{other}`"))),
        })
    }
}

impl StepMethod {
    fn log_effect<'v>(&self, state: &StepState, given: &Given<'v>) -> starlark::Result<Value<'v>> {
        given.only(&["text"])?;
        let name = self.log.clone();
        if self.name == "finish" {
            state.answer(StepEffect::FinishLog { name })?;
            return Ok(Value::new_none());
        }
        let stream = self.log_type == "s";
        let channel = match (self.name.as_str(), stream) {
            ("addContent", false) => "",
            ("addStdout", true) => "o",
            ("addStderr", true) => "e",
            ("addHeader", true) => "h",
            (other, true) => return Err(native(format!("a log of type 's' has no `{other}`"))),
            (other, false) => return Err(native(format!("a log of type '{}' has no `{other}`", self.log_type))),
        };
        state.answer(StepEffect::AppendLog { name, channel: channel.to_owned(), text: given.text("text", 0)? })?;
        Ok(Value::new_none())
    }
}

/// `ctx.run(command, ...)`.
fn run<'v>(state: &StepState, given: &Given<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
    given.only(&[
        "command",
        "workdir",
        "env",
        "timeout",
        "maxTime",
        "log",
        "collectStdout",
        "collectStderr",
        "initialStdin",
        "decodeRC",
    ])?;
    let optional = |name: &str| -> starlark::Result<Option<Json>> {
        match given.value(name, usize::MAX) {
            Some(v) if !v.is_none() => Ok(Some(given.renderable(name, usize::MAX)?)),
            _ => Ok(None),
        }
    };
    let decode_rc = match given.value("decodeRC", usize::MAX) {
        Some(v) if !v.is_none() => Some(plain(v, heap)?),
        _ => None,
    };
    let answer = state.answer(StepEffect::Run {
        command: given.renderable("command", 0)?,
        workdir: optional("workdir")?,
        env: optional("env")?,
        timeout_secs: given.json("timeout", usize::MAX)?.as_f64(),
        max_time_secs: given.json("maxTime", usize::MAX)?.as_f64(),
        log: given.opt_text("log", usize::MAX)?.unwrap_or("stdio".to_owned()),
        collect_stdout: given.json("collectStdout", usize::MAX)?.as_bool().unwrap_or(true),
        collect_stderr: given.json("collectStderr", usize::MAX)?.as_bool().unwrap_or(true),
        stdin: given.opt_text("initialStdin", usize::MAX)?,
        decode_rc,
    })?;
    let mut fields = answer.as_object().cloned().unwrap_or_default();
    for (name, default) in [("rc", Json::Null), ("stdout", json!("")), ("stderr", json!("")), ("results", json!(2))] {
        fields.entry(name).or_insert(default);
    }
    Ok(heap.alloc(Record { fields }))
}

/// A value as plain JSON.
fn plain<'v>(value: Value<'v>, heap: Heap<'v>) -> starlark::Result<Json> {
    match rendered_form(value, heap)?.as_literal() {
        Some(json) => Ok(json.clone()),
        None => Err(native("a plain value is needed, not a renderable; use ctx.render(...) first")),
    }
}

fn rendered_form<'v>(value: Value<'v>, heap: Heap<'v>) -> starlark::Result<buildguild_types::render::Renderable> {
    let collector = Collector::default();
    let mut extractor = Extractor::new(&collector, heap);
    let node = extractor.read("", value);
    let renderable = crate::farm::returned(&node, Reporter { collector: &collector });
    match collector.diagnostics.take().first() {
        Some(d) => Err(native(d.message.clone())),
        None => Ok(renderable),
    }
}

/// The arguments of an effect.
struct Given<'v> {
    method: String,
    positional: Vec<Value<'v>>,
    named: Vec<(String, Value<'v>)>,
    heap: Heap<'v>,
}

impl<'v> Given<'v> {
    fn new(method: &str, args: &Arguments<'v, '_>, heap: Heap<'v>) -> starlark::Result<Self> {
        Ok(Self {
            method: method.to_owned(),
            positional: args.positions(heap)?.collect(),
            named: args.names_map()?.iter().map(|(k, v)| (k.as_str().to_owned(), *v)).collect(),
            heap,
        })
    }

    fn only(&self, names: &[&str]) -> starlark::Result<()> {
        match self.named.iter().find(|(n, _)| !names.contains(&n.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let hint = crate::diagnostic::suggest(name, names.iter().copied());
                let hint = hint.map(|h| format!("; {h}")).unwrap_or_default();
                Err(native(format!("{} has no argument `{name}`{hint}", self.method)))
            }
        }
    }

    fn value(&self, name: &str, position: usize) -> Option<Value<'v>> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, v)| *v).or_else(|| self.positional.get(position).copied())
    }

    fn opt_text(&self, name: &str, position: usize) -> starlark::Result<Option<String>> {
        match self.value(name, position) {
            None => Ok(None),
            Some(v) if v.is_none() => Ok(None),
            Some(v) => match v.unpack_str() {
                Some(s) => Ok(Some(s.to_owned())),
                None => Err(native(format!("{}: `{name}` must be a string, not {}", self.method, v.get_type()))),
            },
        }
    }

    fn text(&self, name: &str, position: usize) -> starlark::Result<String> {
        self.opt_text(name, position)?.ok_or_else(|| native(format!("{} needs `{name}`", self.method)))
    }

    /// A plain value; null if it is not given.
    fn json(&self, name: &str, position: usize) -> starlark::Result<Json> {
        self.value(name, position).map_or(Ok(Json::Null), |v| plain(v, self.heap))
    }

    /// A value that may hold renderables, in their JSON form.
    fn renderable(&self, name: &str, position: usize) -> starlark::Result<Json> {
        let value = self.value(name, position).ok_or_else(|| native(format!("{} needs `{name}`", self.method)))?;
        let renderable = rendered_form(value, self.heap)?;
        serde_json::to_value(&renderable).map_err(|e| native(e.to_string()))
    }
}
