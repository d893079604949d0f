//! The buffer of one log: text of several streams comes in, whole encoded lines go out in bounded chunks.
//!
//! Buildbot's stream logs put a letter before every line (`o` stdout, `e` stderr, `h` header). Pieces of text may end in
//! the middle of a line, so each stream keeps its unfinished line until the rest arrives. A line that would not fit into
//! a chunk is cut, and both sides of the cut get an ellipsis, so that a reader sees it. Nothing here does I/O.

use std::collections::VecDeque;

use buildguild_types::resources::LogKind;

use super::limits::{LogLimits, Verdict, Watch};

/// The most that one stored chunk holds, in bytes of encoded text.
pub const MAX_CHUNK_BYTES: usize = 65_536;

/// A cut line leaves room for the letter, the ellipses and the newline.
const MAX_LINE_BYTES: usize = MAX_CHUNK_BYTES - 16;

/// Marks both sides of a cut in a line that was too long.
const CUT: &str = "…";

/// Which stream of a command a text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What the worker or the master says about the command.
    Header,
}

impl Stream {
    /// The letter before each line of a stream log.
    pub const fn letter(self) -> char {
        match self {
            Self::Stdout => 'o',
            Self::Stderr => 'e',
            Self::Header => 'h',
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
            Self::Header => 2,
        }
    }

    const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Header];
}

/// Encoded lines, each ended by a newline, ready to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The text, at most [`MAX_CHUNK_BYTES`].
    pub content: String,
    /// How many lines it has.
    pub lines: u32,
}

/// Collects the text of one log.
#[derive(Debug)]
pub struct LogBuffer {
    kind: LogKind,
    partial: [String; 3],
    full: VecDeque<Chunk>,
    open: Chunk,
    watch: Watch,
    lines_total: u64,
}

impl LogBuffer {
    /// An empty buffer.
    pub fn new(kind: LogKind, limits: LogLimits) -> Self {
        Self {
            kind,
            partial: Default::default(),
            full: VecDeque::new(),
            open: Chunk::default(),
            watch: Watch::new(limits),
            lines_total: 0,
        }
    }

    /// What the log holds.
    pub const fn kind(&self) -> LogKind {
        self.kind
    }

    /// Adds text to a stream. (Logs without streams take any.)
    pub fn push(&mut self, stream: Stream, text: &str) {
        let stream = if self.kind == LogKind::Stream { stream } else { Stream::Stdout };
        let mut rest = text;
        while let Some(end) = rest.find('\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if self.partial[stream.index()].is_empty() {
                self.line(stream, line);
            } else {
                let mut whole = std::mem::take(&mut self.partial[stream.index()]);
                whole.push_str(line);
                self.line(stream, &whole);
                whole.clear();
                self.partial[stream.index()] = whole;
            }
            rest = after;
        }
        if !rest.is_empty() {
            self.keep_partial(stream, rest);
        }
    }

    /// Ends all unfinished lines, as Buildbot's `Log.flush()` does.
    pub fn end_lines(&mut self) {
        for stream in Stream::ALL {
            let line = std::mem::take(&mut self.partial[stream.index()]);
            if !line.is_empty() {
                self.line(stream, &line);
            }
        }
    }

    /// Ends the log: unfinished lines are ended, and what a size limit held back as the tail is appended.
    pub fn finish(&mut self) {
        self.end_lines();
        if let Some(tail) = self.watch.take_tail() {
            self.store(Stream::Header, "");
            self.store(Stream::Header, &format!("Final {} bytes follow below:", tail.bytes));
            for (stream, line) in tail.lines {
                self.store(stream, &line);
            }
        }
    }

    /// Bytes of whole lines that wait to be stored.
    pub fn pending_bytes(&self) -> usize {
        self.full.iter().map(|chunk| chunk.content.len()).sum::<usize>() + self.open.content.len()
    }

    /// Whether a full chunk waits.
    pub fn has_full_chunk(&self) -> bool {
        !self.full.is_empty()
    }

    /// Takes all whole lines, in chunks.
    pub fn take(&mut self) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = self.full.drain(..).collect();
        if !self.open.content.is_empty() {
            chunks.push(std::mem::take(&mut self.open));
        }
        chunks
    }

    /// How many lines were added so far, stored or not.
    pub const fn lines_total(&self) -> u64 {
        self.lines_total
    }

    fn keep_partial(&mut self, stream: Stream, text: &str) {
        let partial = &mut self.partial[stream.index()];
        partial.push_str(text);
        if partial.len() <= MAX_LINE_BYTES {
            return;
        }
        // A line without an end must not grow for ever: what is certain to be cut is passed on now.
        let line = std::mem::take(partial);
        let mut pieces = cut(&line).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_some() {
                self.line(stream, &piece);
            } else {
                self.partial[stream.index()] = piece;
            }
        }
    }

    fn line(&mut self, stream: Stream, line: &str) {
        match self.watch.admit(stream, line) {
            Verdict::Keep => self.store(stream, line),
            Verdict::Drop => {}
            Verdict::LimitReached { limit_bytes } => {
                self.store(stream, line);
                self.store(Stream::Header, "");
                self.store(
                    Stream::Header,
                    &format!("Output exceeded {limit_bytes} bytes, remaining output has been truncated"),
                );
            }
        }
    }

    fn store(&mut self, stream: Stream, line: &str) {
        if line.len() > MAX_LINE_BYTES {
            for piece in cut(line) {
                self.store_piece(stream, &piece);
            }
        } else {
            self.store_piece(stream, line);
        }
    }

    fn store_piece(&mut self, stream: Stream, line: &str) {
        if self.open.content.len() + line.len() + 2 > MAX_CHUNK_BYTES {
            self.full.push_back(std::mem::take(&mut self.open));
        }
        if self.open.content.capacity() == 0 && line.len() > 256 {
            self.open.content.reserve(MAX_CHUNK_BYTES);
        }
        if self.kind == LogKind::Stream {
            self.open.content.push(stream.letter());
        }
        self.open.content.push_str(line);
        self.open.content.push('\n');
        self.open.lines += 1;
        self.lines_total += 1;
    }
}

