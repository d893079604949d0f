//! The logs of one running step, on their way into the database.
//!
//! Text is collected in memory, and leaves for the database as soon as a chunk is full or a quarter of a second has
//! passed, everything that waits in one transaction. The end of the logs is written together with the end of the step.

use std::time::Duration;

use buildguild_types::ids::LogId;
use buildguild_types::resources::LogKind;
use tokio::time::Instant;

use super::buffer::{Chunk, LogBuffer, MAX_CHUNK_BYTES, Stream};
use super::limits::LogLimits;

/// How long text may wait in memory.
const FLUSH_AFTER: Duration = Duration::from_millis(250);

/// A log of a [`StepLogs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRef(usize);

/// Chunks that are to be stored at the end of a log.
#[derive(Debug)]
pub(crate) struct Append {
    /// The log.
    pub(crate) log: LogId,
    /// What it holds.
    pub(crate) kind: LogKind,
    /// The number of the first line.
    pub(crate) first_line: i64,
    /// The chunks in order.
    pub(crate) chunks: Vec<Chunk>,
}

#[derive(Debug)]
struct OpenLog {
    name: String,
    id: LogId,
    buffer: LogBuffer,
    stored_lines: i64,
    finished: bool,
}

/// The logs of one running step.
#[derive(Debug)]
pub(crate) struct StepLogs {
    limits: LogLimits,
    logs: Vec<OpenLog>,
    oldest: Option<Instant>,
}

impl StepLogs {
    pub(crate) const fn new(limits: LogLimits) -> Self {
        Self { limits, logs: Vec::new(), oldest: None }
    }

    /// Adds a log that is in the database already.
    pub(crate) fn add(&mut self, name: &str, kind: LogKind, id: LogId) -> LogRef {
        let buffer = LogBuffer::new(kind, self.limits);
        self.logs.push(OpenLog { name: name.to_owned(), id, buffer, stored_lines: 0, finished: false });
        LogRef(self.logs.len() - 1)
    }

    /// A log by its name.
    pub(crate) fn find(&self, name: &str) -> Option<LogRef> {
        self.logs.iter().position(|log| log.name == name).map(LogRef)
    }

    /// Adds text. Does nothing to a log that is finished: a finished log never changes.
    pub(crate) fn push(&mut self, log: LogRef, stream: Stream, text: &str) {
        let Some(log) = self.logs.get_mut(log.0).filter(|log| !log.finished) else { return };
        log.buffer.push(stream, text);
        self.oldest.get_or_insert_with(Instant::now);
    }

    /// When what waits has waited long enough.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + FLUSH_AFTER)
    }

    /// Whether what waits is worth a transaction.
    pub(crate) fn is_full(&self) -> bool {
        self.pending_bytes() >= MAX_CHUNK_BYTES
    }

    /// How much waits.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.logs.iter().map(|log| log.buffer.pending_bytes()).sum()
    }

    /// Takes everything that waits.
    pub(crate) fn take(&mut self) -> Vec<Append> {
        self.oldest = None;
        self.logs
            .iter_mut()
            .filter_map(|log| {
                let chunks = log.buffer.take();
                if chunks.is_empty() {
                    return None;
                }
                let first_line = log.stored_lines;
                log.stored_lines += chunks.iter().map(|chunk| i64::from(chunk.lines)).sum::<i64>();
                Some(Append { log: log.id, kind: log.buffer.kind(), first_line, chunks })
            })
            .collect()
    }

    /// Ends one log; says which it is, if it was not ended before.
    pub(crate) fn finish(&mut self, log: LogRef) -> Option<LogId> {
        let log = self.logs.get_mut(log.0).filter(|log| !log.finished)?;
        log.buffer.finish();
        log.finished = true;
        Some(log.id)
    }

    /// Ends all logs; says which were not ended before.
    pub(crate) fn finish_all(&mut self) -> Vec<LogId> {
        (0..self.logs.len()).filter_map(|log| self.finish(LogRef(log))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_are_numbered_through_and_end_with_the_log() {
        let mut logs = StepLogs::new(LogLimits::default());
        let stdio = logs.add("stdio", LogKind::Stream, LogId(1));
        logs.push(stdio, Stream::Stdout, "a\nb\nc");
        assert!(logs.due().is_some());
        let first = logs.take();
        assert_eq!((first[0].first_line, first[0].chunks[0].content.as_str()), (0, "oa\nob\n"));
        assert!(logs.due().is_none());
        assert_eq!(logs.finish_all(), [LogId(1)]);
        let second = logs.take();
        assert_eq!((second[0].first_line, second[0].chunks[0].content.as_str()), (2, "oc\n"));
        logs.push(stdio, Stream::Stdout, "late\n");
        assert!(logs.take().is_empty());
        assert!(logs.finish_all().is_empty());
    }
}
