//! The conversion part of a format string, `[flags][width][.precision]type`, as Python's `%` operator has it.

use std::iter::Peekable;
use std::str::CharIndices;

use serde_json::Value;

use super::InterpolationError;
use crate::pyrepr;

/// The widest field that is written; more is a mistake or an attack.
const MAX_WIDTH: usize = 10_000;

/// How one value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatSpec {
    left: bool,
    plus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl FormatSpec {
    /// Plain `%s`.
    pub const STRING: Self = Self { left: false, plus: false, zero: false, width: 0, precision: None, conversion: 's' };

    /// Parses the beginning of `text`; gives the length that was used as well.
    pub(super) fn parse(text: &str) -> Result<(Self, usize), InterpolationError> {
        let mut spec = Self::STRING;
        let mut chars = text.char_indices().peekable();
        while let Some((_, flag @ ('-' | '+' | '0' | ' ' | '#'))) = chars.peek().copied() {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                _ => {}
            }
            chars.next();
        }
        spec.width = digits(&mut chars);
        if chars.next_if(|(_, c)| *c == '.').is_some() {
            spec.precision = Some(digits(&mut chars));
        }
        let (at, conversion) = chars.next().ok_or(InterpolationError::Incomplete)?;
        if !"sdiufFgGexXor".contains(conversion) {
            return Err(InterpolationError::UnknownConversion(conversion.to_string()));
        }
        spec.conversion = conversion;
        Ok((spec, at + conversion.len_utf8()))
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// If the conversion wants a number and this is none.
    pub fn write(&self, value: &Value) -> Result<String, String> {
        let body = match self.conversion {
            's' => self.cut(pyrepr::str(value)),
            'r' => self.cut(pyrepr::repr(value)),
            'd' | 'i' | 'u' => self.integer(value)?.to_string(),
            'x' => format!("{:x}", self.integer(value)?),
            'X' => format!("{:X}", self.integer(value)?),
            'o' => format!("{:o}", self.integer(value)?),
            'e' => format!("{:.*e}", self.precision.unwrap_or(6), self.number(value)?),
            'g' | 'G' => pyrepr::float(self.number(value)?),
            _ => format!("{:.*}", self.precision.unwrap_or(6), self.number(value)?),
        };
        let body = if self.plus && !matches!(self.conversion, 's' | 'r') && !body.starts_with('-') {
            format!("+{body}")
        } else {
            body
        };
        let missing = self.width.saturating_sub(body.chars().count());
        Ok(if missing == 0 {
            body
        } else if self.left {
            body + &" ".repeat(missing)
        } else if self.zero && !matches!(self.conversion, 's' | 'r') {
            let (sign, digits) = body.split_at(usize::from(body.starts_with(['-', '+'])));
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            " ".repeat(missing) + &body
        })
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        }
    }

    fn integer(&self, value: &Value) -> Result<i64, String> {
        match value {
            Value::Bool(value) => Ok(i64::from(*value)),
            Value::Number(number) => number
                .as_i64()
                .or_else(|| number.as_f64().map(|float| float.trunc() as i64))
                .ok_or_else(|| format!("number {number} is too large for %{}", self.conversion)),
            other => Err(self.no_number(other)),
        }
    }

    fn number(&self, value: &Value) -> Result<f64, String> {
        match value {
            Value::Bool(value) => Ok(f64::from(u8::from(*value))),
            Value::Number(number) => number.as_f64().ok_or_else(|| self.no_number(value)),
            other => Err(self.no_number(other)),
        }
    }

    fn no_number(&self, value: &Value) -> String {
        format!("%{} format: a number is required, not {}", self.conversion, pyrepr::type_name(value))
    }
}

/// A decimal number, 0 if there is none; never more than [`MAX_WIDTH`].
fn digits(chars: &mut Peekable<CharIndices<'_>>) -> usize {
    let mut value = 0usize;
    while let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(10)) {
        value = value.saturating_mul(10).saturating_add(digit as usize).min(MAX_WIDTH);
        chars.next();
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(format: &str, value: Value) -> String {
        let (spec, length) = FormatSpec::parse(format).expect(format);
        assert_eq!(length, format.len());
        spec.write(&value).expect(format)
    }

    #[test]
    fn values_are_written_as_python_writes_them() {
        assert_eq!(write("s", json!(true)), "True");
        assert_eq!(write("s", json!(["a", 1, null])), "['a', 1, None]");
        assert_eq!(write("5d", json!(42)), "   42");
        assert_eq!(write("-5d", json!(42)), "42   ");
        assert_eq!(write("05d", json!(-42)), "-0042");
        assert_eq!(write("+d", json!(42)), "+42");
        assert_eq!(write("x", json!(255)), "ff");
        assert_eq!(write(".2f", json!(1.005)), "1.00");
        assert_eq!(write(".2s", json!("abc")), "ab");
        assert_eq!(write("r", json!("it's")), "\"it's\"");
    }

    #[test]
    fn a_text_is_no_number() {
        let (spec, _) = FormatSpec::parse("d").expect("parses");
        assert_eq!(spec.write(&json!("x")), Err("%d format: a number is required, not str".to_owned()));
    }
}
