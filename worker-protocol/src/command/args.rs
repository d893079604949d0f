//! Reading and building argument maps.

use rmpv::Value;

use super::CommandError;
use crate::codec;

/// The arguments of one start request.
pub(super) struct Args<'a> {
    pub(super) class: &'static str,
    pub(super) map: &'a Value,
}

impl<'a> Args<'a> {
    /// The value of a key; nil counts as missing.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        codec::get(self.map, key).filter(|value| !value.is_nil())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        codec::get(self.map, key).is_some()
    }

    /// All of the keys must be there.
    pub(super) fn require(&self, keys: &[&str]) -> Result<(), CommandError> {
        let missing: Vec<&str> = keys.iter().copied().filter(|key| !self.has(key)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(CommandError::Missing { class: self.class, keys: missing.join(", ") })
    }

    pub(super) fn require_unnamed(&self, key: &str) -> Result<(), CommandError> {
        if self.has(key) {
            return Ok(());
        }
        Err(CommandError::Missing { class: self.class, keys: key.to_owned() })
    }

    pub(super) fn invalid(&self, key: &str) -> CommandError {
        let shown = codec::get(self.map, key).map_or_else(|| "None".to_owned(), ToString::to_string);
        CommandError::Invalid { class: "TypeError", message: format!("unusable value for '{key}': {shown}") }
    }

    pub(super) fn text(&self, key: &str) -> Result<String, CommandError> {
        self.get(key).and_then(codec::text).ok_or_else(|| self.invalid(key))
    }

    pub(super) fn optional_text(&self, key: &str) -> Result<Option<String>, CommandError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => codec::text(value).map(Some).ok_or_else(|| self.invalid(key)),
        }
    }

    /// A list of texts; a single text counts as a list of one.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, CommandError> {
        let value = self.get(key).ok_or_else(|| self.invalid(key))?;
        if let Some(text) = codec::text(value) {
            return Ok(vec![text]);
        }
        let items = value.as_array().ok_or_else(|| self.invalid(key))?;
        items.iter().map(|item| codec::text(item).ok_or_else(|| self.invalid(key))).collect()
    }

    /// A number of seconds; nil, missing and zero mean none.
    pub(super) fn seconds(&self, key: &str) -> Result<Option<f64>, CommandError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_f64().or_else(|| value.as_i64().map(|i| i as f64)).or(value.as_bool().map(f64::from));
        match number {
            Some(n) if n.is_finite() => Ok((n > 0.0).then_some(n)),
            _ => Err(self.invalid(key)),
        }
    }

    pub(super) fn uint(&self, key: &str) -> Result<Option<u64>, CommandError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().or_else(|| value.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64));
        number.map(Some).ok_or_else(|| self.invalid(key))
    }

    /// Python's truth of a value; missing means the default.
    pub(super) fn truth(&self, key: &str, default: bool) -> bool {
        match codec::get(self.map, key) {
            None => default,
            Some(Value::Nil) => false,
            Some(Value::Boolean(b)) => *b,
            Some(Value::Integer(i)) => i.as_i64() != Some(0),
            Some(Value::F32(f)) => *f != 0.0,
            Some(Value::F64(f)) => *f != 0.0,
            Some(Value::String(s)) => !s.as_bytes().is_empty(),
            Some(Value::Binary(b)) => !b.is_empty(),
            Some(Value::Array(a)) => !a.is_empty(),
            Some(Value::Map(m)) => !m.is_empty(),
            Some(Value::Ext(..)) => true,
        }
    }
}

/// Builds an argument map.
#[derive(Default)]
pub(super) struct MapBuilder {
    entries: Vec<(Value, Value)>,
}

impl MapBuilder {
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.entries.push((Value::from(key), value.into()));
    }

    pub(super) fn transfer(&mut self, path: &str, max_size: Option<u64>, block_size: u64) {
        self.put("path", path);
        self.put("maxsize", max_size.map_or(Value::Nil, Value::from));
        self.put("blocksize", block_size);
    }

    pub(super) fn finish(self) -> Value {
        Value::Map(self.entries)
    }
}
