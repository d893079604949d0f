//! Where a reader stands in the log. A cursor names the generation of the log and a position in it; readers treat its
//! text form as opaque, and compare cursors only within one generation.

use std::{fmt, str::FromStr, sync::Arc};

/// A place in one generation of the log. Ordered within a generation; the numbering is the adapter's (a counter in
/// memory, the two halves of a Redis stream id, an AMQP stream offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The more significant half.
    pub major: u64,
    /// The less significant half; 0 where one number is enough.
    pub minor: u64,
}

impl Position {
    /// A position of a log that counts with one number.
    #[must_use]
    pub const fn at(major: u64) -> Self {
        Self { major, minor: 0 }
    }
}

/// A reader's place: everything up to and including it has been seen.
///
/// The text form (`Display`, `FromStr`) is `<generation>.<major>.<minor>`; it holds neither white space nor line breaks,
/// so that it can be an SSE `id:` and a query parameter as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    generation: Arc<str>,
    position: Position,
}

/// The longest generation name accepted in a cursor's text form.
const MAX_GENERATION_LEN: usize = 64;

impl Cursor {
    /// A cursor at `position` of `generation`. The generation should consist of letters, digits and `-`.
    #[must_use]
    pub fn new(generation: Arc<str>, position: Position) -> Self {
        Self { generation, position }
    }

    /// The generation of the log: two cursors of different generations cannot be compared.
    #[must_use]
    pub fn generation(&self) -> &Arc<str> {
        &self.generation
    }

    /// The position in the generation.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether both are of one generation, so that their positions can be compared.
    #[must_use]
    pub fn is_same_generation(&self, other: &Self) -> bool {
        self.generation == other.generation
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.generation, self.position.major, self.position.minor)
    }
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorParseError;

impl FromStr for Cursor {
    type Err = CursorParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let (Some(generation), Some(major), Some(minor), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CursorParseError);
        };
        let well_formed = !generation.is_empty()
            && generation.len() <= MAX_GENERATION_LEN
            && generation.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !well_formed {
            return Err(CursorParseError);
        }
        let number = |text: &str| {
            if text.bytes().all(|b| b.is_ascii_digit()) {
                text.parse::<u64>().map_err(|_| CursorParseError)
            } else {
                Err(CursorParseError)
            }
        };
        Ok(Self::new(generation.into(), Position { major: number(major)?, minor: number(minor)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let cursor = Cursor::new("0199-ab".into(), Position { major: 17, minor: 3 });
        assert_eq!(cursor.to_string(), "0199-ab.17.3");
        assert_eq!("0199-ab.17.3".parse::<Cursor>(), Ok(cursor));
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in
            ["", "a", "a.1", "a.1.2.3", ".1.2", "a.-1.2", "a.+1.2", "a.1.x", "a b.1.2", "a.99999999999999999999.0"]
        {
            assert_eq!(text.parse::<Cursor>(), Err(CursorParseError), "{text}");
        }
    }
}
