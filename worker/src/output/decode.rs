//! UTF-8 that arrives in pieces.

use std::borrow::Cow;

/// Decodes incrementally; what is no UTF-8 becomes U+FFFD. A character that is cut in two by the end of a piece waits
/// for the next; at the very end of the stream it is dropped, as the stock worker does.
#[derive(Debug, Default)]
pub(super) struct Utf8Decoder {
    /// The beginning of a character: at most three bytes.
    partial: Vec<u8>,
}

impl Utf8Decoder {
    pub(super) fn feed<'a>(&mut self, data: &'a [u8]) -> Cow<'a, str> {
        if !self.partial.is_empty() {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(data);
            return Cow::Owned(self.decode(&joined).into_owned());
        }
        self.decode(data)
    }

    fn decode<'a>(&mut self, data: &'a [u8]) -> Cow<'a, str> {
        let error = match std::str::from_utf8(data) {
            Ok(text) => return Cow::Borrowed(text),
            Err(error) => error,
        };
        let whole = match error.error_len() {
            // Only the end is missing.
            None => error.valid_up_to(),
            Some(_) => data.len() - incomplete_tail(data),
        };
        self.partial.extend_from_slice(&data[whole..]);
        String::from_utf8_lossy(&data[..whole])
    }
}

/// How many bytes at the end are the beginning of a character that may still become valid.
fn incomplete_tail(data: &[u8]) -> usize {
    let window = &data[data.len().saturating_sub(3)..];
    for start in 0..window.len() {
        let tail = &window[start..];
        if tail[0] >= 0xc2
            && matches!(std::str::from_utf8(tail), Err(e) if e.valid_up_to() == 0 && e.error_len().is_none())
        {
            return tail.len();
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> String {
        let mut decoder = Utf8Decoder::default();
        pieces.iter().map(|piece| decoder.feed(piece).into_owned()).collect()
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        assert_eq!(decode(&[b"split\xc3", b"\xa9end"]), "splitéend");
        assert_eq!(decode(&[b"\xf0", b"\x9f", b"\x98", b"\x80."]), "😀.");
    }

    #[test]
    fn bad_bytes_become_replacement_characters() {
        assert_eq!(decode(&[b"bad\xff\xfebyte"]), "bad\u{fffd}\u{fffd}byte");
        assert_eq!(decode(&[b"\xff\xc3", b"\xa9"]), "\u{fffd}é");
        assert_eq!(decode(&[b"\xc3", b"x"]), "\u{fffd}x");
        assert_eq!(decode(&[b"end\xc3"]), "end");
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(bytes: Vec<u8>, cuts: Vec<proptest::sample::Index>) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let whole = decode(&[&bytes]);
            proptest::prop_assert_eq!(decode(&pieces), whole);
        }
    }
}
