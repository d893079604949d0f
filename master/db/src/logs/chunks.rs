//! Cutting content into chunks. This is pure and done before the transaction, so that compressing holds no lock.

use super::codec::Compression;

/// The most that a chunk holds, before compression.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// A chunk that is ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How many lines it has.
    pub lines: i64,
    /// Its content, compressed as said.
    pub content: Vec<u8>,
    /// How.
    pub compression: Compression,
}

/// Content that is ready to be appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    chunks: Vec<Chunk>,
    lines: i64,
}

impl Prepared {
    /// Cuts content into chunks of at most 64 KiB and compresses them. A missing newline at the end is added. A line
    /// that is longer than a chunk is split; in a stream log each part begins with the letter of its channel again.
    pub fn new(content: &str, stream: bool, compression: Compression) -> Self {
        let mut prepared = Self::default();
        let mut start = 0;
        let mut lines = 0;
        let mut at = 0;
        while at < content.len() {
            let line = match content[at..].find('\n') {
                Some(length) => &content[at..=at + length],
                None => &content[at..],
            };
            let whole = line.ends_with('\n');
            if line.len() + usize::from(!whole) > CHUNK_BYTES {
                prepared.push(&content[start..at], lines, compression);
                prepared.push_long(line.trim_end_matches('\n'), stream, compression);
                (start, lines) = (at + line.len(), 0);
            } else if !whole {
                prepared.push(&content[start..at], lines, compression);
                prepared.push(&format!("{line}\n"), 1, compression);
                (start, lines) = (content.len(), 0);
            } else if at + line.len() - start > CHUNK_BYTES {
                prepared.push(&content[start..at], lines, compression);
                (start, lines) = (at, 1);
            } else {
                lines += 1;
            }
            at += line.len();
        }
        prepared.push(&content[start..], lines, compression);
        prepared
    }

    fn push(&mut self, text: &str, lines: i64, compression: Compression) {
        if lines > 0 {
            let (content, compression) = compression.compress(text.as_bytes());
            self.chunks.push(Chunk { lines, content, compression });
            self.lines += lines;
        }
    }

    fn push_long(&mut self, line: &str, stream: bool, compression: Compression) {
        let (letter, mut rest) = match line.chars().next().filter(|_| stream) {
            Some(letter) => line.split_at(letter.len_utf8()),
            None => ("", line),
        };
        while !rest.is_empty() {
            let mut end = rest.len().min(CHUNK_BYTES - letter.len() - 1);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (part, after) = rest.split_at(end);
            self.push(&format!("{letter}{part}\n"), 1, compression);
            rest = after;
        }
    }

    /// How many lines there are.
    pub fn lines(&self) -> i64 {
        self.lines
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }
}
