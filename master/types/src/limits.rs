//! How long texts from outside may be. Collections are read many items at a time, and each item has these texts: what is
//! sane for one is hundreds of mebibytes for a page of them.

/// A reason, a name, a branch: any text of a line or a few. In bytes.
pub const TEXT_BYTES: usize = 64 * 1024;

/// A text of many lines: the comments of a change, a text area, the value of a change's property. In bytes.
pub const LONG_TEXT_BYTES: usize = 1024 * 1024;

/// A file that comes with a form, as Buildbot has it. In bytes.
pub const FILE_BYTES: usize = 10 * 1024 * 1024;

/// What stands at the end of a text that was cut.
const CUT: &str = "\n[...]";

/// Cuts a text that nobody can be told to shorten, as a commit's message, visibly.
pub fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit.saturating_sub(CUT.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("äöü".to_owned(), 6), "äöü");
        assert_eq!(cut("äöüäöü".to_owned(), 11), "äö\n[...]");
        assert_eq!(cut("x".repeat(100), 10).len(), 10);
    }
}
