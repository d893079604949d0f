//! Evaluating a config: its files in order, going on after errors, to a farm and to a program whose
//! functions can be called.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Instant;

use buildguild_types::farm::FarmConfig;
use starlark::analysis::AstModuleLint;
use starlark::environment::{FrozenModule, Globals, Module};
use starlark::errors::Frame;
use starlark::eval::{Evaluator, ReturnFileLoader};
use starlark::syntax::{AstModule, Dialect, DialectTypes};
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::{FrozenHeapName, Value};

use super::call::Limits;
use super::collector::Collector;
use super::construct;
use super::node::{Extractor, Node, Reporter};
use super::object::Placeholder;
use super::sourcemap::SourceFile;
use super::tokens::{Kind, Line, logical_lines};
use super::{names, translate};
use crate::diagnostic::Diagnostic;
use crate::farm;
use crate::schema;
use crate::source::{FarmBundle, Input, Missing};

/// How deep calls may nest.
pub(crate) const MAX_CALL_DEPTH: usize = 200;
/// How often loading goes on after an error of the main file.
const MAX_ERRORS: usize = 50;

/// Python as far as Starlark has it; what else is common is translated before.
const DIALECT: Dialect = Dialect {
    enable_def: true,
    enable_lambda: true,
    enable_load: true,
    enable_keyword_only_arguments: true,
    enable_positional_only_arguments: true,
    enable_types: DialectTypes::ParseOnly,
    enable_load_reexport: true,
    enable_top_level_stmt: true,
    enable_f_strings: false,
    _non_exhaustive: (),
};

/// A config version whose functions can be called.
pub(crate) struct Program {
    /// The main file's module; its extra value is a dict from path to function.
    pub(crate) module: FrozenModule,
    /// For places in error messages.
    pub(crate) files: BTreeMap<String, Rc<SourceFile>>,
}

/// What an evaluation gives.
pub(crate) struct Evaluated {
    /// The farm; a partial one if there are errors.
    pub(crate) farm: FarmConfig,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Inputs that were not in the bundle; if there are any, the rest means nothing yet.
    pub(crate) missing: Missing,
    pub(crate) program: Option<Program>,
}

impl Evaluated {
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Evaluates a config within limits.
pub(crate) fn evaluate(bundle: FarmBundle, limits: Limits) -> Evaluated {
    let collector = Collector::new(bundle);
    let mut loader = Loader {
        collector: &collector,
        globals: names::globals(),
        modules: BTreeMap::new(),
        stack: Vec::new(),
        limits,
    };
    let (farm, program) = loader.main();
    let mut diagnostics = collector.diagnostics.take();
    // In the order of the files, the main file first.
    let main = &collector.bundle.main;
    diagnostics.sort_by(|a, b| (a.place.file != *main, &a.place).cmp(&(b.place.file != *main, &b.place)));
    Evaluated { farm, diagnostics, missing: collector.missing.take(), program }
}

struct Loader<'c> {
    collector: &'c Collector,
    globals: Globals,
    modules: BTreeMap<String, FrozenModule>,
    stack: Vec<String>,
    limits: Limits,
}

