//! Paths on a worker, which may run another operating system than the master.

/// The flavour of a worker's paths, as its `system` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFlavour {
    /// `/`
    Posix,
    /// `\`, with drives; `/` is understood.
    Windows,
}

impl PathFlavour {
    /// By Python's `os.name`.
    pub fn of_system(system: &str) -> Self {
        if system == "nt" { Self::Windows } else { Self::Posix }
    }

    /// Joins two paths: an absolute second one replaces the first. Repeated separators and `.` go, `..` stays.
    pub fn join(self, base: &str, path: &str) -> String {
        if path.is_empty() {
            return self.normal(base);
        }
        if self.is_absolute(path) || base.is_empty() {
            return self.normal(path);
        }
        match self {
            Self::Posix => self.normal(&format!("{base}/{path}")),
            // A path from the root stays on the base's drive.
            Self::Windows if path.starts_with(['/', '\\']) => {
                self.normal(&format!("{}{path}", drive(base).unwrap_or_default()))
            }
            Self::Windows => self.normal(&format!("{base}\\{path}")),
        }
    }

    /// Whether the path says by itself where it is.
    pub fn is_absolute(self, path: &str) -> bool {
        match self {
            Self::Posix => path.starts_with('/'),
            Self::Windows => path.starts_with("\\\\") || path.starts_with("//") || drive(path).is_some(),
        }
    }

    fn normal(self, path: &str) -> String {
        let (separator, is_separator): (char, fn(char) -> bool) = match self {
            Self::Posix => ('/', |c| c == '/'),
            Self::Windows => ('\\', |c| c == '/' || c == '\\'),
        };
        let (prefix, rest) = match self {
            Self::Windows => match drive(path) {
                Some(drive) => (drive, &path[drive.len()..]),
                None if path.starts_with("\\\\") || path.starts_with("//") => ("\\", &path[1..]),
                None => ("", path),
            },
            Self::Posix => ("", path),
        };
        let mut out = prefix.to_owned();
        if rest.starts_with(is_separator) {
            out.push(separator);
        }
        let parts: Vec<&str> = rest.split(is_separator).filter(|part| !part.is_empty() && *part != ".").collect();
        for (n, part) in parts.iter().enumerate() {
            if n > 0 {
                out.push(separator);
            }
            out.push_str(part);
        }
        if out.is_empty() { ".".to_owned() } else { out }
    }
}

/// The drive of a Windows path, `C:`.
fn drive(path: &str) -> Option<&str> {
    let bytes = path.as_bytes();
    (bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':').then(|| &path[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join_as_on_the_worker() {
        let posix = PathFlavour::Posix;
        assert_eq!(posix.join("/srv/w", "b/build"), "/srv/w/b/build");
        assert_eq!(posix.join("/srv/w", "/tmp"), "/tmp");
        assert_eq!(posix.join("/srv/w/", "./a//b/../c"), "/srv/w/a/b/../c");
        assert_eq!(posix.join("/srv/w", ""), "/srv/w");
        let windows = PathFlavour::Windows;
        assert_eq!(windows.join("C:\\w", "b/build"), "C:\\w\\b\\build");
        assert_eq!(windows.join("C:\\w", "D:\\x"), "D:\\x");
        assert_eq!(windows.join("C:\\w", "\\x"), "C:\\x");
        assert_eq!(windows.join("C:\\w", "\\\\host\\share"), "\\\\host\\share");
    }
}
