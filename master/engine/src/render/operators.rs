//! Operators between rendered values, with Python's meaning.

use std::cmp::Ordering;

use buildguild_types::pyrepr;
use buildguild_types::render::Operator;
use serde_json::{Number, Value};

/// The longest text or list that `*` makes.
const MAX_REPEATED: usize = 1 << 20;

/// Operands that an operator does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// Types that do not go together.
    #[error("unsupported operand types for {operator}: '{left}' and '{right}'")]
    Types {
        /// The operator's sign.
        operator: &'static str,
        /// Type of the left side.
        left: &'static str,
        /// Type of the right side.
        right: &'static str,
    },
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A number beyond 64 bits, or a repetition beyond reason.
    #[error("the result of {0} is too large")]
    TooLarge(&'static str),
}

const fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Eq => "==",
        Operator::Ne => "!=",
        Operator::Lt => "<",
        Operator::Le => "<=",
        Operator::Gt => ">",
        Operator::Ge => ">=",
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::FloorDiv => "//",
        Operator::Mod => "%",
        Operator::In => "in",
    }
}

/// A number as Python has it: bools are integers.
#[derive(Clone, Copy)]
enum Num {
    Int(i64),
    Float(f64),
}

impl Num {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Int(i64::from(*value))),
            Value::Number(number) => number.as_i64().map(Self::Int).or_else(|| number.as_f64().map(Self::Float)),
            _ => None,
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// `left OP right`
pub(super) fn apply(operator: Operator, left: &Value, right: &Value) -> Result<Value, OperatorError> {
    let types = || OperatorError::Types {
        operator: sign(operator),
        left: pyrepr::type_name(left),
        right: pyrepr::type_name(right),
    };
    match operator {
        Operator::Eq => Ok(Value::Bool(equal(left, right))),
        Operator::Ne => Ok(Value::Bool(!equal(left, right))),
        Operator::Lt => compare(left, right).map(|o| Value::Bool(o == Some(Ordering::Less))).ok_or_else(types),
        Operator::Le => compare(left, right).map(|o| Value::Bool(o.is_some_and(Ordering::is_le))).ok_or_else(types),
        Operator::Gt => compare(left, right).map(|o| Value::Bool(o == Some(Ordering::Greater))).ok_or_else(types),
        Operator::Ge => compare(left, right).map(|o| Value::Bool(o.is_some_and(Ordering::is_ge))).ok_or_else(types),
        Operator::In => match (left, right) {
            (Value::String(part), Value::String(whole)) => Ok(Value::Bool(whole.contains(part.as_str()))),
            (_, Value::Array(items)) => Ok(Value::Bool(items.iter().any(|item| equal(left, item)))),
            (Value::String(key), Value::Object(entries)) => Ok(Value::Bool(entries.contains_key(key))),
            (_, Value::Object(_)) => Ok(Value::Bool(false)),
            _ => Err(types()),
        },
        Operator::Add => match (left, right) {
            (Value::String(left), Value::String(right)) => Ok(Value::String(format!("{left}{right}"))),
            (Value::Array(left), Value::Array(right)) => Ok(Value::Array(left.iter().chain(right).cloned().collect())),
            _ => arithmetic(operator, left, right).unwrap_or_else(|| Err(types())),
        },
        Operator::Mul => match (left, right) {
            (Value::String(_) | Value::Array(_), Value::Number(_) | Value::Bool(_)) => repeat(left, right, types),
            (Value::Number(_) | Value::Bool(_), Value::String(_) | Value::Array(_)) => repeat(right, left, types),
            _ => arithmetic(operator, left, right).unwrap_or_else(|| Err(types())),
        },
        Operator::Sub | Operator::Div | Operator::FloorDiv | Operator::Mod => {
            arithmetic(operator, left, right).unwrap_or_else(|| Err(types()))
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (Num::of(left), Num::of(right)) {
        (Some(Num::Int(left)), Some(Num::Int(right))) => left == right,
        (Some(left), Some(right)) => left.float() == right.float(),
        _ => match (left, right) {
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
            }
            _ => left == right,
        },
    }
}

/// The outer `None`: these cannot be ordered. The inner one: neither is less (not a number).
fn compare(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    if let (Some(left), Some(right)) = (Num::of(left), Num::of(right)) {
        return Some(match (left, right) {
            (Num::Int(left), Num::Int(right)) => Some(left.cmp(&right)),
            (left, right) => left.float().partial_cmp(&right.float()),
        });
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(Some(left.cmp(right))),
        (Value::Array(left), Value::Array(right)) => {
            for (left, right) in left.iter().zip(right) {
                if !equal(left, right) {
                    return compare(left, right);
                }
            }
            Some(Some(left.len().cmp(&right.len())))
        }
        _ => None,
    }
}

/// `None`: one of them is no number.
fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Option<Result<Value, OperatorError>> {
    let (left, right) = (Num::of(left)?, Num::of(right)?);
    let too_large = OperatorError::TooLarge(sign(operator));
    if matches!(operator, Operator::Div | Operator::FloorDiv | Operator::Mod) && right.float() == 0.0 {
        return Some(Err(OperatorError::DivisionByZero));
    }
    if let (Num::Int(left), Num::Int(right)) = (left, right)
        && operator != Operator::Div
    {
        let result = match operator {
            Operator::Add => left.checked_add(right),
            Operator::Sub => left.checked_sub(right),
            Operator::Mul => left.checked_mul(right),
            // Python rounds towards minus infinity.
            Operator::FloorDiv => left.checked_div_euclid(right).map(|_| {
                let quotient = left / right;
                quotient - i64::from(left % right != 0 && (left < 0) != (right < 0))
            }),
            _ => left
                .checked_rem(right)
                .map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }),
        };
        return Some(result.map(|value| Value::Number(value.into())).ok_or(too_large));
    }
    let (left, right) = (left.float(), right.float());
    let result = match operator {
        Operator::Add => left + right,
        Operator::Sub => left - right,
        Operator::Mul => left * right,
        Operator::Div => left / right,
        Operator::FloorDiv => (left / right).floor(),
        _ => left - right * (left / right).floor(),
    };
    Some(Number::from_f64(result).map(Value::Number).ok_or(too_large))
}

