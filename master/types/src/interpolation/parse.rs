//! The parser. It never recurses deeper than a fixed limit, whatever the string.

use super::{FormatSpec, LookupKey, Piece, Substitution, Template};

/// How deep replacements may nest.
const MAX_DEPTH: usize = 16;

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterpolationError {
    /// A `%` that begins nothing.
    #[error("incomplete conversion at the end of the format string")]
    Incomplete,
    /// `%(` without its `)`.
    #[error("unbalanced parentheses in '%({0}'")]
    Unbalanced(String),
    /// A conversion type that there is not.
    #[error("unsupported conversion '{0}'")]
    UnknownConversion(String),
    /// `%(text)s` without a kind.
    #[error("invalid Interpolate substitution without selector '{0}'")]
    NoSelector(String),
    /// A kind that there is not.
    #[error("invalid Interpolate selector '{0}'")]
    UnknownSelector(String),
    /// A name with characters that names do not have.
    #[error("{kind} name must be alphanumeric, not '{name}'")]
    BadName {
        /// What is named.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// `src` without an attribute.
    #[error("must specify both codebase and attribute for src Interpolate '{0}'")]
    NoAttribute(String),
    /// A substitution that there is not.
    #[error("invalid Interpolate default type '{0}'")]
    UnknownSubstitution(String),
    /// A ternary that is not of the form `?|a|b`.
    #[error("invalid Interpolate ternary expression '{0}'")]
    BadTernary(String),
    /// `%s` and `%(prop:x)s` in one string.
    #[error("positional and named conversions cannot be mixed")]
    Mixed,
    /// Replacements within replacements without end.
    #[error("replacements are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

type KeyParser = fn(&str, usize) -> Result<(LookupKey, Substitution), InterpolationError>;

pub(super) fn interpolate(text: &str) -> Result<Template, InterpolationError> {
    template(text, 0, selector)
}

pub(super) fn with_properties(text: &str) -> Result<Template, InterpolationError> {
    template(text, 0, property_only)
}

fn template(text: &str, depth: usize, key_parser: KeyParser) -> Result<Template, InterpolationError> {
    if depth > MAX_DEPTH {
        return Err(InterpolationError::TooDeep);
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    let (mut positional, mut named) = (false, false);
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let key = if rest.starts_with('(') {
            let end = closing(rest).ok_or_else(|| InterpolationError::Unbalanced(rest[1..].to_owned()))?;
            let key = &rest[1..end];
            rest = &rest[end + 1..];
            Some(key)
        } else {
            None
        };
        let (format, length) = FormatSpec::parse(rest)?;
        rest = &rest[length..];
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(match key {
            Some(key) => {
                named = true;
                let (key, substitution) = key_parser(key, depth)?;
                Piece::Lookup { key, substitution, format }
            }
            None => {
                positional = true;
                Piece::Positional(format)
            }
        });
    }
    if positional && named {
        return Err(InterpolationError::Mixed);
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(Template(pieces))
}

/// The position of the `)` that closes the `(` at the beginning.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits at the first `delimiter` that is not within parentheses.
fn split_balanced(text: &str, delimiter: char) -> Option<(&str, &str)> {
    let mut open = 0i64;
    for (at, c) in text.char_indices() {
        match c {
            _ if c == delimiter && open == 0 => return Some((&text[..at], &text[at + c.len_utf8()..])),
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
    }
    None
}

fn selector(text: &str, depth: usize) -> Result<(LookupKey, Substitution), InterpolationError> {
    let (kind, argument) = text.split_once(':').ok_or_else(|| InterpolationError::NoSelector(text.to_owned()))?;
    match kind {
        "prop" => {
            let (name, rest) = name_and_rest(argument);
            let name = checked("property", name, is_property_name)?;
            Ok((LookupKey::Property(name), substitution(rest, depth, selector)?))
        }
        "kw" => {
            let (name, rest) = name_and_rest(argument);
            Ok((LookupKey::Keyword(checked("keyword", name, is_property_name)?), substitution(rest, depth, selector)?))
        }
        "secret" => {
            let (name, rest) = name_and_rest(argument);
            Ok((LookupKey::Secret(name.to_owned()), substitution(rest, depth, selector)?))
        }
        "worker" => {
            let (name, rest) = name_and_rest(argument);
            Ok((LookupKey::Worker(name.to_owned()), substitution(rest, depth, selector)?))
        }
        "src" => {
            let (codebase, attribute) =
                argument.split_once(':').ok_or_else(|| InterpolationError::NoAttribute(argument.to_owned()))?;
            let (attribute, rest) = name_and_rest(attribute);
            let codebase = checked("codebase", codebase, is_codebase_name)?;
            let attribute = checked("attribute", attribute, is_codebase_name)?;
            Ok((LookupKey::Source { codebase, attribute }, substitution(rest, depth, selector)?))
        }
        other => Err(InterpolationError::UnknownSelector(other.to_owned())),
    }
}

/// The names of `WithProperties`: anything up to the `:` of a substitution.
fn property_only(text: &str, _depth: usize) -> Result<(LookupKey, Substitution), InterpolationError> {
    for (mark, make) in [
        (":-", Substitution::IfMissing as fn(Template) -> Substitution),
        (":~", Substitution::IfFalse),
        (":+", Substitution::IfPresent),
    ] {
        if let Some((name, replacement)) = text.split_once(mark) {
            // The old form takes the replacement literally.
            let template = Template(vec![Piece::Text(replacement.to_owned())]);
            return Ok((LookupKey::Property(name.to_owned()), make(template)));
        }
    }
    Ok((LookupKey::Property(text.to_owned()), Substitution::Value))
}

fn name_and_rest(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)))
}

fn checked(kind: &'static str, name: &str, valid: fn(char) -> bool) -> Result<String, InterpolationError> {
    if name.chars().all(valid) {
        Ok(name.to_owned())
    } else {
        Err(InterpolationError::BadName { kind, name: name.to_owned() })
    }
}

fn is_property_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn is_codebase_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ')
}

