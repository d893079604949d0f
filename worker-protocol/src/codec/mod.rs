//! MessagePack itself: a reader and a writer over byte slices.
//!
//! Written by hand rather than with `rmpv`'s own reader because log updates carry two numbers for each line: they go
//! straight into vectors of numbers, and a message cannot make the reader allocate more than a small multiple of its
//! own size. `rmpv::Value` is used for what has no fixed shape.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

use rmpv::Value;

/// The name of a value's type, for error texts.
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::F32(_) | Value::F64(_) => "float",
        Value::String(_) => "string",
        Value::Binary(_) => "binary",
        Value::Array(_) => "array",
        Value::Map(_) => "map",
        Value::Ext(..) => "extension",
    }
}

/// The text of a string, or of a byte string read as UTF-8, which is accepted wherever a string is.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(String::from_utf8_lossy(s.as_bytes()).into_owned()),
        Value::Binary(b) => Some(String::from_utf8_lossy(b).into_owned()),
        _ => None,
    }
}

/// The value of a key in a map; nothing if it is no map or has no such key.
#[must_use]
pub fn get<'a>(map: &'a Value, key: &str) -> Option<&'a Value> {
    map.as_map()?.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
}