impl Loader<'_> {
    fn main(&mut self) -> (FarmConfig, Option<Program>) {
        let name = self.collector.bundle.main.clone();
        let Some(file) = self.open(&name, None) else {
            return (FarmConfig::default(), None);
        };
        let Some(ast) = self.parse(&file) else {
            return (FarmConfig::default(), None);
        };
        self.load_all(&file, &ast);
        let result = Module::with_temp_heap(|module| {
            self.run(&file, ast, &module);
            if Instant::now() >= self.limits.deadline {
                // What is there now is half a config: whatever it lacks is no news.
                return (FarmConfig::default(), None);
            }
            let Some(dict) = self.dictionary(&module) else {
                return (FarmConfig::default(), None);
            };
            let mut extractor = Extractor::new(self.collector, module.heap());
            let mut entries: Vec<(String, Node)> = Vec::new();
            let pairs: Vec<(Value<'_>, Value<'_>)> = dict.iter().collect();
            for (k, v) in pairs {
                let key = k.unpack_str().map_or_else(|| k.to_str(), str::to_owned);
                let v = if key == "builders" { self.builders_of_dicts(v, module.heap()) } else { v };
                let node = extractor.read(&key, v);
                entries.push((key, node));
            }
            let functions = module.heap().alloc(AllocDict(extractor.functions));
            drop(dict);
            module.set_extra_value(functions);
            let farm = farm::lower(&entries, Reporter { collector: self.collector });
            let frozen = module.freeze_named(FrozenHeapName::User(Box::new(name.clone())));
            (farm, frozen.ok())
        });
        let files = self.collector.files.borrow().clone();
        (result.0, result.1.map(|module| Program { module, files }))
    }

    /// Builders may be given as dicts of their arguments.
    fn builders_of_dicts<'v>(&self, builders: Value<'v>, heap: starlark::values::Heap<'v>) -> Value<'v> {
        let (Some(items), Some(class)) = (construct::elements(builders), schema::find("util", "BuilderConfig")) else {
            return builders;
        };
        let converted: Vec<Value<'v>> = items
            .into_iter()
            .map(|item| match DictRef::from_value(item) {
                None => item,
                Some(dict) => construct::construct_from_dict(class, &dict, self.collector, heap).unwrap_or_else(|e| {
                    let place = self.collector.key_place("builders");
                    self.collector.report(Diagnostic::error(place, message_of(&e)));
                    heap.alloc(silent())
                }),
            })
            .collect();
        heap.alloc(converted)
    }

    fn dictionary<'v>(&self, module: &Module<'v>) -> Option<DictRef<'v>> {
        let found = module.get("BuildmasterConfig");
        if let Some(dict) = found.and_then(DictRef::from_value) {
            return Some(dict);
        }
        if self.collector.diagnostics.borrow().iter().any(Diagnostic::is_error) {
            return None;
        }
        let name = &self.collector.bundle.main;
        let (message, help) = match found {
            Some(_) => ("`BuildmasterConfig` must be a dict", None),
            None => (
                "the config does not define `BuildmasterConfig`",
                Some("begin with `c = BuildmasterConfig = {}`".to_owned()),
            ),
        };
        let place = self.collector.key_place("BuildmasterConfig");
        let place = crate::diagnostic::Place { file: name.clone(), ..place };
        self.collector.report(Diagnostic::error(place, message).with_help(help));
        None
    }

    /// A file of the bundle, translated; reports what cannot be translated.
    fn open(&self, name: &str, by: Option<&starlark::codemap::FileSpan>) -> Option<Rc<SourceFile>> {
        if let Some(known) = self.collector.file(name) {
            return Some(known);
        }
        let text = match self.collector.bundle.files.get(name) {
            Some(Input::Text(text)) => text,
            Some(Input::Failed(why)) => {
                let place = match by {
                    Some(span) => self.collector.place(&self.collector.site_of(span)),
                    None => crate::diagnostic::Place { file: name.to_owned(), line: 0, column: 0 },
                };
                self.collector.report(Diagnostic::error(place, format!("load {name}: {why}")));
                return None;
            }
            None => {
                self.collector.missing.borrow_mut().files.insert(name.to_owned());
                return None;
            }
        };
        let (file, problems) = translate::translate(name, text);
        let file = Rc::new(file);
        self.collector.files.borrow_mut().insert(name.to_owned(), file.clone());
        for problem in &problems {
            let place = file.place(problem.offset);
            self.collector.report(Diagnostic::error(place, problem.message.clone()).with_help(problem.help.clone()));
        }
        problems.is_empty().then_some(file)
    }

    fn parse(&self, file: &SourceFile) -> Option<AstModule> {
        match AstModule::parse(&file.name, file.translated.clone(), &DIALECT) {
            Ok(ast) => Some(ast),
            Err(e) => {
                self.report(&e);
                None
            }
        }
    }

    /// Loads what a file loads, before it runs.
    fn load_all(&mut self, file: &SourceFile, ast: &AstModule) {
        let loads: Vec<(String, starlark::codemap::FileSpan)> =
            ast.loads().iter().map(|l| (l.module_id.to_owned(), l.span.clone())).collect();
        for (id, span) in loads {
            if self.modules.contains_key(&id) {
                continue;
            }
            if id == file.name || self.stack.contains(&id) || id == self.collector.bundle.main {
                let place = self.collector.place(&self.collector.site_of(&span));
                self.collector
                    .report(Diagnostic::error(place, format!("load {id}: files load each other in a circle")));
                continue;
            }
            let Some(loaded) = self.open(&id, Some(&span)) else {
                continue;
            };
            let Some(ast) = self.parse(&loaded) else {
                continue;
            };
            self.stack.push(id.clone());
            self.load_all(&loaded, &ast);
            self.stack.pop();
            let frozen = Module::with_temp_heap(|module| {
                self.run(&loaded, ast, &module);
                module.freeze_named(FrozenHeapName::User(Box::new(id.clone())))
            });
            if let Ok(frozen) = frozen {
                self.modules.insert(id, frozen);
            }
        }
    }

    /// Runs a file; after an error it goes on with the next statement.
    fn run<'v>(&self, file: &SourceFile, first: AstModule, module: &Module<'v>) {
        let mut text = file.translated.clone();
        let mut ast = Some(first);
        let lines = logical_lines(&file.translated);
        let mut failed_before = false;
        for _ in 0..MAX_ERRORS {
            let Some(parsed) = ast.take().or_else(|| AstModule::parse(&file.name, text.clone(), &DIALECT).ok()) else {
                return;
            };
            // Names whose definition failed were reported; they mean nothing now.
            if failed_before {
                self.fill_undefined(&parsed, module);
            }
            let modules: HashMap<&str, &FrozenModule> = self.modules.iter().map(|(k, v)| (k.as_str(), v)).collect();
            let loader = ReturnFileLoader { modules: &modules };
            let outcome = {
                let mut eval = Evaluator::new(module);
                eval.set_loader(&loader);
                eval.extra = Some(self.collector);
                // The limits are set once for a new evaluator, and are not zero.
                let _ = eval.set_max_callstack_size(MAX_CALL_DEPTH);
                let _ = eval.set_max_heap_size(self.limits.heap_bytes.max(1));
                let deadline = self.limits.deadline;
                eval.set_check_cancelled(Box::new(move || Instant::now() >= deadline));
                eval.eval_module(parsed, &self.globals).map(|_| ())
            };
            let Err(error) = outcome else {
                return;
            };
            let undefined = matches!(error.kind(), starlark::ErrorKind::Scope(_));
            if undefined && !self.collector.missing.borrow().is_empty() {
                return;
            }
            if undefined && self.report_undefined(file, &text, module) {
                failed_before = true;
                continue;
            }
            if Instant::now() >= self.limits.deadline {
                self.report_late(file, &error);
                return;
            }
            // What follows from something that was reported already is no news.
            if !(failed_before && message_of(&error).contains("`unavailable`")) {
                self.report(&error);
            }
            failed_before = true;
            let Some(offset) = self.top_level_offset(file, &error) else {
                return;
            };
            let Some((end, names)) = statement_around(&file.translated, &lines, offset) else {
                return;
            };
            for name in names {
                if module.get(&name).is_none() {
                    module.set(&name, module.heap().alloc(silent()));
                }
            }
            text = blank(&file.translated, end);
        }
    }

    /// Reports every name that is defined nowhere, and defines it as a placeholder. False if there is none.
    fn report_undefined(&self, file: &SourceFile, text: &str, module: &Module<'_>) -> bool {
        let Ok(ast) = AstModule::parse(&file.name, text.to_owned(), &DIALECT) else {
            return false;
        };
        let undefined = self.undefined(&ast, module);
        for (name, span) in &undefined {
            let place = self.collector.place(&self.collector.site_of(span));
            let known: Vec<String> = self.globals.names().map(|n| n.as_str().to_owned()).collect();
            let mine: Vec<String> = module.names().map(|n| n.as_str().to_owned()).collect();
            let help = instead_of(name)
                .map(str::to_owned)
                .or_else(|| crate::diagnostic::suggest(name, known.iter().chain(&mine).map(String::as_str)));
            self.collector
                .report(Diagnostic::error(place, format!("the name `{name}` is not defined")).with_help(help));
            module.set(name, module.heap().alloc(silent()));
        }
        !undefined.is_empty()
    }

    fn fill_undefined(&self, ast: &AstModule, module: &Module<'_>) {
        for (name, _) in self.undefined(ast, module) {
            module.set(&name, module.heap().alloc(silent()));
        }
    }

    fn undefined(&self, ast: &AstModule, module: &Module<'_>) -> Vec<(String, starlark::codemap::FileSpan)> {
        let mut known: std::collections::HashSet<String> =
            self.globals.names().map(|n| n.as_str().to_owned()).collect();
        known.extend(module.names().map(|n| n.as_str().to_owned()));
        ast.lint(Some(&known))
            .into_iter()
            .filter(|l| l.short_name == "using-undefined")
            .filter_map(|l| {
                let name = l.location.source_span().to_owned();
                (!name.is_empty()).then_some((name, l.location))
            })
            .collect()
    }

    /// Where in this file, at its top level, an error arose.
    fn top_level_offset(&self, file: &SourceFile, error: &starlark::Error) -> Option<usize> {
        let frames = &error.call_stack().frames;
        frames
            .iter()
            .filter_map(|f| f.location.as_ref())
            .chain(error.span())
            .find(|l| l.file.filename() == file.name)
            .map(|l| l.span.begin().get() as usize)
    }

    fn report_late(&self, file: &SourceFile, error: &starlark::Error) {
        let mut diagnostic = diagnostic_of(self.collector, error);
        if diagnostic.place.line == 0 {
            diagnostic.place.file.clone_from(&file.name);
        }
        diagnostic.message = "loading the config did not end in time; it was stopped here".to_owned();
        self.collector.report(diagnostic);
    }

    fn report(&self, error: &starlark::Error) {
        self.collector.report(diagnostic_of(self.collector, error));
    }
}

