//! What an evaluation gathers besides values: diagnostics, the places of objects, and which inputs
//! it used or missed.

// The derive that lets native functions reach the collector expands to an unsafe impl.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use starlark::any::ProvidesStaticType;
use starlark::codemap::FileSpan;
use starlark::eval::Evaluator;

use super::sourcemap::SourceFile;
use crate::diagnostic::{Diagnostic, Place};
use crate::source::{FarmBundle, Input, Missing};

/// A call expression in a file, as offsets in the text as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Site {
    pub(crate) file: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The state of one evaluation, reachable from native functions.
#[derive(Debug, ProvidesStaticType, Default)]
pub(crate) struct Collector {
    pub(crate) bundle: FarmBundle,
    pub(crate) files: RefCell<BTreeMap<String, Rc<SourceFile>>>,
    pub(crate) diagnostics: RefCell<Vec<Diagnostic>>,
    pub(crate) sites: RefCell<Vec<Site>>,
    pub(crate) missing: RefCell<Missing>,
}

/// What `env()` or `read_file()` found.
pub(crate) enum Found<T> {
    Value(T),
    /// Not in the bundle yet; noted, and the evaluation will be repeated.
    Missing,
}

impl Collector {
    pub(crate) fn new(bundle: FarmBundle) -> Self {
        Self { bundle, ..Self::default() }
    }

    /// The collector of the running evaluation.
    pub(crate) fn of<'a>(eval: &Evaluator<'_, 'a, '_>) -> Option<&'a Collector> {
        eval.extra.and_then(|e| e.downcast_ref::<Collector>())
    }

    pub(crate) fn file(&self, name: &str) -> Option<Rc<SourceFile>> {
        self.files.borrow().get(name).cloned()
    }

    /// Adds a diagnostic, with its source line filled in; the same one only once.
    pub(crate) fn report(&self, mut diagnostic: Diagnostic) {
        if let Some(file) = self.file(&diagnostic.place.file) {
            file.line(diagnostic.place.line).clone_into(&mut diagnostic.source_line);
        }
        let mut all = self.diagnostics.borrow_mut();
        if !all.contains(&diagnostic) {
            all.push(diagnostic);
        }
    }

    /// The site of the innermost call.
    pub(crate) fn here(&self, eval: &Evaluator<'_, '_, '_>) -> Site {
        eval.call_stack_top_location().map(|l| self.site_of(&l)).unwrap_or_default()
    }

    /// A place of the translated text as one of the text as written.
    pub(crate) fn site_of(&self, location: &FileSpan) -> Site {
        let (begin, end) = (location.span.begin().get() as usize, location.span.end().get() as usize);
        let name = location.file.filename().to_owned();
        match self.file(&name) {
            Some(file) => Site { start: file.original_offset(begin), end: file.original_offset(end), file: name },
            None => Site { file: name, start: begin, end },
        }
    }

    /// Remembers a site, giving its number.
    pub(crate) fn add_site(&self, site: Site) -> u32 {
        let mut sites = self.sites.borrow_mut();
        sites.push(site);
        u32::try_from(sites.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn site(&self, number: u32) -> Site {
        self.sites.borrow().get(number as usize).cloned().unwrap_or_default()
    }

    /// The place where a call begins.
    pub(crate) fn place(&self, site: &Site) -> Place {
        match self.file(&site.file) {
            Some(file) => file.place(site.start),
            None => Place { file: site.file.clone(), line: 0, column: 0 },
        }
    }

    /// The place of a keyword argument within a call, or of the call.
    pub(crate) fn argument_place(&self, site: &Site, argument: &str) -> Place {
        self.find(site, |text| find_argument(text, argument).or_else(|| find_entry(text, argument)))
    }

    /// The place of a string within a keyword argument, or anywhere in the call, or of the call.
    pub(crate) fn string_place(&self, site: &Site, argument: &str, content: &str) -> Place {
        self.find(site, |text| {
            let from = find_argument(text, argument).unwrap_or(0);
            find_string(text, from, content).or_else(|| find_argument(text, argument))
        })
    }

    fn find(&self, site: &Site, find: impl Fn(&str) -> Option<usize>) -> Place {
        let Some(file) = self.file(&site.file) else {
            return self.place(site);
        };
        let text = file.original.get(site.start..site.end).unwrap_or("");
        file.place(site.start + find(text).unwrap_or(0))
    }

    /// The place of `['key']` in the main file.
    pub(crate) fn key_place(&self, key: &str) -> Place {
        self.nested_key_place(&[key])
    }

    /// The place of a key below others, such as `www`, `port`: each is looked for behind the one before.
    pub(crate) fn nested_key_place(&self, keys: &[&str]) -> Place {
        let name = &self.bundle.main;
        let Some(file) = self.file(name) else {
            return Place { file: name.clone(), line: 0, column: 0 };
        };
        let mut found = None;
        let mut from = 0;
        for key in keys {
            let rest = file.original.get(from..).unwrap_or("");
            if let Some(at) = find_key(rest, key).or_else(|| find_argument(rest, key)) {
                found = Some(from + at);
                from += at + key.len();
            }
        }
        match found {
            Some(at) => file.place(at),
            None => Place { file: name.clone(), line: 0, column: 0 },
        }
    }

    /// The text of the dict that has this name, in any file; a dict does not know where it was written.
    pub(crate) fn dict_site(&self, name: &str) -> Site {
        for file in self.files.borrow().values() {
            let text = &file.original;
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| find_string(rest, 0, name)).map(|at| from + at) {
                let before = text.get(..at).unwrap_or("").trim_end();
                let is_name = before.strip_suffix(':').is_some_and(|b| {
                    let b = b.trim_end();
                    b.ends_with("'name'") || b.ends_with("\"name\"")
                }) || before.strip_suffix('=').is_some_and(|b| b.trim_end().ends_with("name"));
                if is_name {
                    let start = before.rfind(['{', '(']).unwrap_or(at);
                    let end = text.get(at..).and_then(|rest| rest.find(['}', '\n'])).map_or(text.len(), |n| at + n);
                    // A dict over several lines ends with its brace.
                    let end = text.get(end..).and_then(|r| r.find('}')).map_or(end, |n| end + n);
                    return Site { file: file.name.clone(), start, end };
                }
                from = at + name.len().max(1);
            }
        }
        let place = self.nested_key_place(&["builders"]);
        let start = self.file(&place.file).and_then(|f| find_key(&f.original, "builders")).unwrap_or(0);
        Site { file: self.bundle.main.clone(), start, end: start }
    }

    /// The place of a function's definition.
    pub(crate) fn function_place(&self, name: &str) -> Option<Place> {
        let pattern = format!("def {name}(");
        self.files.borrow().values().find_map(|f| f.original.find(&pattern).map(|at| f.place(at)))
    }

    /// The value of an environment variable that the config declares as its input.
    pub(crate) fn env(&self, name: &str) -> Found<Option<String>> {
        match self.bundle.env.get(name) {
            Some(value) => Found::Value(value.clone()),
            None => {
                self.missing.borrow_mut().env.insert(name.to_owned());
                Found::Missing
            }
        }
    }

    /// A file that the config declares as its input.
    pub(crate) fn read(&self, name: &str) -> Found<Input> {
        match self.bundle.reads.get(name) {
            Some(input) => Found::Value(input.clone()),
            None => {
                self.missing.borrow_mut().reads.insert(name.to_owned());
                Found::Missing
            }
        }
    }
}

