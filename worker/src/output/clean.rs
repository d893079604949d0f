//! The stock newline expression as a scanner.
//!
//! `(\r\n|\r(?=.)|\033\[u|\033\[[0-9]+;[0-9]+[Hf]|\033\[2J|\x08+)`: each match becomes one newline. Unlike an
//! expression that is applied to each piece of data, the scanner gives the same result however the data is cut.

use std::borrow::Cow;

/// A cursor position is at most that long; a longer "sequence" is text.
const MAX_ESCAPE: usize = 32;

/// Replaces what moves the cursor by newlines.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// What may become a match once more data is there: `\r`, or the beginning of an escape sequence.
    partial: String,
    /// The last character was a backspace: its run has been replaced already.
    in_backspaces: bool,
}

impl Cleaner {
    pub(super) fn feed<'a>(&mut self, data: &'a str) -> Cow<'a, str> {
        if data.is_empty() {
            return Cow::Borrowed(data);
        }
        if self.partial.is_empty() && !self.in_backspaces && !data.bytes().any(is_special) {
            return Cow::Borrowed(data);
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.push_str(data);
        Cow::Owned(self.clean(&joined))
    }

    /// What was held back when the stream ends: a lone `\r` becomes the newline that would have been added anyway.
    pub(super) fn finish(&mut self) -> String {
        match std::mem::take(&mut self.partial) {
            cr if cr == "\r" => "\n".to_owned(),
            rest => rest,
        }
    }

    fn clean(&mut self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte == 0x08 {
                out.push_str(&text[copied..at]);
                if !self.in_backspaces {
                    out.push('\n');
                }
                self.in_backspaces = true;
                at += 1;
                copied = at;
                continue;
            }
            self.in_backspaces = false;
            let found = match byte {
                b'\r' => carriage_return(&bytes[at..]),
                0x1b => escape(&bytes[at..]),
                _ => Found::Text,
            };
            match found {
                Found::Text => at += 1,
                Found::Newline(len) => {
                    out.push_str(&text[copied..at]);
                    out.push('\n');
                    at += len;
                    copied = at;
                }
                Found::Incomplete => {
                    out.push_str(&text[copied..at]);
                    self.partial.push_str(&text[at..]);
                    return out;
                }
            }
        }
        out.push_str(&text[copied..]);
        out
    }
}

enum Found {
    /// This character is text.
    Text,
    /// That many bytes are a newline.
    Newline(usize),
    /// The end of the data leaves it open.
    Incomplete,
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'\r' | 0x1b | 0x08)
}

fn carriage_return(bytes: &[u8]) -> Found {
    match bytes.get(1) {
        None => Found::Incomplete,
        Some(b'\n') => Found::Newline(2),
        Some(_) => Found::Newline(1),
    }
}

fn escape(bytes: &[u8]) -> Found {
    match bytes.get(1) {
        None => return Found::Incomplete,
        Some(b'[') => {}
        Some(_) => return Found::Text,
    }
    match bytes.get(2) {
        None => return Found::Incomplete,
        Some(b'u') => return Found::Newline(3),
        Some(_) => {}
    }
    let mut at = 2;
    let mut semicolons = 0;
    let mut digits = 0;
    loop {
        match bytes.get(at) {
            None if at < MAX_ESCAPE => return Found::Incomplete,
            None => return Found::Text,
            Some(b'0'..=b'9') => digits += 1,
            Some(b';') if semicolons == 0 && digits > 0 => {
                semicolons = 1;
                digits = 0;
            }
            Some(b'H' | b'f') if semicolons == 1 && digits > 0 => return Found::Newline(at + 1),
            Some(b'J') if &bytes[2..at] == b"2" => return Found::Newline(at + 1),
            Some(_) => return Found::Text,
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(pieces: &[&str]) -> String {
        let mut cleaner = Cleaner::default();
        let mut out: String = pieces.iter().map(|piece| cleaner.feed(piece).into_owned()).collect();
        out.push_str(&cleaner.finish());
        out
    }

    #[test]
    fn the_recorded_output_is_cleaned_as_the_stock_worker_does() {
        let raw = "10%\r20%\r30%\na\r\nb\n\x1b[2Jc\n\x1b[3;4Hd\nback\x08\x08x\ntail\r";
        assert_eq!(clean(&[raw]), "10%\n20%\n30%\na\nb\n\nc\n\nd\nback\nx\ntail\n");
    }

    #[test]
    fn other_sequences_stay() {
        for raw in ["\x1b[0;31mred\x1b[0m", "\x1b[12J", "\x1b[;4H", "\x1b]0;title\x07", "\x1b[3;H", "a\x1bb"] {
            assert_eq!(clean(&[raw]), raw);
        }
        assert_eq!(clean(&["\x1b[u.\x1b[1;2f."]), "\n.\n.");
        assert_eq!(clean(&["a\r\r\nb"]), "a\n\nb");
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[a\r\n\x1b\\[u0-9;HfJ2\x08]{0,40}", cuts: Vec<proptest::sample::Index>) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            proptest::prop_assert_eq!(clean(&pieces), clean(&[&text]));
        }
    }
}