/// An error of the interpreter as a diagnostic at the innermost place that is known.
fn diagnostic_of(collector: &Collector, error: &starlark::Error) -> Diagnostic {
    let message = message_of(error);
    let frames: Vec<&Frame> = error.call_stack().frames.iter().filter(|f| f.location.is_some()).collect();
    let span = error.span().or_else(|| frames.last().and_then(|f| f.location.as_ref()));
    let Some(span) = span else {
        let place = crate::diagnostic::Place { file: collector.bundle.main.clone(), line: 0, column: 0 };
        return Diagnostic::error(place, message);
    };
    let place = collector.place(&collector.site_of(span));
    let callers: Vec<String> = frames
        .iter()
        .rev()
        .filter_map(|f| f.location.as_ref())
        .map(|l| collector.place(&collector.site_of(l)))
        .filter(|p| (&p.file, p.line) != (&place.file, place.line))
        .map(|p| format!("{}:{}", p.file, p.line))
        .take(3)
        .collect();
    let help = (!callers.is_empty()).then(|| format!("called from {}", callers.join(", from ")));
    Diagnostic::error(place, message).with_help(help)
}

/// The message alone, in one line.
pub(crate) fn message_of(error: &starlark::Error) -> String {
    let text = error.without_diagnostic().to_string();
    let text = text.strip_prefix("fail: ").unwrap_or(&text);
    if let Some(bytes) = text.strip_prefix("Heap memory limit of ").and_then(|t| t.split(' ').next()) {
        let mib = bytes.parse::<u64>().unwrap_or(0) / (1024 * 1024);
        return format!("out of memory: more than {mib} MiB of values");
    }
    if let Some(field) = text.strip_prefix("Key `").and_then(|t| t.strip_suffix("` was not found"))
        && field.contains([':', '.', '['])
        && !error.call_stack().frames.is_empty()
    {
        // Most likely `.format`, whose fields Starlark takes for names.
        return format!(
            "there is no `{field}`; a format with specifications, attributes or indexes must be a literal: \"{{:>3}}\".format(x)"
        );
    }
    text.trim_start_matches("Parse error: ").lines().collect::<Vec<_>>().join(" ")
}

