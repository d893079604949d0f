//! What a config check reports: messages with a place in a file.
//!
//! All errors of a config are collected and shown together; the text form quotes the source line
//! with a caret under the place, so that it can be read without opening the file.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, but something in it has no effect or is deprecated.
    Warning,
}

/// A place in a config file; lines and columns count from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file, relative to the config's directory.
    pub file: String,
    /// The line, from 1; 0 if unknown.
    pub line: u32,
    /// The column in characters, from 1; 0 if unknown.
    pub column: u32,
}

/// One message about a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// Where it is wrong.
    #[serde(flatten)]
    pub place: Place,
    /// The text of that line, empty if unknown.
    #[serde(default)]
    pub source_line: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), place, source_line: String::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// True if the config cannot be used because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Plain text: `file:line:column: error: message`, the source line and a caret.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let p = &self.place;
        if p.line == 0 {
            let _ = write!(out, "{}: {kind}: {}", p.file, self.message);
        } else {
            let _ = write!(out, "{}:{}:{}: {kind}: {}", p.file, p.line, p.column, self.message);
        }
        if !self.source_line.trim().is_empty() {
            let number = p.line.to_string();
            let _ = write!(out, "\n {number} | {}", self.source_line);
            if p.column > 0 {
                // Tabs stay tabs, so that the caret is under the place at any tab width.
                let pad: String = self
                    .source_line
                    .chars()
                    .take(p.column as usize - 1)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                let _ = write!(out, "\n {} | {pad}^", " ".repeat(number.len()));
            }
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n   help: {help}");
        }
        out
    }
}

/// All diagnostics as plain text, errors and warnings in the order of the files, and a last line
/// with the counts.
pub fn render_all(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let _ = writeln!(out, "{}\n", d.render());
    }
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let _ = write!(out, "{errors} error{}", plural(errors));
    if warnings > 0 {
        let _ = write!(out, ", {warnings} warning{}", plural(warnings));
    }
    out
}

/// The nearest of `known` to `name`, if it is near enough to be a slip.
pub(crate) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(d, k)| *d <= 1 + name.len().max(k.len()) / 4)
        .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)))
        .map(|(_, k)| format!("did you mean `{k}`?"))
}
