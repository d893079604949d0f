//! The compression of chunks. We write zstd; every method that Buildbot offers can be written and read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{Read, Write};

use crate::DbError;

/// No chunk is larger than this when decompressed; what claims to be is damaged.
const MAX_RAW: usize = 16 * 1024 * 1024;

/// How a chunk is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib (`gz`).
    Gz,
    /// bzip2 (`bz2`).
    Bz2,
    /// LZ4 block with its size in front (`lz4`).
    Lz4,
    /// Brotli (`br`).
    Br,
    /// Zstandard (`zstd`).
    #[default]
    Zstd,
}

/// What zstd needs for a chunk, kept by each thread: making and clearing it would cost more than a small chunk does.
struct Zstd {
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

/// The lowest level: logs shrink nearly as well, at a third of the time.
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    static ZSTD: RefCell<Option<Zstd>> = RefCell::new(
        zstd::bulk::Compressor::new(ZSTD_LEVEL)
            .and_then(|compressor| Ok(Zstd { compressor, decompressor: zstd::bulk::Decompressor::new()? }))
            .ok(),
    );
}

impl Compression {
    /// All methods.
    pub const ALL: [Self; 6] = [Self::None, Self::Gz, Self::Bz2, Self::Lz4, Self::Br, Self::Zstd];

    /// The number in the database.
    pub const fn id(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Gz => 1,
            Self::Bz2 => 2,
            Self::Lz4 => 3,
            Self::Br => 4,
            Self::Zstd => 5,
        }
    }

    /// The method with this number.
    pub fn from_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.id() == id)
    }

    /// The method with this name in `logCompressionMethod`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "raw" | "none" => Some(Self::None),
            "gz" => Some(Self::Gz),
            "bz2" => Some(Self::Bz2),
            "lz4" => Some(Self::Lz4),
            "br" => Some(Self::Br),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Compresses, or returns the text as it is (with [`Compression::None`]) where that is shorter.
    pub fn compress(self, text: &[u8]) -> (Vec<u8>, Self) {
        match self.try_compress(text) {
            Some(bytes) if bytes.len() < text.len() => (bytes, self),
            _ => (text.to_vec(), Self::None),
        }
    }

    /// Writing into memory does not fail; if a library says so, the chunk is stored as it is.
    fn try_compress(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::Gz => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(text).ok()?;
                encoder.finish().ok()
            }
            Self::Bz2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
                encoder.write_all(text).ok()?;
                encoder.finish().ok()
            }
            Self::Lz4 => Some(lz4_flex::block::compress_prepend_size(text)),
            Self::Br => {
                let mut out = Vec::new();
                let params = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
                brotli::BrotliCompress(&mut &*text, &mut out, &params).ok()?;
                Some(out)
            }
            Self::Zstd => ZSTD.with_borrow_mut(|zstd| zstd.as_mut()?.compressor.compress(text).ok()),
        }
    }

    /// Decompresses.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] if the bytes are not what the method writes, or far larger than a chunk may be.
    pub fn decompress(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>, DbError> {
        let corrupt = |error: &dyn std::fmt::Display| DbError::Corrupt(format!("a log chunk: {error}"));
        let read = |reader: &mut dyn Read| -> Result<Cow<'_, [u8]>, DbError> {
            let mut out = Vec::new();
            reader.take(MAX_RAW as u64 + 1).read_to_end(&mut out).map_err(|error| corrupt(&error))?;
            if out.len() > MAX_RAW {
                return Err(corrupt(&"too large"));
            }
            Ok(Cow::Owned(out))
        };
        match self {
            Self::None => Ok(Cow::Borrowed(bytes)),
            Self::Gz => read(&mut flate2::read::ZlibDecoder::new(bytes)),
            Self::Bz2 => read(&mut bzip2::read::BzDecoder::new(bytes)),
            Self::Lz4 => {
                let (size, block) = lz4_flex::block::uncompressed_size(bytes).map_err(|error| corrupt(&error))?;
                if size > MAX_RAW {
                    return Err(corrupt(&"too large"));
                }
                lz4_flex::block::decompress(block, size).map(Cow::Owned).map_err(|error| corrupt(&error))
            }
            Self::Br => read(&mut brotli::Decompressor::new(bytes, 4096)),
            Self::Zstd => {
                let size = zstd::zstd_safe::get_frame_content_size(bytes).map_err(|_| corrupt(&"no zstd frame"))?;
                // A frame that does not tell its size was not written here, but may be read.
                let capacity = size.map_or(MAX_RAW, |size| usize::try_from(size).unwrap_or(usize::MAX));
                if capacity > MAX_RAW {
                    return Err(corrupt(&"too large"));
                }
                ZSTD.with_borrow_mut(|zstd| {
                    let zstd = zstd.as_mut().ok_or_else(|| corrupt(&"no memory for zstd"))?;
                    zstd.decompressor.decompress(bytes, capacity).map(Cow::Owned).map_err(|error| corrupt(&error))
                })
            }
        }
    }
}
