//! Python's `str.format` with format specifications (`"{:>8}".format(x)`, `f"{x:03d}"`), which Starlark's has not. The
//! translator makes calls of [`FUNCTION`] of them where the text is a literal.

use starlark::collections::SmallMap;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::tuple::UnpackTuple;
use starlark::values::{Heap, Value};

use super::object::native;

/// The function that the translator writes.
pub(super) const FUNCTION: &str = "format_text_";

/// Wider fields are refused: a text of the config must not be able to ask for gigabytes.
const MAX_WIDTH: usize = 10_000;

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    /// Formats values as Python does; the translator writes it.
    fn format_text_<'v>(
        #[starlark(require = pos)] text: &str,
        #[starlark(args)] args: UnpackTuple<Value<'v>>,
        #[starlark(kwargs)] kwargs: SmallMap<String, Value<'v>>,
        heap: Heap<'v>,
    ) -> starlark::Result<String> {
        let mut formatter = Formatter { args: args.items, kwargs, heap, next: 0 };
        formatter.format(text, 0).map_err(native)
    }
}

/// True if a literal has fields that Starlark's own `format` does not know.
pub(super) fn needs_us(literal: &str) -> bool {
    let mut rest = literal;
    while let Some(at) = rest.find('{') {
        rest = &rest[at + 1..];
        if let Some(escaped) = rest.strip_prefix('{') {
            rest = escaped;
            continue;
        }
        let field = rest.split('}').next().unwrap_or("");
        if field.contains([':', '.', '[', '{']) {
            return true;
        }
    }
    false
}

struct Formatter<'v> {
    args: Vec<Value<'v>>,
    kwargs: SmallMap<String, Value<'v>>,
    heap: Heap<'v>,
    /// The number of the next field without one.
    next: usize,
}

impl<'v> Formatter<'v> {
    fn format(&mut self, text: &str, nesting: usize) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
            } else if brace == "}" {
                return Err("a single `}` in a format; write `}}`".to_owned());
            } else {
                let end = field_end(rest).ok_or("`{` without `}` in a format")?;
                let formatted = self.field(&rest[..end], nesting)?;
                out.push_str(&formatted);
                rest = &rest[end + 1..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// `name!conversion:specification`.
    fn field(&mut self, field: &str, nesting: usize) -> Result<String, String> {
        if nesting > 1 {
            return Err("format specifications are nested too deeply".to_owned());
        }
        let mut brackets = 0usize;
        let end = field.find(|c| {
            match c {
                '[' => brackets += 1,
                ']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            brackets == 0 && (c == '!' || c == ':')
        });
        let (name, rest) = field.split_at(end.unwrap_or(field.len()));
        let value = self.look_up(name)?;
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => match rest.split_once(':') {
                Some((conversion, spec)) => (Some(conversion), spec),
                None => (Some(rest), ""),
            },
            None => (None, rest.strip_prefix(':').unwrap_or("")),
        };
        let spec = if spec.contains('{') { self.format(spec, nesting + 1)? } else { spec.to_owned() };
        match conversion {
            None => format_value(value, &spec),
            Some("s") => Spec::parse(&spec)?.text(&text_of(value)),
            Some("r" | "a") => Spec::parse(&spec)?.text(&value.to_repr()),
            Some(other) => Err(format!("`!{other}` is no conversion; use `!s` or `!r`")),
        }
    }

    fn look_up(&mut self, name: &str) -> Result<Value<'v>, String> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let positional = |args: &[Value<'v>], n: usize| {
            args.get(n).copied().ok_or_else(|| format!("the format has a field {n} and no value for it"))
        };
        let mut value = if first.is_empty() {
            self.next += 1;
            positional(&self.args, self.next - 1)?
        } else if let Ok(number) = first.parse::<usize>() {
            positional(&self.args, number)?
        } else {
            self.kwargs
                .get(first)
                .copied()
                .ok_or_else(|| format!("the format has a field `{first}` and no value for it"))?
        };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value =
                    value.get_attr_error(&after[..end], self.heap).map_err(|e| e.without_diagnostic().to_string())?;
                rest = &after[end..];
            } else {
                let (key, after) = rest[1..].split_once(']').ok_or("`[` without `]` in a format")?;
                let index = match key.parse::<i32>() {
                    Ok(number) => self.heap.alloc(number),
                    Err(_) => self.heap.alloc(key),
                };
                value = value.at(index, self.heap).map_err(|e| e.without_diagnostic().to_string())?;
                rest = after;
            }
        }
        Ok(value)
    }
}

