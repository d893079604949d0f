//! Identifiers, as Buildbot's database page (3.7.3) defines them: nonempty, of limited length, letters and digits of
//! any script with `-` and `_`, not beginning with a digit.

/// Whether `text` is an identifier of at most `max_chars` characters.
pub fn is_identifier(max_chars: usize, text: &str) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return false;
    };
    !first.is_numeric()
        && text.chars().count() <= max_chars
        && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

/// Makes an identifier of at most `max_chars` characters out of any text: other characters become `_`, a leading digit
/// gets a `_` before it, what is too long is cut.
pub fn force_identifier(max_chars: usize, text: &str) -> String {
    let mut identifier = String::with_capacity(text.len());
    if text.chars().next().is_none_or(char::is_numeric) {
        identifier.push('_');
    }
    identifier.extend(text.chars().map(|c| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '_' }));
    identifier.chars().take(max_chars).collect()
}

/// The next identifier in the row `name`, `name_2`, `name_3`, ... that still fits into `max_chars` characters.
pub fn increment_identifier(max_chars: usize, text: &str) -> String {
    let (stem, number) = match text.rsplit_once('_') {
        Some((stem, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            (stem, digits.parse::<u64>().map_or(2, |n| n.saturating_add(1)))
        }
        _ => (text, 2),
    };
    let suffix = format!("_{number}");
    let stem: String = stem.chars().take(max_chars.saturating_sub(suffix.len())).collect();
    format!("{stem}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_told_from_other_texts() {
        for good in ["linux", "a-b_c", "_x", "ü9"] {
            assert!(is_identifier(10, good), "{good}");
        }
        for bad in ["", "9a", "a b", "a.b", "elevenchars"] {
            assert!(!is_identifier(10, bad), "{bad}");
        }
    }

    #[test]
    fn any_text_becomes_an_identifier() {
        assert_eq!(force_identifier(50, "page.html"), "page_html");
        assert_eq!(force_identifier(50, "3d"), "_3d");
        assert!(is_identifier(5, &force_identifier(5, "a very long name")));
        assert!(is_identifier(5, &force_identifier(5, "")));
    }

    #[test]
    fn increments_keep_within_the_limit() {
        assert_eq!(increment_identifier(50, "stdio"), "stdio_2");
        assert_eq!(increment_identifier(50, "stdio_9"), "stdio_10");
        assert_eq!(increment_identifier(7, "abcdefg"), "abcde_2");
    }
}
