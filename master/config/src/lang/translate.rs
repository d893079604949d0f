//! Python as people write it in `master.cfg`, made into Starlark.
//!
//! Rewritten: imports of Buildbot's names, chained assignment, decorators, comparisons, implicit string
//! concatenation, f-strings and format specifications, `async`/`await`, `b""`/`u""`, `1_000`, tabs. What cannot be rewritten
//! (classes, exceptions, `while`) is reported with what to use instead. Places keep pointing to the
//! text as written.

use super::sourcemap::{Edit, SourceFile};
use super::tokens::{Kind, Line, Token, logical_lines};
use super::{compare, format, fstring};
use crate::schema;

/// Something in the text that cannot be had in Starlark.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// Byte offset in the original.
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Translates one file.
pub(super) fn translate(name: &str, source: &str) -> (SourceFile, Vec<Problem>) {
    let mut t = Translator { source, edits: Vec::new(), problems: Vec::new() };
    let lines = logical_lines(source);
    let mut i = 0;
    while i < lines.len() {
        i = t.statement(&lines, i);
    }
    if source.starts_with('\u{feff}') {
        t.replace(0, '\u{feff}'.len_utf8(), "");
    }
    (SourceFile::new(name, source, t.edits), t.problems)
}

struct Translator<'a> {
    source: &'a str,
    edits: Vec<Edit>,
    problems: Vec<Problem>,
}

impl<'a> Translator<'a> {
    fn replace(&mut self, start: usize, end: usize, text: impl Into<String>) {
        self.edits.push(Edit { start, end, text: text.into() });
    }

    fn problem(&mut self, offset: usize, message: impl Into<String>, help: Option<&str>) {
        self.problems.push(Problem { offset, message: message.into(), help: help.map(str::to_owned) });
    }

