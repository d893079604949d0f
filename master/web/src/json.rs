//! JSON from clients, as Buildbot's parser takes it: half of a surrogate pair is no error, but it is no character either,
//! and becomes U+FFFD. Some languages send it when a text was cut in the middle of an emoji.

use std::borrow::Cow;

use serde_json::Value;

/// Reads a JSON value.
pub(crate) fn from_slice(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    match serde_json::from_slice(bytes) {
        Err(error) => match without_lone_surrogates(bytes) {
            Cow::Owned(mended) => serde_json::from_slice(&mended),
            Cow::Borrowed(_) => Err(error),
        },
        value => value,
    }
}

/// Replaces escapes of lone surrogates (`\ud83d` without its second half) by `\ufffd`.
fn without_lone_surrogates(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(bytes);
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        at += match surrogate(bytes, at) {
            Some(Half::High) if surrogate(bytes, at + ESCAPE) == Some(Half::Low) => 2 * ESCAPE,
            Some(_) => {
                mended.to_mut()[at..at + ESCAPE].copy_from_slice(b"\\ufffd");
                ESCAPE
            }
            // Another escape: what it escapes may be a backslash.
            None => 2,
        };
    }
    mended
}

/// The length of `\uXXXX`.
const ESCAPE: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// Which half of a pair the escape at `at` is, if it is one.
fn surrogate(bytes: &[u8], at: usize) -> Option<Half> {
    let digits = bytes.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    match u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
        0xD800..0xDC00 => Some(Half::High),
        0xDC00..0xE000 => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_pair_is_replaced() {
        for (text, value) in [
            (r#""a\ud83db""#, json!("a\u{fffd}b")),
            (r#""\ud83d\ude00""#, json!("😀")),
            (r#""\ude00\ud83d""#, json!("\u{fffd}\u{fffd}")),
            (r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}😀")),
            (r#"{"\uDFFF": ["\\\ud800", "\\ud800"]}"#, json!({"\u{fffd}": ["\\\u{fffd}", "\\ud800"]})),
        ] {
            assert_eq!(from_slice(text.as_bytes()).expect("reads"), value, "{text}");
        }
        for text in [r#""\ud83""#, r#""\ud8zz""#, r#""\ud800"#, r#""\"#, "{", ""] {
            assert!(from_slice(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays_as_it_is(text in any::<String>()) {
            let json = serde_json::to_vec(&text).expect("serialises");
            prop_assert_eq!(from_slice(&json).expect("reads"), Value::String(text));
        }

        #[test]
        fn never_panics(text in r#"["\\\\ud8c0-9f ]{0,40}"#) {
            let _ = from_slice(text.as_bytes());
        }
    }
}
