//! Patterns of file names, as Python's `glob.glob(pattern, recursive=True)` understands them.
//!
//! `*`, `?`, `[abc]`, `[!abc]`; `**` as a whole component is any number of directories. Names that begin with a dot
//! are matched only by a pattern that does. Links that lead nowhere are found.

use std::io;
use std::path::{Path, PathBuf};

/// Deeper directories are not searched: a link may lead back up.
const MAX_DEPTH: usize = 64;

/// All files that match. Directories that cannot be read are as good as empty.
///
/// # Errors
/// If there are more than `max` of them.
pub(super) fn glob(pattern: &str, max: usize) -> io::Result<Vec<String>> {
    let (root, relative) = match pattern.strip_prefix('/') {
        Some(rest) => (PathBuf::from("/"), rest),
        None => (PathBuf::new(), pattern),
    };
    let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
    let mut search = Search { found: Vec::new(), max, only_dirs: pattern.ends_with('/') };
    search.descend(&root, &parts)?;
    search.found.sort_unstable();
    search.found.dedup();
    Ok(search.found)
}

struct Search {
    found: Vec<String>,
    max: usize,
    only_dirs: bool,
}

impl Search {
    fn descend(&mut self, base: &Path, parts: &[&str]) -> io::Result<()> {
        let Some((part, rest)) = parts.split_first() else {
            return self.add(base);
        };
        if *part == "**" {
            return self.any_depth(base, rest, 0);
        }
        if !part.contains(['*', '?', '[']) {
            let path = base.join(part);
            // The last component may be a link that leads nowhere.
            let there = if rest.is_empty() { path.symlink_metadata().is_ok() } else { path.is_dir() };
            return if there { self.descend(&path, rest) } else { Ok(()) };
        }
        let pattern: Vec<char> = part.chars().collect();
        for name in names(base) {
            if name.starts_with('.') && !part.starts_with('.') {
                continue;
            }
            if matches(&pattern, &name.chars().collect::<Vec<_>>()) {
                let path = base.join(&name);
                if rest.is_empty() || path.is_dir() {
                    self.descend(&path, rest)?;
                }
            }
        }
        Ok(())
    }

    /// `**`: the rest of the pattern in this directory and in all below it.
    fn any_depth(&mut self, base: &Path, rest: &[&str], depth: usize) -> io::Result<()> {
        if !rest.is_empty() {
            self.descend(base, rest)?;
        } else if depth == 0 {
            // Python shows the directory itself with a slash.
            if base.is_dir() {
                self.add(&base.join(""))?;
            }
        }
        if depth >= MAX_DEPTH {
            return Ok(());
        }
        for name in names(base) {
            if name.starts_with('.') {
                continue;
            }
            let path = base.join(&name);
            if rest.is_empty() {
                self.add(&path)?;
            }
            if path.is_dir() {
                self.any_depth(&path, rest, depth + 1)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        if self.only_dirs && !path.is_dir() {
            return Ok(());
        }
        if self.found.len() >= self.max {
            return Err(io::Error::from_raw_os_error(nix::libc::E2BIG));
        }
        let mut text = path.to_string_lossy().into_owned();
        if self.only_dirs && !text.ends_with('/') {
            text.push('/');
        }
        self.found.push(text);
        Ok(())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Whether a name matches one component of a pattern. Takes time at most proportional to the product of both lengths.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last star if what follows it does not match.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => match class(&pattern[p..]) {
                Some((len, class)) => class.contains(name[n]).then_some(len),
                None => (name[n] == '[').then_some(1),
            },
            Some(c) => (*c == name[n]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(len), _) => {
                p += len;
                n += 1;
            }
            (None, Some((after_star, at))) => {
                p = after_star;
                n = at + 1;
                retry = Some((after_star, at + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

struct Class<'a> {
    negated: bool,
    members: &'a [char],
}

impl Class<'_> {
    fn contains(&self, c: char) -> bool {
        let mut at = 0;
        let mut found = false;
        while at < self.members.len() {
            if at + 2 < self.members.len() && self.members[at + 1] == '-' {
                found |= (self.members[at]..=self.members[at + 2]).contains(&c);
                at += 3;
            } else {
                found |= self.members[at] == c;
                at += 1;
            }
        }
        found != self.negated
    }
}

/// A character class at the beginning of a pattern, and its length. A bracket that is not closed is a character.
fn class(pattern: &[char]) -> Option<(usize, Class<'_>)> {
    let negated = pattern.get(1) == Some(&'!');
    let start = if negated { 2 } else { 1 };
    // A closing bracket that comes first is a member.
    let close = pattern.iter().enumerate().skip(start + 1).find(|(_, c)| **c == ']')?.0;
    Some((close + 1, Class { negated, members: &pattern[start..close] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_python() {
        let check = |pattern: &str, name: &str| {
            matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
        };
        for (pattern, name) in [
            ("*.txt", "a.txt"),
            ("a*b*c", "aXbYbc"),
            ("[a-c]?", "bz"),
            ("[!a-c]", "d"),
            ("[]]", "]"),
            ("[x", "[x"),
            ("**", "a"),
        ] {
            assert!(check(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.txt", "a.txtx"), ("?", ""), ("[!a]", "a"), ("a*b", "a"), ("", "a")] {
            assert!(!check(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join(".hidden")).unwrap();
        for file in ["a/b/f.txt", "g.txt", ".hidden/h.txt"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", root.join("a/broken.txt")).unwrap();
        let find = |pattern: &str| {
            let found = glob(&format!("{}/{pattern}", root.display()), 100).unwrap();
            found
                .iter()
                .map(|path| path.strip_prefix(&format!("{}/", root.display())).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(find("**/*.txt"), ["a/b/f.txt", "a/broken.txt", "g.txt"]);
        assert_eq!(find("a/broken.txt"), ["a/broken.txt"]);
        assert_eq!(find(".h*/*"), [".hidden/h.txt"]);
        assert_eq!(find("*/"), ["a/"]);
        assert_eq!(find("zzz*"), Vec::<String>::new());
        assert_eq!(find("a/**"), ["a/", "a/b", "a/b/f.txt", "a/broken.txt"]);
        assert!(glob(&format!("{}/**", root.display()), 2).is_err());
    }
}
