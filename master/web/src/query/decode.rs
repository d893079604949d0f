//! URL decoding of path parts and query strings. Never fails on a query: what is not valid is taken as it is, because a
//! malformed value is better answered by the check of the value than by a parser.

use std::borrow::Cow;

/// Decodes `%XX`; in queries also `+`.
fn decode_bytes(text: &str, is_query: bool) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|b| *b == b'%' || (is_query && *b == b'+')) {
        return Cow::Borrowed(bytes);
    }
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (byte, len) = match bytes[at] {
            b'+' if is_query => (b' ', 1),
            b'%' => match (digit(at + 1), digit(at + 2)) {
                (Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or_default(), 3),
                _ => (b'%', 1),
            },
            byte => (byte, 1),
        };
        decoded.push(byte);
        at += len;
    }
    Cow::Owned(decoded)
}

fn into_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        },
    }
}

/// Decodes a part of a path. Bytes that are no UTF-8 become U+FFFD.
pub(crate) fn decode_path_part(part: &str) -> Cow<'_, str> {
    into_text(decode_bytes(part, false))
}

/// The parameters of a query string, in order. What has no `=` is none, as in Buildbot: scripts add a bare number to a
/// URL so that no cache answers it.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (into_text(decode_bytes(name, true)), into_text(decode_bytes(value, true))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_escapes_and_pluses() {
        let decoded: Vec<_> = parameters("a=x+y%20z&&b=&1700000000&c=%zz%4&d%3D=%C3%A9&e==").collect();
        let decoded: Vec<_> = decoded.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        assert_eq!(decoded, [("a", "x y z"), ("b", ""), ("c", "%zz%4"), ("d=", "é"), ("e", "=")]);
        assert_eq!(decode_path_part("deploy%20prod+x"), "deploy prod+x");
        assert_eq!(decode_path_part("%ff"), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_round_trips(name in "\\PC+", value in any::<String>()) {
            let escape = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let query = format!("{}={}", escape(&name), escape(&value));
            let parsed: Vec<_> = parameters(&query).collect();
            prop_assert_eq!(parsed, vec![(Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_str()))]);
        }

        #[test]
        fn never_panics(query in any::<String>()) {
            let _ = parameters(&query).count();
            let _ = decode_path_part(&query);
        }
    }
}
