//! The messages: maps with `op` and `seq_number`. A request of either side, or a response.

mod master;
mod worker;

use bytes::Bytes;
use rmpv::Value;

pub use master::{MasterRequest, StartCommand};
pub use worker::WorkerRequest;

use crate::codec::{Reader, Writer};
use crate::error::DecodeError;

/// More keys than any message has.
const MAX_KEYS: usize = 64;

/// A request that cannot be understood, while its sequence number can: it is answered with an exception response.
/// The texts are those of the stock worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No request has this name.
    #[error("Command {0} does not exist.")]
    UnknownOp(String),
    /// A key is missing or of a wrong type.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// A request that one side can send.
pub trait WireRequest: Sized + Send {
    /// The name on the wire.
    fn op(&self) -> &'static str;

    /// How many keys [`WireRequest::encode_fields`] writes.
    fn field_count(&self) -> usize;

    /// Writes the keys beside `op` and `seq_number`.
    fn encode_fields(&self, w: &mut Writer);

    /// About how many bytes the message takes; to allocate once.
    fn size_hint(&self) -> usize {
        256
    }

    /// Reads the keys beside `op` and `seq_number`.
    ///
    /// # Errors
    /// If there is no such request, or a key is missing or wrong.
    fn decode(op: &str, fields: &Fields<'_>) -> Result<Self, RequestError>;

    /// The whole message.
    fn encode(&self, seq_number: i64) -> Bytes {
        let mut w = Writer::with_capacity(self.size_hint());
        w.map(self.field_count() + 2);
        w.str("op");
        w.str(self.op());
        self.encode_fields(&mut w);
        w.str("seq_number");
        w.int(seq_number);
        Bytes::from(w.finish())
    }
}

/// A response to a request of the other side.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The request's sequence number.
    pub seq_number: i64,
    /// The result, or the text of the error.
    pub result: Result<Value, String>,
}

impl Response {
    /// The whole message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.map(if self.result.is_ok() { 3 } else { 4 });
        w.str("op");
        w.str("response");
        w.str("seq_number");
        w.int(self.seq_number);
        w.str("result");
        match &self.result {
            Ok(value) => w.value(value),
            Err(text) => {
                w.str(text);
                w.str("is_exception");
                w.bool(true);
            }
        }
        Bytes::from(w.finish())
    }
}

/// A received message.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound<R> {
    /// A request that was understood.
    Request {
        /// The number to answer with.
        seq_number: i64,
        /// The request.
        request: R,
    },
    /// A request that was not understood and is to be answered with an exception.
    BadRequest {
        /// The number to answer with.
        seq_number: i64,
        /// What is wrong.
        error: RequestError,
    },
    /// A response.
    Response(Response),
    /// A map without `op` or `seq_number`: it is logged and not answered.
    Ignored(&'static str),
}

impl<R: WireRequest> Inbound<R> {
    /// Reads a frame.
    ///
    /// # Errors
    /// If it is no well-formed MessagePack map with text keys; the connection is then of no use any more.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        if frame.len() > crate::MAX_MESSAGE_BYTES {
            return Err(DecodeError::TooLarge(frame.len()));
        }
        let fields = Fields::read(frame)?;
        let Some(op) = fields.find("op").and_then(|bytes| Reader::new(bytes).text().ok()) else {
            return Ok(Self::Ignored("message without \"op\""));
        };
        let Some(seq_number) = fields.find("seq_number").and_then(|bytes| Reader::new(bytes).int().ok()) else {
            return Ok(Self::Ignored("message without \"seq_number\""));
        };
        if op == "response" {
            let result = match fields.find("result") {
                Some(bytes) => Reader::new(bytes).value()?,
                None => Value::Nil,
            };
            let result = match fields.find("is_exception") {
                Some(_) => Err(crate::codec::text(&result).unwrap_or_else(|| result.to_string())),
                None => Ok(result),
            };
            return Ok(Self::Response(Response { seq_number, result }));
        }
        Ok(match R::decode(&op, &fields) {
            Ok(request) => Self::Request { seq_number, request },
            Err(error) => Self::BadRequest { seq_number, error },
        })
    }
}

/// The keys of a received message, with the bytes of their values.
#[derive(Debug)]
pub struct Fields<'a> {
    frame: &'a Bytes,
    entries: Vec<(std::borrow::Cow<'a, str>, &'a [u8])>,
}

impl<'a> Fields<'a> {
    fn read(frame: &'a Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame);
        let len = r.map_len()?;
        if len > MAX_KEYS {
            return Err(DecodeError::TooManyValues);
        }
        let mut entries = Vec::with_capacity(len);
        for _ in 0..len {
            if !matches!(r.peek_type()?, "string" | "binary") {
                return Err(DecodeError::KeyType);
            }
            let key = r.text()?;
            entries.push((key, r.skip()?));
        }
        r.finish()?;
        Ok(Self { frame, entries })
    }

    /// The bytes of a key's value.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&'a [u8]> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| *v)
    }

    /// A reader at a key's value.
    ///
    /// # Errors
    /// If the key is missing.
    pub fn reader(&self, key: &'static str) -> Result<Reader<'a>, DecodeError> {
        self.find(key).map(Reader::new).ok_or(DecodeError::MissingKey(key))
    }

    /// A required text.
    ///
    /// # Errors
    /// If the key is missing or its value no text.
    pub fn text(&self, key: &'static str) -> Result<String, DecodeError> {
        Ok(self.reader(key)?.text().map_err(|e| e.in_field(key))?.into_owned())
    }

    /// A text that may be missing or nil.
    ///
    /// # Errors
    /// If the value is neither nil nor a text.
    pub fn optional_text(&self, key: &'static str) -> Result<Option<String>, DecodeError> {
        let Some(bytes) = self.find(key) else {
            return Ok(None);
        };
        let mut r = Reader::new(bytes);
        if r.take_nil() {
            return Ok(None);
        }
        Ok(Some(r.text().map_err(|e| e.in_field(key))?.into_owned()))
    }

    /// A required byte string, without copying it out of the frame.
    ///
    /// # Errors
    /// If the key is missing or its value no byte string.
    pub fn data(&self, key: &'static str) -> Result<Bytes, DecodeError> {
        let bytes = self.reader(key)?.bytes().map_err(|e| e.in_field(key))?;
        Ok(self.frame.slice_ref(bytes))
    }
}
