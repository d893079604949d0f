//! Texts as Python shows them: headers of commands are compared and parsed by people and tools that know the stock
//! worker's.

use std::fmt::Write as _;

/// `repr()` of a byte string.
pub(crate) fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b if char::from(*b) == quote => {
                out.push('\\');
                out.push(quote);
            }
            0x20..=0x7e => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\x{other:02x}");
            }
        }
    }
    out.push(quote);
    out
}

/// `repr()` of a string.
pub(crate) fn str_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() && u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `shlex.quote()`: an argument as one would type it in a shell.
pub(crate) fn shell_quote(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// A number as Python prints it: whole numbers without a fraction.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{}", value as i64) } else { format!("{value}") }
}

/// The text of a failure in `complete`.
pub(crate) fn failure(class: &str, message: &str) -> String {
    format!("[Failure instance: Traceback: <class '{class}'>: {message}\n]")
}

/// An I/O error as Python shows it: class and message.
pub(crate) fn os_error(error: &std::io::Error, path: &str) -> (&'static str, String) {
    let class = match error.kind() {
        std::io::ErrorKind::NotFound => "FileNotFoundError",
        std::io::ErrorKind::PermissionDenied => "PermissionError",
        std::io::ErrorKind::AlreadyExists => "FileExistsError",
        std::io::ErrorKind::NotADirectory => "NotADirectoryError",
        std::io::ErrorKind::IsADirectory => "IsADirectoryError",
        _ => "OSError",
    };
    (class, format!("[Errno {}] {}: {}", errno(error), strerror(error), str_repr(path)))
}

/// The error number; `EIO` for errors that have none.
pub(crate) fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}

/// The system's text for an error.
pub(crate) fn strerror(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn representations_are_pythons() {
        assert_eq!(bytes_repr(b"echo \"$A\" 'x'\n"), r#"b'echo "$A" \'x\'\n'"#);
        assert_eq!(bytes_repr(b"touch $(printf 'bad\\377name')"), r#"b"touch $(printf 'bad\\377name')""#);
        assert_eq!(bytes_repr("é".as_bytes()), r"b'\xc3\xa9'");
        assert_eq!(str_repr("it's"), r#""it's""#);
        assert_eq!(shell_quote("['obfuscated']"), r#"'['"'"'obfuscated'"'"']'"#);
        assert_eq!(shell_quote(""), "''");
        assert_eq!(number(1200.0), "1200");
        assert_eq!(number(0.5), "0.5");
    }
}
