//! Comparisons. In Buildbot `Property("x") == "y"` is a renderable condition; Starlark's operators can only give True or
//! False. The translator makes them calls of [`FUNCTION`].

use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::{Heap, Value};

use super::methods;
use super::object::native;
use super::tokens::{Kind, Token};

/// The function that the translator writes.
pub(super) const FUNCTION: &str = "compare_";

/// Operators and their names.
const OPERATORS: [(&str, &str); 7] =
    [("==", "eq"), ("!=", "ne"), ("<", "lt"), ("<=", "le"), (">", "gt"), (">=", "ge"), ("is", "is")];

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    /// Compares two values; the translator writes it.
    fn compare_<'v>(
        #[starlark(require = pos)] operator: &str,
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
        heap: Heap<'v>,
    ) -> starlark::Result<Value<'v>> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let same = operator == "is" || operator == "is not";
        if same && (left.is_none() || right.is_none()) {
            return Ok(Value::new_bool((left.is_none() && right.is_none()) == (operator == "is")));
        }
        if !same && let Some(condition) = methods::comparison(operator, left, right, heap) {
            return condition;
        }
        Ok(Value::new_bool(match operator {
            "eq" | "is" => left.equals(right)?,
            "ne" | "is not" => !left.equals(right)?,
            "lt" => left.compare(right)? == Less,
            "le" => matches!(left.compare(right)?, Less | Equal),
            "gt" => left.compare(right)? == Greater,
            "ge" => matches!(left.compare(right)?, Greater | Equal),
            other => return Err(native(format!("`{other}` is no comparison"))),
        }))
    }
}

/// A comparison among the tokens of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// What [`FUNCTION`] gets.
    pub(super) operator: &'static str,
    /// Byte offset of the left operand.
    pub(super) left: usize,
    /// Byte range of the operator.
    pub(super) at: (usize, usize),
    /// Byte offset behind the right operand.
    pub(super) right: usize,
}

/// All comparisons of a statement, but not chained ones (`a < b < c`), which Starlark refuses with a text of its own.
pub(super) fn comparisons(tokens: &[Token], source: &str) -> Vec<Comparison> {
    let operators: Vec<(usize, usize, &'static str)> =
        (0..tokens.len()).filter_map(|i| operator(tokens, i, source)).collect();
    let mut out = Vec::new();
    for &(first, last, name) in &operators {
        let depth = tokens[first].depth;
        let mut left = first;
        while left > 0 && !ends_operand(&tokens[left - 1], depth, source) {
            left -= 1;
        }
        let mut right = last;
        while right + 1 < tokens.len() && !ends_operand(&tokens[right + 1], depth, source) {
            right += 1;
        }
        let chained = operators.iter().any(|&(f, l, _)| {
            tokens[f].depth == depth && ((l + 1 == left && l < first) || (f == right + 1 && f > last))
        });
        // `not in` ends like `in`; an operand that is not there is left to the parser.
        if left == first || right == last || chained {
            continue;
        }
        out.push(Comparison {
            operator: name,
            left: tokens[left].start,
            at: (tokens[first].start, tokens[last].end),
            right: tokens[right].end,
        });
    }
    out
}

/// The comparison operator at a token: its first and last token and its name.
fn operator(tokens: &[Token], i: usize, source: &str) -> Option<(usize, usize, &'static str)> {
    let token = tokens.get(i)?;
    let text = token.text(source);
    if token.kind == Kind::String {
        return None;
    }
    if text == "is" && tokens.get(i + 1).is_some_and(|n| n.text(source) == "not") {
        return Some((i, i + 1, "is not"));
    }
    OPERATORS.iter().find(|(o, _)| *o == text).map(|(_, name)| (i, i, *name))
}

/// True if a token binds less than a comparison, or is one, or closes the bracket around it.
fn ends_operand(token: &Token, depth: usize, source: &str) -> bool {
    if token.depth != depth {
        return token.depth < depth;
    }
    let text = token.text(source);
    match token.kind {
        Kind::String | Kind::Number => false,
        Kind::Name => matches!(
            text,
            "and"
                | "or"
                | "not"
                | "if"
                | "elif"
                | "else"
                | "in"
                | "is"
                | "return"
                | "lambda"
                | "for"
                | "assert"
                | "while"
                | "yield"
                | "await"
                | "print"
        ),
        Kind::Op => {
            matches!(text, "," | ":" | ";" | "=" | "==" | "!=" | "<" | ">" | "<=" | ">=" | "->")
                || (text.len() > 1 && text.ends_with('='))
        }
    }
}
