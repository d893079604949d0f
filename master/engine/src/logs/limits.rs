//! `logMaxSize` and `logMaxTailSize`, enforced while the log streams in.
//!
//! Output counts; headers, which the worker and the master write, do not, so that the exit code is in every log.

use std::collections::VecDeque;

use super::buffer::Stream;

/// How much of a log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLimits {
    /// `logMaxSize`: output beyond this many bytes is dropped. `None`: no limit.
    pub max_bytes: Option<u64>,
    /// `logMaxTailSize`: of the output beyond the limit, this many bytes from the end are kept, in memory until then.
    pub tail_bytes: Option<u64>,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored.
    Keep,
    /// It is dropped, or kept aside for the tail.
    Drop,
    /// It is stored as the last one, and the reader is told.
    LimitReached { limit_bytes: u64 },
}

/// The end of an output that was too long.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) bytes: u64,
    pub(super) lines: VecDeque<(Stream, String)>,
}

/// Counts the bytes of one log.
#[derive(Debug)]
pub(super) struct Watch {
    limits: LogLimits,
    seen: u64,
    exceeded: bool,
    tail: Tail,
}

impl Watch {
    pub(super) const fn new(limits: LogLimits) -> Self {
        Self { limits, seen: 0, exceeded: false, tail: Tail { bytes: 0, lines: VecDeque::new() } }
    }

    pub(super) fn admit(&mut self, stream: Stream, line: &str) -> Verdict {
        let Some(limit_bytes) = self.limits.max_bytes else {
            return Verdict::Keep;
        };
        if stream == Stream::Header {
            return Verdict::Keep;
        }
        let size = line.len() as u64 + 1;
        if self.exceeded {
            self.keep_tail(stream, line, size);
            return Verdict::Drop;
        }
        self.seen += size;
        if self.seen > limit_bytes {
            self.exceeded = true;
            return Verdict::LimitReached { limit_bytes };
        }
        Verdict::Keep
    }

    fn keep_tail(&mut self, stream: Stream, line: &str, size: u64) {
        let Some(room) = self.limits.tail_bytes else {
            return;
        };
        self.tail.bytes += size;
        self.tail.lines.push_back((stream, line.to_owned()));
        while self.tail.bytes > room {
            let Some((_, dropped)) = self.tail.lines.pop_front() else {
                break;
            };
            self.tail.bytes -= dropped.len() as u64 + 1;
        }
    }

    pub(super) fn take_tail(&mut self) -> Option<Tail> {
        if self.tail.lines.is_empty() {
            return None;
        }
        Some(std::mem::replace(&mut self.tail, Tail { bytes: 0, lines: VecDeque::new() }))
    }
}
