//! From the bytes of a pipe to lines in messages: decoding, newline cleaning, line splitting, buffering.

mod clean;
mod decode;
mod lines;
mod reporter;

pub(crate) use lines::LineStream;
pub(crate) use reporter::{Reporter, Stream};

/// The time now as the protocol has it: Unix time in seconds.
pub(crate) fn unix_now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
