//! Path patterns of the endpoint tree, and how a path is matched against them.

/// What a part of a path may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Exactly this text.
    Literal(&'static str),
    /// A decimal id or number (`n:name`).
    Number(&'static str),
    /// A name of letters, digits, `_`, `-` and `.` that does not start with a digit (`i:name`).
    Identifier(&'static str),
    /// Any text that is no number (`s:name`): digits are an id wherever both are possible.
    Text(&'static str),
    /// Any text, numbers too (`a:name`): a revision may be either.
    Any(&'static str),
}

/// A path such as `builders/n:builderid/builds`, split into its parts.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads a pattern as the API reference writes them.
    pub(super) fn parse(pattern: &'static str) -> Self {
        let parts = pattern
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| match part.split_once(':') {
                Some(("n", name)) => Part::Number(name),
                Some(("i", name)) => Part::Identifier(name),
                Some(("s", name)) => Part::Text(name),
                Some(("a", name)) => Part::Any(name),
                _ => Part::Literal(part),
            })
            .collect();
        Self { parts }
    }

    /// The arguments of `path` if it matches.
    pub(super) fn matches(&self, path: &[&str]) -> Option<Args> {
        if path.len() != self.parts.len() {
            return None;
        }
        let mut args = Args::default();
        for (part, text) in self.parts.iter().zip(path) {
            match part {
                Part::Literal(literal) => {
                    if literal != text {
                        return None;
                    }
                }
                Part::Number(name) => args.numbers.push((name, number(text)?)),
                Part::Identifier(name) => {
                    if !is_name(text) {
                        return None;
                    }
                    args.texts.push((name, (*text).to_owned()));
                }
                Part::Any(name) => {
                    if !is_text(text) {
                        return None;
                    }
                    args.texts.push((name, (*text).to_owned()));
                }
                Part::Text(name) => {
                    if !is_text(text) || number(text).is_some() {
                        return None;
                    }
                    args.texts.push((name, (*text).to_owned()));
                }
            }
        }
        Some(args)
    }
}

/// A decimal number. One too large for any id is taken as the largest id, which no object has.
fn number(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(i64::MAX))
}

/// A text that can be in the database: PostgreSQL's have no NUL.
fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// An identifier as paths have them: wider than the database's, names of workers and logs may contain dots.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first != '.' && !first.is_numeric() && is_name_char(first))
        && chars.all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The arguments that a path gave to its endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    numbers: Vec<(&'static str, i64)>,
    texts: Vec<(&'static str, String)>,
}

impl Args {
    /// The number in the place called `name`.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.numbers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// The text in the place called `name`.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_id_and_other_texts_a_name() {
        let by_id = Pattern::parse("builders/n:builderid");
        let by_name = Pattern::parse("builders/s:buildername");
        assert_eq!(by_id.matches(&["builders", "12"]).and_then(|args| args.number("builderid")), Some(12));
        assert!(by_id.matches(&["builders", "abc"]).is_none());
        assert!(by_id.matches(&["builders", "-1"]).is_none());
        assert!(by_name.matches(&["builders", "12"]).is_none());
        let args = by_name.matches(&["builders", "deploy prod"]).expect("matches");
        assert_eq!(args.text("buildername"), Some("deploy prod"));
    }

    #[test]
    fn identifiers_have_no_spaces_and_do_not_start_with_a_digit() {
        let pattern = Pattern::parse("workers/i:name");
        assert!(pattern.matches(&["workers", "w-1.example"]).is_some());
        assert!(pattern.matches(&["workers", "two words"]).is_none());
        assert!(pattern.matches(&["workers", "1st"]).is_none());
        assert!(pattern.matches(&["workers", ""]).is_none());
    }

    #[test]
    fn an_id_beyond_all_ids_is_still_a_number() {
        let pattern = Pattern::parse("builds/n:buildid");
        let args = pattern.matches(&["builds", "99999999999999999999999"]).expect("matches");
        assert_eq!(args.number("buildid"), Some(i64::MAX));
    }
}
