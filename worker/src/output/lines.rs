//! Whole lines out of pieces of output.

use super::clean::Cleaner;
use super::decode::Utf8Decoder;
use super::reporter::{Reporter, Stream};

/// One stream of a command on its way from bytes to lines. Holds at most one unfinished line, which is never longer
/// than the longest line.
#[derive(Debug)]
pub(crate) struct LineStream {
    stream: Stream,
    decoder: Utf8Decoder,
    cleaner: Cleaner,
    /// The last line, as long as it has no end.
    partial: String,
    partial_chars: usize,
    /// When the first character of `partial` came.
    partial_time: f64,
    /// The most characters in a line, its newline not counted.
    max_chars: usize,
}

impl LineStream {
    /// A stream whose lines, newline included, are at most `max_line_length` characters long.
    pub(crate) fn new(stream: Stream, max_line_length: u64) -> Self {
        Self {
            stream,
            decoder: Utf8Decoder::default(),
            cleaner: Cleaner::default(),
            partial: String::new(),
            partial_chars: 0,
            partial_time: 0.0,
            max_chars: usize::try_from(max_line_length).unwrap_or(usize::MAX).saturating_sub(1).max(1),
        }
    }

    /// Takes what was read at a time.
    pub(crate) fn feed(&mut self, data: &[u8], time: f64, reporter: &mut Reporter) {
        let text = self.decoder.feed(data);
        let text = self.cleaner.feed(&text);
        self.take(&text, time, reporter);
    }

    /// Sends what is left when the stream has ended, with the newline that it lacks.
    pub(crate) fn finish(&mut self, time: f64, reporter: &mut Reporter) {
        let rest = self.cleaner.finish();
        self.take(&rest, time, reporter);
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            reporter.line(&self.stream, &line, self.partial_chars, self.partial_time);
            self.partial_chars = 0;
        }
    }

    fn take(&mut self, text: &str, time: f64, reporter: &mut Reporter) {
        let mut rest = text;
        while let Some(end) = rest.find('\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let chars = count_chars(line);
            if self.partial.is_empty() && chars <= self.max_chars {
                reporter.line(&self.stream, line, chars, time);
                continue;
            }
            self.extend(line, chars, time, reporter);
            let line = std::mem::take(&mut self.partial);
            reporter.line(&self.stream, &line, self.partial_chars, self.partial_time);
            // The allocation is used again.
            self.partial = line;
            self.partial.clear();
            self.partial_chars = 0;
        }
        if !rest.is_empty() {
            self.extend(rest, count_chars(rest), time, reporter);
        }
    }

    /// Adds to the unfinished line, and sends full lines off its beginning. What stays is not empty.
    fn extend(&mut self, text: &str, chars: usize, time: f64, reporter: &mut Reporter) {
        if self.partial.is_empty() {
            self.partial_time = time;
        }
        self.partial.push_str(text);
        self.partial_chars += chars;
        while self.partial_chars > self.max_chars {
            let cut = byte_index(&self.partial, self.max_chars, self.partial_chars == self.partial.len());
            let tail = self.partial.split_off(cut);
            reporter.line(&self.stream, &self.partial, self.max_chars, self.partial_time);
            self.partial = tail;
            self.partial_chars -= self.max_chars;
            self.partial_time = time;
        }
    }
}

fn count_chars(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

fn byte_index(text: &str, chars: usize, ascii: bool) -> usize {
    if ascii { chars } else { text.char_indices().nth(chars).map_or(text.len(), |(index, _)| index) }
}