fn substitution(text: Option<&str>, depth: usize, key_parser: KeyParser) -> Result<Substitution, InterpolationError> {
    let Some(text) = text else { return Ok(Substitution::Value) };
    let inner = |text: &str| template(text, depth + 1, key_parser);
    if let Some(rest) = text.strip_prefix("#?") {
        return ternary(rest, true, inner);
    }
    let Some(mark) = text.chars().next() else {
        return Err(InterpolationError::UnknownSubstitution(String::new()));
    };
    let rest = &text[mark.len_utf8()..];
    match mark {
        '-' => Ok(Substitution::IfMissing(inner(rest)?)),
        '~' => Ok(Substitution::IfFalse(inner(rest)?)),
        '+' => Ok(Substitution::IfPresent(inner(rest)?)),
        '?' => ternary(rest, false, inner),
        _ => Err(InterpolationError::UnknownSubstitution(text.to_owned())),
    }
}

fn ternary(
    text: &str,
    by_truth: bool,
    inner: impl Fn(&str) -> Result<Template, InterpolationError>,
) -> Result<Substitution, InterpolationError> {
    let bad = || InterpolationError::BadTernary(text.to_owned());
    let delimiter = text.chars().next().filter(|c| *c != '(').ok_or_else(bad)?;
    let (yes, no) = split_balanced(&text[delimiter.len_utf8()..], delimiter).ok_or_else(bad)?;
    if split_balanced(no, delimiter).is_some() {
        return Err(bad());
    }
    Ok(Substitution::Ternary { by_truth, yes: inner(yes)?, no: inner(no)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Template {
        Template(vec![Piece::Text(text.to_owned())])
    }

    fn only_lookup(format: &str) -> (LookupKey, Substitution) {
        match Template::parse(format).expect(format).0.as_slice() {
            [Piece::Lookup { key, substitution, .. }] => (key.clone(), substitution.clone()),
            other => panic!("{format}: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_the_manual_parses() {
        let prop = || LookupKey::Property("x".to_owned());
        assert_eq!(only_lookup("%(prop:x)s"), (prop(), Substitution::Value));
        assert_eq!(only_lookup("%(prop:x:-d)s"), (prop(), Substitution::IfMissing(text("d"))));
        assert_eq!(only_lookup("%(prop:x:~)s"), (prop(), Substitution::IfFalse(Template::default())));
        assert_eq!(only_lookup("%(prop:x:+(y))s"), (prop(), Substitution::IfPresent(text("(y)"))));
        assert_eq!(
            only_lookup("%(prop:x:?|a:b|c)s"),
            (prop(), Substitution::Ternary { by_truth: false, yes: text("a:b"), no: text("c") })
        );
        assert_eq!(
            only_lookup("%(prop:x:#?!a!)s"),
            (prop(), Substitution::Ternary { by_truth: true, yes: text("a"), no: Template::default() })
        );
        assert_eq!(
            only_lookup("%(src::branch)s").0,
            LookupKey::Source { codebase: String::new(), attribute: "branch".to_owned() }
        );
        assert_eq!(only_lookup("%(kw:n)s").0, LookupKey::Keyword("n".to_owned()));
        assert_eq!(only_lookup("%(secret:n)s").0, LookupKey::Secret("n".to_owned()));
        assert_eq!(only_lookup("%(worker:n)s").0, LookupKey::Worker("n".to_owned()));
    }

    #[test]
    fn replacements_are_templates() {
        let (_, substitution) = only_lookup("%(prop:x:-%(src:c:revision:?|r%(prop:y)s|none)s)s");
        let Substitution::IfMissing(template) = substitution else { panic!("{substitution:?}") };
        assert_eq!(template.keys().len(), 2);
    }

    #[test]
    fn wrong_strings_are_told_what_is_wrong() {
        for (format, wanted) in [
            ("100%", InterpolationError::Incomplete),
            ("%(prop:x", InterpolationError::Unbalanced("prop:x".to_owned())),
            ("%(x)s", InterpolationError::NoSelector("x".to_owned())),
            ("%(pr:x)s", InterpolationError::UnknownSelector("pr".to_owned())),
            ("%(src:x)s", InterpolationError::NoAttribute("x".to_owned())),
            ("%(prop:x:?a)s", InterpolationError::BadTernary("a".to_owned())),
            ("%(prop:x:=a)s", InterpolationError::UnknownSubstitution("=a".to_owned())),
            ("%(prop:x)q", InterpolationError::UnknownConversion("q".to_owned())),
            ("%s %(prop:x)s", InterpolationError::Mixed),
        ] {
            assert_eq!(Template::parse(format), Err(wanted), "{format}");
        }
    }

    #[test]
    fn with_properties_takes_names_as_they_are() {
        let template = Template::parse_with_properties("a %(x:-y)s %%").expect("parses");
        assert_eq!(template.keys(), [&LookupKey::Property("x".to_owned())]);
    }

    proptest::proptest! {
        #[test]
        fn no_string_makes_it_panic(text in "[%()a-z:?#|~+s-]{0,60}") {
            let _ = Template::parse(&text);
            let _ = Template::parse_with_properties(&text);
        }
    }
}