/// Where the field ends that begins at the start of the text.
fn field_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(i),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// What `str` gives of it.
pub(super) fn text_of(value: Value<'_>) -> String {
    value.unpack_str().map_or_else(|| value.to_str(), str::to_owned)
}

/// What `format` gives of it.
pub(super) fn format_value(value: Value<'_>, spec: &str) -> Result<String, String> {
    if spec.is_empty() {
        return Ok(text_of(value));
    }
    let parsed = Spec::parse(spec)?;
    if let Some(text) = value.unpack_str() {
        return parsed.text(text);
    }
    if let Some(truth) = value.unpack_bool() {
        return parsed.integer(i128::from(truth));
    }
    let number = value.to_json_value().ok();
    match value.get_type() {
        "int" => match value.to_str().parse() {
            Ok(integer) => parsed.integer(integer),
            Err(_) => Err("an integer beyond 128 bits cannot be formatted".to_owned()),
        },
        "float" => match number.and_then(|n| n.as_f64()) {
            Some(float) => parsed.float(float),
            None => parsed.text(&value.to_str()),
        },
        other => Err(format!("a value of type {other} cannot be formatted with `{spec}`")),
    }
}

/// A number as an integer; a fraction is cut off.
pub(super) fn format_whole(value: Value<'_>, spec: &str) -> Result<String, String> {
    match value.to_json_value().ok().and_then(|number| number.as_f64()) {
        #[expect(clippy::cast_possible_truncation, reason = "that is what is asked for")]
        Some(float) if value.get_type() == "float" => Spec::parse(spec)?.integer(float as i128),
        _ => format_value(value, spec),
    }
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
#[derive(Debug, Default)]
pub(super) struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no format specification that can be used");
        let mut spec = Self::default();
        let mut chars: Vec<char> = text.chars().collect();
        chars.reverse();
        let take = |chars: &mut Vec<char>, allowed: &str| match chars.last() {
            Some(c) if allowed.contains(*c) => chars.pop(),
            _ => None,
        };
        let second = chars.len().checked_sub(2).and_then(|i| chars.get(i)).copied();
        if second.is_some_and(|c| "<>=^".contains(c)) {
            spec.fill = chars.pop();
        }
        spec.align = take(&mut chars, "<>=^");
        spec.sign = take(&mut chars, "+- ");
        spec.alternate = take(&mut chars, "#").is_some();
        if take(&mut chars, "0").is_some() && spec.align.is_none() {
            spec.fill = spec.fill.or(Some('0'));
            spec.align = Some('=');
        }
        spec.width = number(&mut chars).ok_or_else(wrong)?.unwrap_or(0);
        spec.grouping = take(&mut chars, ",_");
        if take(&mut chars, ".").is_some() {
            spec.precision = Some(number(&mut chars).ok_or_else(wrong)?.ok_or_else(wrong)?);
        }
        spec.kind = take(&mut chars, "bcdoxXnsfFeEgG%");
        if spec.width > MAX_WIDTH || spec.precision.is_some_and(|p| p > MAX_WIDTH) {
            return Err(format!("a field of a format has at most {MAX_WIDTH} characters"));
        }
        if chars.is_empty() { Ok(spec) } else { Err(wrong()) }
    }

    pub(super) fn text(&self, text: &str) -> Result<String, String> {
        if self.kind.is_some_and(|k| k != 's') || self.sign.is_some() || self.alternate || self.grouping.is_some() {
            return Err("this format specification is for numbers, not for a string".to_owned());
        }
        let text = match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        };
        // `0` before the width pads a text at its end.
        let align = self.align.map_or('<', |a| if a == '=' { '<' } else { a });
        Ok(self.pad("", &text, align))
    }

    fn integer(&self, value: i128) -> Result<String, String> {
        #[expect(clippy::cast_precision_loss, reason = "Python does the same")]
        if self.kind.is_some_and(|k| "eEfFgG%".contains(k)) {
            return self.float(value as f64);
        }
        if self.precision.is_some() {
            return Err("an integer has no precision".to_owned());
        }
        let magnitude = value.unsigned_abs();
        let (prefix, digits, group) = match self.kind {
            Some('b') => ("0b", format!("{magnitude:b}"), 4),
            Some('o') => ("0o", format!("{magnitude:o}"), 4),
            Some('x') => ("0x", format!("{magnitude:x}"), 4),
            Some('X') => ("0X", format!("{magnitude:X}"), 4),
            Some('c') => {
                let c = u32::try_from(value).ok().and_then(char::from_u32).ok_or("no such character")?;
                return Ok(self.pad("", &c.to_string(), self.align.unwrap_or('<')));
            }
            Some('s') => return Err("`s` is for strings, not for an integer".to_owned()),
            _ => ("", magnitude.to_string(), 3),
        };
        let prefix = if self.alternate { prefix } else { "" };
        let digits = self.grouped(&digits, group);
        Ok(self.pad(&format!("{}{prefix}", self.sign_of(value < 0)), &digits, self.align.unwrap_or('>')))
    }

    fn float(&self, value: f64) -> Result<String, String> {
        let magnitude = value.abs();
        let precision = self.precision;
        let digits = if !value.is_finite() {
            if value.is_nan() { "nan".to_owned() } else { "inf".to_owned() }
        } else {
            match self.kind {
                Some('f' | 'F') => format!("{magnitude:.*}", precision.unwrap_or(6)),
                Some('%') => format!("{:.*}%", precision.unwrap_or(6), magnitude * 100.0),
                Some('e') => scientific(magnitude, precision.unwrap_or(6)),
                Some('E') => scientific(magnitude, precision.unwrap_or(6)).to_uppercase(),
                Some('G') => general(magnitude, precision.unwrap_or(6), self.alternate).to_uppercase(),
                Some('g' | 'n') => general(magnitude, precision.unwrap_or(6), self.alternate),
                None => match precision {
                    Some(precision) => with_point(&general(magnitude, precision, false)),
                    None => with_point(&magnitude.to_string()),
                },
                Some(other) => return Err(format!("`{other}` is not for a number with a fraction")),
            }
        };
        let digits = match digits.find(|c: char| !c.is_ascii_digit()) {
            Some(0) => digits,
            Some(at) => self.grouped(&digits[..at], 3) + &digits[at..],
            None => self.grouped(&digits, 3),
        };
        Ok(self.pad(self.sign_of(value.is_sign_negative()), &digits, self.align.unwrap_or('>')))
    }

    fn sign_of(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            (false, _) => "",
        }
    }

    fn grouped(&self, digits: &str, size: usize) -> String {
        let Some(separator) = self.grouping else {
            return digits.to_owned();
        };
        let mut out = String::new();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(size) {
                out.push(separator);
            }
            out.push(c);
        }
        out
    }

    fn pad(&self, sign: &str, digits: &str, align: char) -> String {
        let missing = self.width.saturating_sub(sign.chars().count() + digits.chars().count());
        let fill = |n: usize| std::iter::repeat_n(self.fill.unwrap_or(' '), n).collect::<String>();
        match align {
            '<' => format!("{sign}{digits}{}", fill(missing)),
            '^' => format!("{}{sign}{digits}{}", fill(missing / 2), fill(missing - missing / 2)),
            '=' => format!("{sign}{}{digits}", fill(missing)),
            _ => format!("{}{sign}{digits}", fill(missing)),
        }
    }
}