fn repeat(what: &Value, times: &Value, types: impl Fn() -> OperatorError) -> Result<Value, OperatorError> {
    let Some(Num::Int(times)) = Num::of(times) else { return Err(types()) };
    let times = usize::try_from(times).unwrap_or(0);
    let fits = |length: usize| length.checked_mul(times).is_some_and(|length| length <= MAX_REPEATED);
    match what {
        Value::String(text) if fits(text.len()) => Ok(Value::String(text.repeat(times))),
        Value::Array(items) if fits(items.len()) => {
            Ok(Value::Array(items.iter().cycle().take(items.len() * times).cloned().collect()))
        }
        _ => Err(OperatorError::TooLarge("*")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_follow_python() {
        for (operator, left, right, wanted) in [
            (Operator::FloorDiv, json!(-7), json!(2), json!(-4)),
            (Operator::Mod, json!(-7), json!(2), json!(1)),
            (Operator::Mod, json!(7), json!(-2), json!(-1)),
            (Operator::Div, json!(7), json!(2), json!(3.5)),
            (Operator::Add, json!(true), json!(1), json!(2)),
            (Operator::Mul, json!("ab"), json!(3), json!("ababab")),
            (Operator::Add, json!([1]), json!(["x"]), json!([1, "x"])),
            (Operator::In, json!("b"), json!(["a", "b"]), json!(true)),
            (Operator::Eq, json!(1), json!(1.0), json!(true)),
            (Operator::Lt, json!([1, 2]), json!([1, 3]), json!(true)),
        ] {
            assert_eq!(apply(operator, &left, &right), Ok(wanted), "{left} {operator:?} {right}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        assert_eq!(apply(Operator::Div, &json!(1), &json!(0)), Err(OperatorError::DivisionByZero));
        assert!(apply(Operator::Add, &json!("a"), &json!(1)).is_err());
        assert!(apply(Operator::Lt, &json!("a"), &json!(1)).is_err());
        assert!(apply(Operator::Mul, &json!("a"), &json!(i64::MAX)).is_err());
        assert!(apply(Operator::Mul, &json!(i64::MAX), &json!(2)).is_err());
        assert!(apply(Operator::FloorDiv, &json!(i64::MIN), &json!(-1)).is_err());
    }
}