    fn text(&self, t: &Token) -> &'a str {
        t.text(self.source)
    }

    /// Handles the logical line `i` and gives the index of the next one to handle.
    fn statement(&mut self, lines: &[Line], i: usize) -> usize {
        let line = &lines[i];
        self.tabs(line);
        let first = &line.tokens[0];
        let word = self.text(first);
        match word {
            "import" | "from" if first.kind == Kind::Name => {
                self.import(line);
                return i + 1;
            }
            "@" => return self.decorated(lines, i),
            _ => {}
        }
        if first.kind == Kind::Name
            && let Some(help) = unsupported(word)
        {
            // `match` and `type` are names in most Python texts; the words below never are.
            self.problem(first.start, format!("`{word}` is Python, not Starlark"), Some(help));
        }
        // First, because its calls are around what the others write.
        self.comparisons(line);
        self.chained_assignment(line);
        self.expressions(line);
        i + 1
    }

    /// `a == b` becomes a call, so that it can be a renderable condition.
    fn comparisons(&mut self, line: &Line) {
        for found in compare::comparisons(&line.tokens, self.source) {
            self.replace(found.left, found.left, format!("{}({:?}, ", compare::FUNCTION, found.operator));
            self.replace(found.at.0, found.at.1, ",");
            self.replace(found.right, found.right, ")");
        }
    }

    /// Starlark wants spaces.
    fn tabs(&mut self, line: &Line) {
        let indent = self.source.get(line.start..line.start + line.indent).unwrap_or("");
        if indent.contains('\t') {
            let mut width = 0;
            for c in indent.chars() {
                width = if c == '\t' { (width / 8 + 1) * 8 } else { width + 1 };
            }
            self.replace(line.start, line.start + line.indent, " ".repeat(width));
        }
    }

    /// `a = b = value` becomes `b = value; a = b`.
    fn chained_assignment(&mut self, line: &Line) {
        let source = self.source;
        for statement in line.tokens.split(|t| t.depth == 0 && t.text(source) == ";") {
            self.chained_statement(statement);
        }
    }

    fn chained_statement(&mut self, tokens: &[Token]) {
        let top = |t: &&Token| t.depth == 0;
        // After `if x:` on one line, or with a lambda in it, the statement is left as it is.
        if tokens.iter().filter(top).any(|t| matches!(self.text(t), ":" | "lambda")) {
            return;
        }
        let equals: Vec<Token> =
            tokens.iter().filter(top).filter(|t| t.kind == Kind::Op && self.text(t) == "=").copied().collect();
        let ([.., before, last], Some(first), Some(end)) = (equals.as_slice(), tokens.first(), tokens.last()) else {
            return;
        };
        let mut targets = Vec::new();
        let mut start = first.start;
        for e in &equals {
            targets.push(self.source.get(start..e.start).unwrap_or("").trim().to_owned());
            start = e.end;
        }
        let Some(kept) = targets.pop() else {
            return;
        };
        let space = self.source.get(before.end..last.start).map_or(0, |s| s.len() - s.trim_start().len());
        self.replace(first.start, before.end + space, "");
        let tail: String = targets.iter().map(|t| format!("; {t} = {kept}")).collect();
        self.replace(end.end, end.end, tail);
    }

    /// `@decorator` before a function becomes an assignment after it.
    fn decorated(&mut self, lines: &[Line], first: usize) -> usize {
        let mut i = first;
        let mut decorators = Vec::new();
        while let Some(line) = lines.get(i).filter(|l| self.text(&l.tokens[0]) == "@") {
            let (start, end) = (line.tokens[0].start, line.tokens.last().map_or(line.start, |t| t.end));
            let text = self.source.get(start + 1..end).unwrap_or("").trim().to_owned();
            if text.ends_with("inlineCallbacks") {
                self.problem(
                    start,
                    "Twisted's `inlineCallbacks` cannot be used",
                    Some("functions of the config give their answer at once; what takes time is a step function"),
                );
            } else {
                decorators.push(text);
            }
            // A line of its own is left empty, so the lines below stay where they are.
            self.replace(start, end, "");
            i += 1;
        }
        let Some(def) = lines.get(i) else {
            return i;
        };
        let mut at = 0;
        if self.text(&def.tokens[0]) == "async" {
            at = 1;
        }
        let keyword = def.tokens.get(at).map_or("", |t| self.text(t));
        if keyword == "class" {
            return i;
        }
        let name = def.tokens.get(at + 1).map_or("", |t| self.text(t));
        // The block is what follows with a deeper indentation.
        let mut last = i;
        while lines.get(last + 1).is_some_and(|l| l.indent > def.indent) {
            last += 1;
        }
        let end = lines[last].tokens.last().map_or(0, |t| t.end);
        let indent = self.source.get(def.start..def.start + def.indent).unwrap_or("").replace('\t', "        ");
        let mut tail = String::new();
        for d in decorators.iter().rev() {
            tail.push_str(&format!("\n{indent}{name} = {d}({name})"));
        }
        let mut next = i;
        while next <= last {
            next = self.statement(lines, next);
        }
        // A comment may follow the last token on its line: the assignment goes behind it.
        let end = self.source.get(end..).and_then(|s| s.find('\n')).map_or(self.source.len(), |n| end + n);
        self.replace(end, end, tail);
        next
    }

    /// What is inside expressions.
    fn expressions(&mut self, line: &Line) {
        let tokens = &line.tokens;
        let mut i = 0;
        while i < tokens.len() {
            let t = tokens[i];
            let text = self.text(&t);
            match t.kind {
                Kind::String => {
                    i = self.strings(tokens, i);
                    continue;
                }
                Kind::Number if text.contains('_') => self.replace(t.start, t.end, text.replace('_', "")),
                Kind::Name if text == "async" || text == "await" => {
                    let end = tokens.get(i + 1).map_or(t.end, |n| n.start);
                    self.replace(t.start, end, "");
                }
                Kind::Op if text == "{" => self.set_display(tokens, i),
                Kind::Op if text == "**" && i > 0 && operand(&tokens[i - 1], self.source) => {
                    self.problem(t.start, "Starlark has no power operator", Some("write the product, or `1 << n`"));
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// `{a, b}` is a set: `set([a, b])`. With a colon or `**` in it, or empty, it is a dict.
    fn set_display(&mut self, tokens: &[Token], open: usize) {
        let Some(brace) = tokens.get(open) else {
            return;
        };
        let rest = tokens.get(open + 1..).unwrap_or(&[]);
        let Some(close) = rest.iter().position(|t| t.depth == brace.depth && self.text(t) == "}") else {
            return;
        };
        let inside = rest.get(..close).unwrap_or(&[]);
        let dict = inside.iter().any(|t| t.depth == brace.depth + 1 && matches!(self.text(t), ":" | "**"));
        if inside.is_empty() || dict {
            return;
        }
        let end = rest.get(close).copied();
        self.replace(brace.start, brace.end, "set([");
        if let Some(end) = end {
            self.replace(end.start, end.end, "])");
        }
    }

    /// One string or several next to each other; gives the index after them.
    fn strings(&mut self, tokens: &[Token], first: usize) -> usize {
        let mut end = first;
        while tokens.get(end).is_some_and(|t| t.kind == Kind::String) {
            end += 1;
        }
        let group = &tokens[first..end];
        // `"%(name)s" % dict`, `"%02d" % 7`: Starlark knows neither names nor widths.
        let percent = tokens.get(end).is_some_and(|t| self.text(t) == "%")
            && group.iter().any(|t| super::percent::needs_us(self.text(t)));
        if let (true, Some(t)) = (percent, group.first()) {
            self.replace(t.start, t.start, format!("{}(", super::percent::FUNCTION));
        }
        // `"{:>3}".format(x)`: Starlark knows no specifications.
        let is = |i: usize, text: &str| tokens.get(i).is_some_and(|t| self.text(t) == text);
        let method = is(end, ".") && is(end + 1, "format") && is(end + 2, "(");
        let formatted = method && group.iter().any(|t| format::needs_us(self.text(t)));
        if let (true, Some(t)) = (formatted, group.first()) {
            self.replace(t.start, t.start, format!("{}(", format::FUNCTION));
        }
        if group.len() > 1 {
            self.replace(group[0].start, group[0].start, "(");
        }
        for (n, t) in group.iter().enumerate() {
            if n > 0 {
                self.replace(t.start, t.start, "+ ");
            }
            self.string(t);
        }
        if let (true, Some(last)) = (group.len() > 1, group.last()) {
            self.replace(last.end, last.end, ")");
        }
        if let (true, Some(last)) = (percent, group.last()) {
            self.replace(last.end, last.end, ")");
        }
        if let (true, Some(dot), Some(open)) = (formatted, tokens.get(end), tokens.get(end + 2)) {
            self.replace(dot.start, open.end, ", ");
            return end + 3;
        }
        end
    }

    fn string(&mut self, t: &Token) {
        let text = self.text(t);
        let quote = text.find(['"', '\'']).unwrap_or(0);
        let prefix = text.get(..quote).unwrap_or("").to_ascii_lowercase();
        if prefix.contains('f') {
            match fstring::rewrite(text) {
                Ok(rewritten) => self.replace(t.start, t.end, rewritten),
                Err((at, message)) => self.problem(t.start + at, message, None),
            }
        } else if prefix.contains(['b', 'u']) || text.starts_with('R') {
            self.replace(t.start, t.start + quote, if prefix.contains('r') { "r" } else { "" });
        }
    }

    /// Imports: Buildbot's names are there anyway; others cannot be had.
    fn import(&mut self, line: &Line) {
        let names: Vec<&str> = line.tokens.iter().map(|t| self.text(t)).collect();
        let (start, end) = (line.tokens[0].start, line.tokens.last().map_or(line.start, |t| t.end));
        let mut assignments = Vec::new();
        if names[0] == "import" {
            for part in names[1..].split(|n| *n == ",") {
                let (module, alias) = split_alias(part);
                let known = matches!(module.as_str(), "os" | "os.path" | "json" | "buildbot");
                if !known {
                    self.problem(
                        start,
                        format!("module `{module}` cannot be imported"),
                        Some(match module.as_str() {
                            "re" => "give the pattern itself, r\"...\", wherever Buildbot takes one from re.compile()",
                            _ => "the config is Starlark: split it with load(\"file.star\", \"name\"), read inputs with env() and read_file()",
                        }),
                    );
                } else if let Some(alias) = alias {
                    assignments.push(format!("{alias} = {module}"));
                }
            }
        } else {
            let at = names.iter().position(|n| *n == "import").unwrap_or(names.len());
            let module = names.get(1..at).unwrap_or(&[]).concat();
            let imported = names.get(at + 1..).unwrap_or(&[]);
            let imported: Vec<&str> = imported.iter().copied().filter(|n| *n != "(" && *n != ")").collect();
            if module == "buildbot" || module.starts_with("buildbot.") {
                self.import_buildbot(start, &module, &imported, &mut assignments);
            } else if module != "__future__" && module != "os" && module != "os.path" {
                self.problem(
                    start,
                    format!("module `{module}` cannot be imported"),
                    Some("the config is Starlark: make it a Starlark file and use load(\"file.star\", \"name\")"),
                );
            } else if module.starts_with("os") {
                for part in imported.split(|n| *n == ",") {
                    let (name, alias) = split_alias(part);
                    assignments.push(format!("{} = {module}.{name}", alias.unwrap_or(name.clone())));
                }
            }
        }
        let mut text = assignments.join("; ");
        if text.is_empty() && line.indent > 0 {
            text = "pass".to_owned();
        }
        self.replace(start, end, text);
    }

    fn import_buildbot(&mut self, start: usize, module: &str, imported: &[&str], assignments: &mut Vec<String>) {
        for part in imported.split(|n| *n == ",").filter(|p| !p.is_empty()) {
            let (name, alias) = split_alias(part);
            if name == "*" {
                continue;
            }
            let global = schema::NAMESPACES.contains(&name.as_str())
                || super::names::RESULT_NAMES.contains(&name.as_str())
                || name == "plugins";
            let target = if global {
                Some(name.clone())
            } else if let Some((ns, _)) = schema::find_anywhere(&name) {
                Some(format!("{ns}.{name}"))
            } else {
                schema::NAMESPACES
                    .iter()
                    .find(|ns| schema::deferred(ns, &name) || super::names::is_helper(ns, &name))
                    .map(|ns| format!("{ns}.{name}"))
            };
            match target {
                None => self.problem(
                    start,
                    format!("`{module}` has no `{name}` that a config can use"),
                    Some("use the namespaces of `from buildbot.plugins import *`"),
                ),
                Some(target) => {
                    let bound = alias.unwrap_or(name);
                    if bound != target {
                        assignments.push(format!("{bound} = {target}"));
                    }
                }
            }
        }
    }
}

/// `a . b as c`: the dotted name and the alias.
fn split_alias(part: &[&str]) -> (String, Option<String>) {
    match part.iter().position(|n| *n == "as") {
        Some(at) => (part[..at].concat(), part.get(at + 1).map(|s| (*s).to_owned())),
        None => (part.concat(), None),
    }
}

/// True if a token ends an operand, so that `**` after it is the power operator.
fn operand(t: &Token, source: &str) -> bool {
    matches!(t.kind, Kind::Name | Kind::Number | Kind::String) && t.text(source) != "lambda"
        || matches!(t.text(source), ")" | "]")
}

/// What to do instead of a statement that Starlark has not.
fn unsupported(word: &str) -> Option<&'static str> {
    Some(match word {
        "class" => "give options to Buildbot's classes, or write a step function: steps.Function(name=..., run=...)",
        "try" | "except" | "finally" => "there are no exceptions; test before: `x.get(k)`, `hasattr`, `in`",
        "raise" => "stop with fail(\"message\")",
        "assert" => "write `if not ...: fail(\"message\")`",
        "while" => "loop over a range: `for _ in range(n)`",
        "with" => "read files with read_file(\"name\")",
        "yield" => "build a list",
        "del" => "use `.pop(key)`",
        "global" | "nonlocal" => "give values back with `return`",
        _ => return None,
    })
}
