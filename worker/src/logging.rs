//! The log file of a worker that runs in the background: rotated by size.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// A file that is renamed to `NAME.1`, `NAME.2`, … when it has become large.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    state: Mutex<(File, u64)>,
}

impl RotatingFile {
    pub(crate) fn open(path: PathBuf, max_size: u64, keep: u32) -> io::Result<Self> {
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, max_size, keep, state: Mutex::new((file, size)) })
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.max_size > 0 && state.1 > 0 && state.1 + line.len() as u64 > self.max_size {
            self.rotate()?;
            *state = (append(&self.path)?, 0);
        }
        state.1 += line.len() as u64;
        state.0.write_all(line)
    }

    fn rotate(&self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for n in (1..self.keep).rev() {
            if numbered(n).exists() {
                std::fs::rename(numbered(n), numbered(n + 1))?;
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes one event.
#[derive(Debug)]
pub(crate) struct Line<'a>(&'a RotatingFile);

impl Write for Line<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_line(buf).map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Logs to the terminal.
pub(crate) fn to_stderr() {
    // A second initialisation, in tests, changes nothing.
    let colours = io::stderr().is_terminal();
    let _ = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(colours).with_writer(io::stderr).try_init();
}

/// Logs to a file.
pub(crate) fn to_file(file: RotatingFile) {
    let _ = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(file).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker.log");
        let file = RotatingFile::open(path.clone(), 10, 2).unwrap();
        for line in ["one.....\n", "two.....\n", "three...\n", "four....\n"] {
            file.write_line(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four....\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("worker.log.2")).unwrap(), "two.....\n");
        assert!(!dir.path().join("worker.log.3").exists());
    }
}
