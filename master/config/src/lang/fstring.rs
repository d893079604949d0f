//! f-strings: `f"a {x.y} b"` becomes `"a {} b".format(x.y)`, and with a specification a call of our own format.

use super::format::FUNCTION;

/// Rewrites one f-string token. The error is an offset within it and a message.
pub(super) fn rewrite(token: &str) -> Result<String, (usize, String)> {
    let quote_at = token.find(['"', '\'']).ok_or((0, "not a string".to_owned()))?;
    let raw = token[..quote_at].to_ascii_lowercase().contains('r');
    let body = &token[quote_at..];
    let mark = if body.starts_with("\"\"\"") || body.starts_with("'''") { &body[..3] } else { &body[..1] };
    let inner =
        body.strip_prefix(mark).and_then(|b| b.strip_suffix(mark)).ok_or((0, "the string does not end".to_owned()))?;
    let base = quote_at + mark.len();
    let mut format = String::new();
    let mut args = Vec::new();
    let mut specified = false;
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '{' if chars.peek().is_some_and(|(_, n)| *n == '{') => {
                chars.next();
                format.push_str("{{");
            }
            '{' => {
                let rest = &inner[at + 1..];
                let len = expression_len(rest).ok_or((base + at, "`{` without `}` in an f-string".to_owned()))?;
                let (expression, conversion, spec) = split_expression(&rest[..len]);
                if expression.trim().is_empty() {
                    return Err((base + at, "empty expression in an f-string".to_owned()));
                }
                format.push('{');
                if let Some(conversion) = conversion {
                    format.push('!');
                    format.push_str(conversion);
                }
                args.push(expression.trim().to_owned());
                if let Some(spec) = spec {
                    specified = true;
                    format.push(':');
                    nested(spec, &mut format, &mut args).map_err(|message| (base + at, message))?;
                }
                format.push('}');
                while chars.peek().is_some_and(|(i, _)| *i <= at + 1 + len) {
                    chars.next();
                }
            }
            _ => format.push(c),
        }
    }
    let (prefix, args) = (if raw { "r" } else { "" }, args.join(", "));
    if specified {
        return Ok(format!("{FUNCTION}({prefix}{mark}{format}{mark}, {args})"));
    }
    Ok(format!("{prefix}{mark}{format}{mark}.format({args})"))
}

/// A specification: its own fields (`{x:>{width}}`) become arguments behind the one that it is for.
fn nested(spec: &str, format: &mut String, args: &mut Vec<String>) -> Result<(), String> {
    let mut rest = spec;
    while let Some((before, field)) = rest.split_once('{') {
        let (expression, after) = field.split_once('}').ok_or("`{` without `}` in an f-string")?;
        if expression.trim().is_empty() {
            return Err("empty expression in an f-string".to_owned());
        }
        format.push_str(before);
        format.push_str("{}");
        args.push(expression.trim().to_owned());
        rest = after;
    }
    format.push_str(rest);
    Ok(())
}

/// Bytes up to the `}` that closes the expression.
fn expression_len(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(i),
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// Expression, conversion after `!`, specification after `:`.
fn split_expression(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let mut depth = 0usize;
    let mut quote = None;
    let bytes = text.as_bytes();
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ':') if depth == 0 => return (&text[..i], None, Some(&text[i + 1..])),
            (None, '!') if depth == 0 && bytes.get(i + 1) != Some(&b'=') => {
                let rest = &text[i + 1..];
                return match rest.split_once(':') {
                    Some((conversion, spec)) => (&text[..i], Some(conversion), Some(spec)),
                    None => (&text[..i], Some(rest), None),
                };
            }
            (None, _) => {}
        }
    }
    (text, None, None)
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[test]
    fn expressions_become_arguments() {
        assert_eq!(rewrite("f'a {x.y} {{b}} {d[\"k\"]!r}'").as_deref(), Ok("'a {} {{b}} {!r}'.format(x.y, d[\"k\"])"));
        assert_eq!(rewrite("rf\"\\d{n}\"").as_deref(), Ok("r\"\\d{}\".format(n)"));
        assert_eq!(rewrite("f'{x:>3}'").as_deref(), Ok("format_text_('{:>3}', x)"));
        assert_eq!(rewrite("f'{x!r:>{w}} {y}'").as_deref(), Ok("format_text_('{!r:>{}} {}', x, w, y)"));
        assert!(rewrite("f'{x'").is_err());
    }
}
