//! The grammar of `Interpolate` and `WithProperties` format strings: text to a template, without any values.
//!
//! Follows the manual's page on properties: `%(prop:name)s`, `%(src:codebase:attribute)s`, `%(kw:name)s`,
//! `%(secret:name)s`, `%(worker:name)s`, positional `%s`, `%%`, and the substitutions `:-`, `:~`, `:+`, `:?|a|b` and
//! `:#?|a|b`, whose replacements are templates themselves. The configuration checks strings with this when it loads;
//! the engine fills templates with values.

mod format;
mod parse;

pub use format::FormatSpec;
pub use parse::InterpolationError;

/// A parsed format string.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// `%s`, `%d`: the next positional argument.
    Positional(FormatSpec),
    /// `%(...)s`: a value looked up by name.
    Lookup {
        /// Where to look.
        key: LookupKey,
        /// What becomes of what was found.
        substitution: Substitution,
        /// How to write it.
        format: FormatSpec,
    },
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupKey {
    /// `prop:name`: a property.
    Property(String),
    /// `src:codebase:attribute`: of the source stamp of a code base.
    Source {
        /// The code base; empty for the one without a name.
        codebase: String,
        /// `branch`, `revision`, `repository`, `project`, `codebase`, ...
        attribute: String,
    },
    /// `kw:name`: a keyword argument of the `Interpolate`.
    Keyword(String),
    /// `secret:name`: a secret.
    Secret(String),
    /// `worker:name`: what the worker said about itself.
    Worker(String),
}

/// What becomes of a value that was looked up.
#[derive(Clone, Debug, PartialEq)]
pub enum Substitution {
    /// The value, or nothing.
    Value,
    /// `:-`: the replacement if it does not exist.
    IfMissing(Template),
    /// `:~`: the replacement if it does not exist or is false.
    IfFalse(Template),
    /// `:+`: the replacement if it exists, otherwise nothing.
    IfPresent(Template),
    /// `:?|a|b` and `:#?|a|b`: the first if it exists (or, with `#`, is true), otherwise the second.
    Ternary {
        /// Whether the truth decides, not the existence.
        by_truth: bool,
        /// For yes.
        yes: Template,
        /// For no.
        no: Template,
    },
}

impl Template {
    /// Parses the format string of an `Interpolate`.
    ///
    /// # Errors
    ///
    /// If a conversion is malformed or of an unknown kind, or positional and named conversions are mixed.
    pub fn parse(text: &str) -> Result<Self, InterpolationError> {
        parse::interpolate(text)
    }

    /// Parses the format string of a `WithProperties`, where every name is a property.
    ///
    /// # Errors
    ///
    /// If a conversion is malformed.
    pub fn parse_with_properties(text: &str) -> Result<Self, InterpolationError> {
        parse::with_properties(text)
    }

    /// Every lookup in the template, replacements included.
    pub fn keys(&self) -> Vec<&LookupKey> {
        let mut keys = Vec::new();
        self.collect_keys(&mut keys);
        keys
    }

    fn collect_keys<'a>(&'a self, keys: &mut Vec<&'a LookupKey>) {
        for piece in &self.0 {
            let Piece::Lookup { key, substitution, .. } = piece else { continue };
            keys.push(key);
            match substitution {
                Substitution::Value => {}
                Substitution::IfMissing(template)
                | Substitution::IfFalse(template)
                | Substitution::IfPresent(template) => template.collect_keys(keys),
                Substitution::Ternary { yes, no, .. } => {
                    yes.collect_keys(keys);
                    no.collect_keys(keys);
                }
            }
        }
    }
}
