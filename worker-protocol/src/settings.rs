//! How a worker treats output; the master decides (`set_worker_settings`).

use rmpv::Value;

use crate::codec::{Reader, Writer};
use crate::error::DecodeError;

/// The newline expression that the stock master sends. A worker compares with this text and scans by hand: the
/// expression needs look-ahead, and the regular expressions of other languages differ.
pub const STOCK_NEWLINE_RE: &str = r"(\r\n|\r(?=.)|\033\[u|\033\[[0-9]+;[0-9]+[Hf]|\033\[2J|\x08+)";

/// The key of a worker's info, and of its settings, that lists what an end knows beyond the stock protocol.
pub const EXTENSIONS_KEY: &str = "buildguild_extensions";

/// The worker may send the request `graceful`.
pub const EXTENSION_GRACEFUL: &str = "graceful";

/// How a worker cleans, splits and buffers output. Applies to commands started after it was set.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerSettings {
    /// What counts as a newline, as a Python regular expression.
    pub newline_re: String,
    /// The longest line in characters; longer ones are split.
    pub max_line_length: u64,
    /// How long output may wait in the worker's buffer, in seconds.
    pub buffer_timeout_secs: f64,
    /// How much output may wait in the worker's buffer, in the protocol's own measure (characters and a charge for
    /// each line).
    pub buffer_size: u64,
    /// What the master knows beyond the stock protocol, such as [`EXTENSION_GRACEFUL`]. Left out of the message when
    /// empty; a master sends it only to workers that list the same in their info (key [`EXTENSIONS_KEY`]).
    pub extensions: Vec<String>,
}

impl Default for WorkerSettings {
    /// The stock worker's values.
    fn default() -> Self {
        Self {
            newline_re: STOCK_NEWLINE_RE.to_owned(),
            max_line_length: 4096,
            buffer_timeout_secs: 5.0,
            buffer_size: 65536,
            extensions: Vec::new(),
        }
    }
}

impl WorkerSettings {
    pub(crate) fn encode(&self, w: &mut Writer) {
        w.map(4 + usize::from(!self.extensions.is_empty()));
        w.str("newline_re");
        w.str(&self.newline_re);
        w.str("max_line_length");
        w.uint(self.max_line_length);
        w.str("buffer_timeout");
        // Whole numbers leave as integers, which is how the stock master sends them.
        if self.buffer_timeout_secs.fract() == 0.0 && self.buffer_timeout_secs.abs() < 1e15 {
            w.int(self.buffer_timeout_secs as i64);
        } else {
            w.f64(self.buffer_timeout_secs);
        }
        w.str("buffer_size");
        w.uint(self.buffer_size);
        if !self.extensions.is_empty() {
            w.str(EXTENSIONS_KEY);
            w.array(self.extensions.len());
            self.extensions.iter().for_each(|name| w.str(name));
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = Reader::new(bytes).value()?;
        let Value::Map(entries) = value else {
            return Err(DecodeError::UnexpectedType { expected: "map", found: crate::codec::type_name(&value) });
        };
        let get = |key: &'static str| {
            entries.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v).ok_or(DecodeError::MissingKey(key))
        };
        let number = |key: &'static str| -> Result<f64, DecodeError> {
            let value = get(key)?;
            let number = value.as_f64().or_else(|| value.as_i64().map(|i| i as f64));
            number.filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(|| {
                DecodeError::UnexpectedType { expected: "number", found: crate::codec::type_name(value) }.in_field(key)
            })
        };
        Ok(Self {
            newline_re: crate::codec::text(get("newline_re")?)
                .ok_or(DecodeError::UnexpectedType { expected: "string", found: "other" }.in_field("newline_re"))?,
            max_line_length: number("max_line_length")? as u64,
            buffer_timeout_secs: number("buffer_timeout")?,
            buffer_size: number("buffer_size")? as u64,
            extensions: get(EXTENSIONS_KEY)
                .ok()
                .and_then(Value::as_array)
                .map(|names| names.iter().filter_map(crate::codec::text).collect())
                .unwrap_or_default(),
        })
    }
}