/// Digits at the end of the reversed text: `None` if they are too many to be a number.
#[expect(clippy::option_option, reason = "no number is not the same as a wrong one")]
fn number(chars: &mut Vec<char>) -> Option<Option<usize>> {
    let mut digits = String::new();
    while let Some(c) = chars.last().filter(|c| c.is_ascii_digit()) {
        digits.push(*c);
        chars.pop();
    }
    if digits.is_empty() { Some(None) } else { digits.parse().ok().map(Some) }
}

/// `1.500000e+05`.
fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    format!("{mantissa}e{sign}{exponent:0>2}")
}

/// C's `%g`: fixed or scientific, whichever is shorter, without zeros at the end.
fn general(value: f64, precision: usize, keep_zeros: bool) -> String {
    let precision = precision.max(1);
    let text = format!("{value:.*e}", precision - 1);
    let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    let trim = |digits: &str| {
        if keep_zeros || !digits.contains('.') {
            digits.to_owned()
        } else {
            digits.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    if (-4..limit).contains(&exponent) {
        let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
        return trim(&format!("{value:.decimals$}"));
    }
    let text = scientific(value, precision - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
    format!("{}e{exponent}", trim(mantissa))
}

/// A float always shows that it is one.
fn with_point(digits: &str) -> String {
    if digits.contains(['.', 'e']) { digits.to_owned() } else { format!("{digits}.0") }
}
