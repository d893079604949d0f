//! What can be wrong with a received frame.

use thiserror::Error;

/// A frame or value that is not what the protocol says. The text is meant for a log line, and for the exception
/// response when the frame was a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end in the middle of a value.
    #[error("message ends in the middle of a value")]
    Truncated,
    /// The bytes go on after the message's end.
    #[error("{0} bytes follow the message")]
    TrailingBytes(usize),
    /// A byte that starts no value, or an extension type.
    #[error("unsupported MessagePack type 0x{0:02x}")]
    UnsupportedType(u8),
    /// A value of another type than the one that belongs here.
    #[error("expected {expected}, found {found}")]
    UnexpectedType {
        /// What belongs here.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
    /// A value of a named field is wrong.
    #[error("field \"{field}\": {source}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: Box<DecodeError>,
    },
    /// An integer that does not fit.
    #[error("integer out of range")]
    IntegerRange,
    /// A map key that is not a text.
    #[error("map key is not a string")]
    KeyType,
    /// More nesting than is accepted.
    #[error("nested too deeply")]
    TooDeep,
    /// More values in one message than are accepted.
    #[error("too many values in one message")]
    TooManyValues,
    /// A frame larger than is accepted.
    #[error("message of {0} bytes is larger than accepted")]
    TooLarge(usize),
    /// A required key is missing. The words are those of the stock worker.
    #[error("'message did not contain obligatory \"{0}\" key'")]
    MissingKey(&'static str),
}

impl DecodeError {
    pub(crate) fn in_field(self, field: &'static str) -> Self {
        Self::Field { field, source: Box::new(self) }
    }
}