fn silent() -> Placeholder {
    Placeholder { message: String::new(), help: String::new() }
}

/// What to use instead of a name that Python has and a config has not.
fn instead_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "open" | "file" => "use read_file(\"name\")",
        "Exception" | "ValueError" | "KeyError" | "RuntimeError" | "TypeError" => "stop with fail(\"message\")",
        "super" | "object" | "property" | "staticmethod" | "classmethod" => {
            "there are no classes; write a function, or a step function: steps.Function(name=..., run=...)"
        }
        "time" | "datetime" | "random" => "a config gives the same result each time; declare inputs with env()",
        "sys" | "subprocess" | "socket" | "re" => "a config sees its files and declared inputs only",
        "defer" | "inlineCallbacks" => "functions give their answer at once; what takes time is a step function",
        "globals" | "locals" | "eval" | "exec" | "vars" => "name the values, or keep them in a dict",
        _ => return None,
    })
}

/// The end of the top-level statement around an offset, and the names that it assigns.
fn statement_around(text: &str, lines: &[Line], offset: usize) -> Option<(usize, Vec<String>)> {
    let mut first = lines.iter().rposition(|l| l.start <= offset)?;
    while first > 0 && lines.get(first).is_some_and(|l| l.indent > 0) {
        first -= 1;
    }
    // `else` and `elif` continue the statement before them.
    while first > 0 && lines.get(first).is_some_and(|l| matches!(l.tokens[0].text(text), "else" | "elif")) {
        first -= 1;
        while first > 0 && lines.get(first).is_some_and(|l| l.indent > 0) {
            first -= 1;
        }
    }
    let mut last = first;
    while lines.get(last + 1).is_some_and(|l| l.indent > 0 || matches!(l.tokens[0].text(text), "else" | "elif")) {
        last += 1;
    }
    let end = lines.get(last)?.tokens.last()?.end;
    let mut names = Vec::new();
    for line in lines.get(first..=last)? {
        let tokens = &line.tokens;
        for (i, t) in tokens.iter().enumerate() {
            let next = tokens.get(i + 1).map_or("", |n| n.text(text));
            let before = i.checked_sub(1).and_then(|b| tokens.get(b)).map_or("", |b| b.text(text));
            if t.kind == Kind::Name && t.depth == 0 && next == "=" && before != "." {
                names.push(t.text(text).to_owned());
            }
        }
    }
    Some((end, names))
}

/// The text with everything before `end` made white, so that places stay.
fn blank(text: &str, end: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, b) in text.bytes().enumerate().take(end) {
        let _ = i;
        out.push(if b == b'\n' { '\n' } else { ' ' });
    }
    // The rest of the line cannot be a statement of its own, except after `;`.
    let rest = text.get(end..).unwrap_or("");
    match rest.strip_prefix(';') {
        Some(rest) => {
            // A statement after `;` must begin at the line's start to be no unexpected indentation.
            let line_end = rest.find('\n').unwrap_or(rest.len());
            out.push(' ');
            out.extend(std::iter::repeat_n(' ', line_end));
            out.push_str(&rest[line_end..]);
        }
        None => out.push_str(rest),
    }
    out
}
