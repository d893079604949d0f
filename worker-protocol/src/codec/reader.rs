//! Reads MessagePack from a byte slice, without trusting it.

use std::borrow::Cow;

use rmpv::Value;

use crate::error::DecodeError;

/// More nesting than any message of the protocol has.
const MAX_DEPTH: usize = 32;

/// How many values without a fixed shape one message may hold. A value takes about 40 bytes once decoded, while one
/// byte is enough to send it.
const MAX_VALUES: usize = 1_000_000;

/// A place in a message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
    values_left: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning.
    #[must_use]
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0, values_left: MAX_VALUES }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// The type of the next value.
    ///
    /// # Errors
    /// At the end of the message.
    pub fn peek_type(&self) -> Result<&'static str, DecodeError> {
        let tag = *self.buf.get(self.pos).ok_or(DecodeError::Truncated)?;
        Ok(match tag {
            0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xcf | 0xd0..=0xd3 => "integer",
            0x80..=0x8f | 0xde | 0xdf => "map",
            0x90..=0x9f | 0xdc | 0xdd => "array",
            0xa0..=0xbf | 0xd9..=0xdb => "string",
            0xc0 => "nil",
            0xc2 | 0xc3 => "boolean",
            0xc4..=0xc6 => "binary",
            0xca | 0xcb => "float",
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(DecodeError::UnsupportedType(tag)),
        })
    }

    /// Reads a nil if there is one.
    pub fn take_nil(&mut self) -> bool {
        let nil = self.buf.get(self.pos) == Some(&0xc0);
        self.pos += usize::from(nil);
        nil
    }

    /// Reads the beginning of a map: the number of its entries.
    ///
    /// # Errors
    /// If the next value is no map, or says more entries than there are bytes.
    pub fn map_len(&mut self) -> Result<usize, DecodeError> {
        let found = self.peek_type()?;
        let len = match self.byte()? {
            tag @ 0x80..=0x8f => usize::from(tag & 0x0f),
            0xde => self.be_u16()?.into(),
            0xdf => self.be_u32()? as usize,
            _ => {
                return Err(DecodeError::UnexpectedType { expected: "map", found });
            }
        };
        self.plausible(len.saturating_mul(2)).map(|_| len)
    }

    /// Reads the beginning of an array: the number of its items.
    ///
    /// # Errors
    /// If the next value is no array, or says more items than there are bytes.
    pub fn array_len(&mut self) -> Result<usize, DecodeError> {
        let found = self.peek_type()?;
        let len = match self.byte()? {
            tag @ 0x90..=0x9f => usize::from(tag & 0x0f),
            0xdc => self.be_u16()?.into(),
            0xdd => self.be_u32()? as usize,
            _ => {
                return Err(DecodeError::UnexpectedType { expected: "array", found });
            }
        };
        self.plausible(len)
    }

    /// Reads the bytes of a string or a byte string.
    ///
    /// # Errors
    /// If the next value is neither.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let found = self.peek_type()?;
        let len = match self.byte()? {
            tag @ 0xa0..=0xbf => usize::from(tag & 0x1f),
            0xc4 | 0xd9 => self.byte()?.into(),
            0xc5 | 0xda => self.be_u16()?.into(),
            0xc6 | 0xdb => self.be_u32()? as usize,
            _ => {
                return Err(DecodeError::UnexpectedType { expected: "string", found });
            }
        };
        self.take(len)
    }

    /// Reads a text; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// If the next value is neither a string nor a byte string.
    pub fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        Ok(String::from_utf8_lossy(self.bytes()?))
    }

    /// Reads an integer; a float without a fraction counts.
    ///
    /// # Errors
    /// If the next value is no integer or does not fit.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let found = self.peek_type()?;
        Ok(match self.byte()? {
            tag @ 0x00..=0x7f => tag.into(),
            tag @ 0xe0..=0xff => (tag as i8).into(),
            0xcc => self.byte()?.into(),
            0xcd => self.be_u16()?.into(),
            0xce => self.be_u32()?.into(),
            0xcf => i64::try_from(self.be_u64()?).map_err(|_| DecodeError::IntegerRange)?,
            0xd0 => (self.byte()? as i8).into(),
            0xd1 => (self.be_u16()? as i16).into(),
            0xd2 => (self.be_u32()? as i32).into(),
            0xd3 => self.be_u64()? as i64,
            0xcb => {
                let float = f64::from_bits(self.be_u64()?);
                if float.fract() != 0.0 || float.abs() > 9.0e15 {
                    return Err(DecodeError::IntegerRange);
                }
                float as i64
            }
            _ => {
                return Err(DecodeError::UnexpectedType { expected: "integer", found });
            }
        })
    }

    /// Reads a number as a float.
    ///
    /// # Errors
    /// If the next value is no number.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        match self.buf.get(self.pos) {
            Some(0xcb) => {
                self.pos += 1;
                Ok(f64::from_bits(self.be_u64()?))
            }
            Some(0xca) => {
                self.pos += 1;
                Ok(f32::from_bits(self.be_u32()?).into())
            }
            Some(0xcf) => {
                self.pos += 1;
                Ok(self.be_u64()? as f64)
            }
            _ => Ok(self.int()? as f64),
        }
    }

    /// Steps over one value and returns its bytes.
    ///
    /// # Errors
    /// If it is malformed or nested too deeply.
    pub fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.pos;
        self.skip_nested(0)?;
        Ok(&self.buf[start..self.pos])
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let len = match self.byte()? {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            tag @ 0xa0..=0xbf => usize::from(tag & 0x1f),
            0xc4 | 0xd9 => self.byte()?.into(),
            0xc5 | 0xda => self.be_u16()?.into(),
            0xc6 | 0xdb => self.be_u32()? as usize,
            0x80..=0x8f | 0xde | 0xdf => {
                self.pos -= 1;
                for _ in 0..self.map_len()? * 2 {
                    self.skip_nested(depth + 1)?;
                }
                0
            }
            0x90..=0x9f | 0xdc | 0xdd => {
                self.pos -= 1;
                for _ in 0..self.array_len()? {
                    self.skip_nested(depth + 1)?;
                }
                0
            }
            tag @ (0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8) => {
                return Err(DecodeError::UnsupportedType(tag));
            }
        };
        self.take(len).map(|_| ())
    }

    /// Reads any value.
    ///
    /// # Errors
    /// If it is malformed, nested too deeply, holds too many values, or has a map key that is not a text.
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        self.value_nested(0)
    }

    fn value_nested(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(DecodeError::TooManyValues)?;
        Ok(match self.peek_type()? {
            "nil" => {
                self.pos += 1;
                Value::Nil
            }
            "boolean" => Value::Boolean(self.byte()? == 0xc3),
            "float" => Value::F64(self.f64()?),
            "integer" if self.buf[self.pos] == 0xcf => {
                self.pos += 1;
                Value::from(self.be_u64()?)
            }
            "integer" => Value::from(self.int()?),
            "string" => Value::String(self.text()?.into_owned().into()),
            "binary" => Value::Binary(self.bytes()?.to_vec()),
            "array" => {
                let len = self.array_len()?;
                let mut items = Vec::with_capacity(len.min(1024));
                for _ in 0..len {
                    items.push(self.value_nested(depth + 1)?);
                }
                Value::Array(items)
            }
            _ => {
                let len = self.map_len()?;
                let mut entries = Vec::with_capacity(len.min(1024));
                for _ in 0..len {
                    if !matches!(self.peek_type()?, "string" | "binary") {
                        return Err(DecodeError::KeyType);
                    }
                    let key = Value::String(self.text()?.into_owned().into());
                    entries.push((key, self.value_nested(depth + 1)?));
                }
                Value::Map(entries)
            }
        })
    }

    /// Nothing but the message may be there.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(DecodeError::TrailingBytes(n)),
        }
    }

    /// A count of values that the rest of the message can hold: each takes a byte at least.
    fn plausible(&self, len: usize) -> Result<usize, DecodeError> {
        if len > self.remaining() { Err(DecodeError::Truncated) } else { Ok(len) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.pos.checked_add(len).ok_or(DecodeError::Truncated)?;
        let bytes = self.buf.get(self.pos..end).ok_or(DecodeError::Truncated)?;
        self.pos = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.buf.get(self.pos).ok_or(DecodeError::Truncated)?;
        self.pos += 1;
        Ok(byte)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn be_u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array_of()?))
    }

    fn be_u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array_of()?))
    }

    fn be_u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array_of()?))
    }
}