/// Cuts a long line into pieces that fit, at character boundaries, with the marks.
fn cut(line: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = line;
    let mut first = true;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let lead = if first { "" } else { CUT };
        let room = MAX_LINE_BYTES - lead.len();
        if rest.len() <= room {
            let piece = format!("{lead}{rest}");
            rest = "";
            return Some(piece);
        }
        let end = rest.floor_char_boundary(room - CUT.len());
        let piece = format!("{lead}{}{CUT}", &rest[..end]);
        rest = &rest[end..];
        first = false;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chunks: &[Chunk]) -> String {
        chunks.iter().map(|chunk| chunk.content.as_str()).collect()
    }

    #[test]
    fn lines_get_their_letters_and_wait_for_their_end() {
        let mut buffer = LogBuffer::new(LogKind::Stream, LogLimits::default());
        buffer.push(Stream::Stdout, "one\ntw");
        buffer.push(Stream::Stderr, "bad\n");
        buffer.push(Stream::Stdout, "o\nthree");
        assert_eq!(text(&buffer.take()), "oone\nebad\notwo\n");
        buffer.finish();
        assert_eq!(text(&buffer.take()), "othree\n");
        assert_eq!(buffer.lines_total(), 4);
    }

    #[test]
    fn text_logs_have_no_letters() {
        let mut buffer = LogBuffer::new(LogKind::Text, LogLimits::default());
        buffer.push(Stream::Header, "first\nsecond é");
        buffer.finish();
        assert_eq!(text(&buffer.take()), "first\nsecond é\n");
    }

    #[test]
    fn chunks_stay_within_their_size_and_keep_every_line() {
        let mut buffer = LogBuffer::new(LogKind::Stream, LogLimits::default());
        for n in 0..10_000 {
            buffer.push(Stream::Stdout, &format!("this is line number {n}\n"));
        }
        let chunks = buffer.take();
        assert!(chunks.len() > 2);
        assert!(chunks.iter().all(|chunk| chunk.content.len() <= MAX_CHUNK_BYTES));
        assert_eq!(chunks.iter().map(|chunk| chunk.lines).sum::<u32>(), 10_000);
        assert_eq!(text(&chunks).lines().count(), 10_000);
    }

    #[test]
    fn a_line_without_end_is_cut_visibly_and_memory_stays_bounded() {
        let mut buffer = LogBuffer::new(LogKind::Stream, LogLimits::default());
        for _ in 0..100 {
            buffer.push(Stream::Stdout, &"é".repeat(4096));
            assert!(buffer.partial[0].len() <= 2 * MAX_CHUNK_BYTES);
        }
        buffer.finish();
        let chunks = buffer.take();
        assert!(chunks.iter().all(|chunk| chunk.content.len() <= MAX_CHUNK_BYTES));
        let all = text(&chunks);
        assert_eq!(all.matches('é').count(), 409_600);
        assert!(all.lines().next().is_some_and(|line| line.ends_with(CUT)));
        assert!(all.lines().nth(1).is_some_and(|line| line[1..].starts_with(CUT)));
    }

    #[test]
    fn output_beyond_the_limit_is_dropped_and_the_tail_is_kept() {
        let limits = LogLimits { max_bytes: Some(20), tail_bytes: Some(14) };
        let mut buffer = LogBuffer::new(LogKind::Stream, limits);
        for n in 0..100 {
            buffer.push(Stream::Stdout, &format!("line {n:03}\n"));
        }
        buffer.push(Stream::Header, "program finished\n");
        buffer.finish();
        let all = text(&buffer.take());
        assert_eq!(
            all,
            "oline 000\noline 001\noline 002\nh\nhOutput exceeded 20 bytes, remaining output has been truncated\n\
             hprogram finished\nh\nhFinal 9 bytes follow below:\noline 099\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_division_of_a_text_gives_the_same_log(
            text_in in "[a-zé\n]{0,200}",
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let mut whole = LogBuffer::new(LogKind::Stream, LogLimits::default());
            whole.push(Stream::Stdout, &text_in);
            whole.finish();
            let mut parts = LogBuffer::new(LogKind::Stream, LogLimits::default());
            let mut cuts: Vec<usize> = cuts.iter().map(|at| text_in.floor_char_boundary(*at)).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for at in cuts {
                parts.push(Stream::Stdout, &text_in[from..at]);
                from = at;
            }
            parts.push(Stream::Stdout, &text_in[from..]);
            parts.finish();
            proptest::prop_assert_eq!(text(&whole.take()), text(&parts.take()));
        }
    }
}