/// The offset of `name=` (not `name==`, not `.name=`) in a text.
fn find_argument(text: &str, name: &str) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|t| t.find(name)) {
        let at = from + at;
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + name.len()..).unwrap_or("").trim_start();
        let word = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '"' || c == '\''));
        if word && after.starts_with('=') && !after.starts_with("==") {
            return Some(at);
        }
        from = at + name.len();
    }
    None
}

/// The offset of `['key']` or of `'key':` in a text.
fn find_key(text: &str, key: &str) -> Option<usize> {
    let index = |quote: char| text.find(&format!("[{quote}{key}{quote}]")).map(|at| at + 1);
    index('\'').or_else(|| index('"')).or_else(|| find_entry(text, key))
}

/// The offset of `'key':` in a text.
fn find_entry(text: &str, key: &str) -> Option<usize> {
    if key.is_empty() {
        return None;
    }
    ['\'', '"'].iter().find_map(|quote| {
        let quoted = format!("{quote}{key}{quote}");
        text.match_indices(&quoted).find_map(|(at, _)| {
            let after = text.get(at + quoted.len()..).unwrap_or("").trim_start();
            after.starts_with(':').then_some(at)
        })
    })
}

/// The offset of a quoted string in a text.
fn find_string(text: &str, from: usize, content: &str) -> Option<usize> {
    ['"', '\'']
        .iter()
        .filter_map(|q| text.get(from..).and_then(|t| t.find(&format!("{q}{content}{q}"))))
        .min()
        .map(|at| from + at)
}
