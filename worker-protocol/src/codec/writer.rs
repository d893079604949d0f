//! Writes MessagePack, each value in its shortest form, as the stock worker and master do.

use rmpv::Value;

/// A growing message.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
}

impl Writer {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(128)
    }

    /// An empty message with room for that many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buf: Vec::with_capacity(bytes) }
    }

    /// The message's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.buf
    }

    /// Appends nil.
    pub fn nil(&mut self) {
        self.buf.push(0xc0);
    }

    /// Appends a boolean.
    pub fn bool(&mut self, value: bool) {
        self.buf.push(if value { 0xc3 } else { 0xc2 });
    }

    /// Appends an unsigned integer.
    pub fn uint(&mut self, value: u64) {
        match value {
            0..=0x7f => self.buf.push(value as u8),
            0x80..=0xff => self.tagged(0xcc, &[value as u8]),
            0x100..=0xffff => self.tagged(0xcd, &(value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(0xce, &(value as u32).to_be_bytes()),
            _ => self.tagged(0xcf, &value.to_be_bytes()),
        }
    }

    /// Appends a signed integer.
    pub fn int(&mut self, value: i64) {
        if value >= 0 {
            return self.uint(value as u64);
        }
        match value {
            -32..=-1 => self.buf.push(value as i8 as u8),
            -128..=-33 => self.tagged(0xd0, &(value as i8).to_be_bytes()),
            -32_768..=-129 => self.tagged(0xd1, &(value as i16).to_be_bytes()),
            -2_147_483_648..=-32_769 => self.tagged(0xd2, &(value as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &value.to_be_bytes()),
        }
    }

    /// Appends a float of 64 bits.
    pub fn f64(&mut self, value: f64) {
        self.tagged(0xcb, &value.to_be_bytes());
    }

    /// Appends a string.
    pub fn str(&mut self, value: &str) {
        self.str_bytes(value.as_bytes());
    }

    fn str_bytes(&mut self, bytes: &[u8]) {
        match bytes.len() {
            n @ 0..=31 => self.buf.push(0xa0 | n as u8),
            n @ 32..=0xff => self.tagged(0xd9, &[n as u8]),
            n @ 0x100..=0xffff => self.tagged(0xda, &(n as u16).to_be_bytes()),
            n => self.tagged(0xdb, &(n as u32).to_be_bytes()),
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Appends a byte string.
    pub fn bin(&mut self, bytes: &[u8]) {
        match bytes.len() {
            n @ 0..=0xff => self.tagged(0xc4, &[n as u8]),
            n @ 0x100..=0xffff => self.tagged(0xc5, &(n as u16).to_be_bytes()),
            n => self.tagged(0xc6, &(n as u32).to_be_bytes()),
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Begins an array of that many items.
    pub fn array(&mut self, len: usize) {
        match len {
            n @ 0..=15 => self.buf.push(0x90 | n as u8),
            n @ 16..=0xffff => self.tagged(0xdc, &(n as u16).to_be_bytes()),
            n => self.tagged(0xdd, &(n as u32).to_be_bytes()),
        }
    }

    /// Begins a map of that many entries.
    pub fn map(&mut self, len: usize) {
        match len {
            n @ 0..=15 => self.buf.push(0x80 | n as u8),
            n @ 16..=0xffff => self.tagged(0xde, &(n as u16).to_be_bytes()),
            n => self.tagged(0xdf, &(n as u32).to_be_bytes()),
        }
    }

    /// Appends any value. An extension becomes nil: the protocol has none.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Nil | Value::Ext(..) => self.nil(),
            Value::Boolean(b) => self.bool(*b),
            Value::Integer(i) => match (i.as_i64(), i.as_u64()) {
                (Some(i), _) => self.int(i),
                (None, Some(u)) => self.uint(u),
                (None, None) => self.nil(),
            },
            Value::F32(f) => self.f64(f64::from(*f)),
            Value::F64(f) => self.f64(*f),
            Value::String(s) => match s.as_str() {
                Some(text) => self.str(text),
                None => self.bin(s.as_bytes()),
            },
            Value::Binary(b) => self.bin(b),
            Value::Array(items) => {
                self.array(items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Map(entries) => {
                self.map(entries.len());
                for (key, item) in entries {
                    self.value(key);
                    self.value(item);
                }
            }
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.buf.push(tag);
        self.buf.extend_from_slice(bytes);
    }
}
