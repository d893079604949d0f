//! A light tokenizer of Python text: enough to find statements, strings and brackets, so that what
//! Python allows and Starlark does not can be rewritten without touching strings and comments.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword.
    Name,
    /// A number.
    Number,
    /// A string with its prefix and quotes.
    String,
    /// An operator or bracket.
    Op,
}

/// A token: kind and byte range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many brackets are open around it.
    pub(super) depth: usize,
}

impl Token {
    pub(super) fn text<'a>(&self, source: &'a str) -> &'a str {
        source.get(self.start..self.end).unwrap_or("")
    }
}

/// A logical line: the tokens of one statement line, over several physical lines if brackets or a
/// backslash continue it.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// Byte offset of the physical line's start.
    pub(super) start: usize,
    /// Bytes of white space before the first token.
    pub(super) indent: usize,
    pub(super) tokens: Vec<Token>,
}

/// Splits a text into logical lines; lines without tokens are left out.
pub(super) fn logical_lines(source: &str) -> Vec<Line> {
    let bytes = source.as_bytes();
    let mut lines = Vec::new();
    let mut line = Line::default();
    let mut depth = 0usize;
    let mut line_start = 0usize;
    let mut i = 0usize;
    while i < bytes.len() {
        let c = bytes[i];
        match c {
            b'\n' => {
                i += 1;
                line_start = i;
                if depth == 0 && !line.tokens.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
            }
            b' ' | b'\t' | b'\r' | 0x0c => i += 1,
            b'\\' => {
                // A continued line: skip the newline, so that it does not end the statement.
                i += 1;
                if bytes.get(i) == Some(&b'\r') {
                    i += 1;
                }
                if bytes.get(i) == Some(&b'\n') {
                    i += 1;
                }
            }
            b'#' => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
            }
            _ => {
                let (kind, end) = token(source, i);
                let text = source.get(i..end).unwrap_or("");
                if matches!(text, ")" | "]" | "}") {
                    depth = depth.saturating_sub(1);
                }
                if line.tokens.is_empty() {
                    line.start = line_start;
                    line.indent = i - line_start;
                }
                line.tokens.push(Token { kind, start: i, end, depth });
                if matches!(text, "(" | "[" | "{") {
                    depth += 1;
                }
                i = end;
            }
        }
    }
    if !line.tokens.is_empty() {
        lines.push(line);
    }
    lines
}

/// The token that begins at `start`.
fn token(source: &str, start: usize) -> (Kind, usize) {
    let bytes = source.as_bytes();
    let rest = &bytes[start..];
    // A string, with a prefix of up to two letters.
    let prefix = rest.iter().take(3).take_while(|b| b"rRbBuUfF".contains(b)).count();
    if prefix <= 2
        && let Some(quote @ (b'"' | b'\'')) = rest.get(prefix).copied()
    {
        return (Kind::String, string_end(bytes, start + prefix, quote));
    }
    let first = rest[0];
    if first.is_ascii_digit() || (first == b'.' && rest.get(1).is_some_and(u8::is_ascii_digit)) {
        let len = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'.' || **b == b'_').count();
        return (Kind::Number, start + len);
    }
    if first == b'_' || first.is_ascii_alphabetic() || first >= 0x80 {
        let len = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_' || **b >= 0x80).count();
        return (Kind::Name, start + len);
    }
    for op in [
        "**=", "//=", "<<=", ">>=", "...", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
        "->", ":=", "**", "//", "<<", ">>",
    ] {
        if rest.starts_with(op.as_bytes()) {
            return (Kind::Op, start + op.len());
        }
    }
    (Kind::Op, start + 1)
}

/// The offset after a string whose opening quote is at `open`; an unterminated one ends with its line.
fn string_end(bytes: &[u8], open: usize, quote: u8) -> usize {
    let triple = bytes.get(open + 1) == Some(&quote) && bytes.get(open + 2) == Some(&quote);
    let mut i = open + if triple { 3 } else { 1 };
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'\n' if !triple => return i,
            b if b == quote => {
                if !triple {
                    return i + 1;
                }
                if bytes.get(i + 1) == Some(&quote) && bytes.get(i + 2) == Some(&quote) {
                    return i + 3;
                }
                i += 1;
            }
            _ => i += 1,
        }
    }
    bytes.len()
}
