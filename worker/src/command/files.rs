//! The small commands on files: `mkdir`, `stat`, `glob`, `listdir`, `rmfile`.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use worker_protocol::CommandUpdate;

use super::{End, glob as pattern};
use crate::output::{Reporter, Stream};
use crate::python;

/// More names than fit into a message are not sent: names of about 60 bytes each.
const MAX_NAMES: usize = 200_000;

/// Makes directories with their parents; stops at the first that cannot be made.
pub(super) async fn mkdir(paths: Vec<String>, reporter: &mut Reporter) -> End {
    for path in paths {
        if let Err(error) = tokio::fs::create_dir_all(&path).await {
            return failed("mkdir", &error, &path, reporter);
        }
    }
    succeeded(reporter)
}

/// Looks at a file, through links.
pub(super) async fn stat(path: String, reporter: &mut Reporter) -> End {
    match tokio::fs::metadata(&path).await {
        Ok(found) => {
            let numbers = vec![
                i64::from(found.mode()),
                found.ino() as i64,
                found.dev() as i64,
                found.nlink() as i64,
                i64::from(found.uid()),
                i64::from(found.gid()),
                found.size() as i64,
                found.atime(),
                found.mtime(),
                found.ctime(),
            ];
            reporter.push(CommandUpdate::Stat(numbers));
            succeeded(reporter)
        }
        Err(error) => failed("stat", &error, &path, reporter),
    }
}

/// Finds files. Nothing found is no failure.
pub(super) async fn glob(path: String, reporter: &mut Reporter) -> End {
    let search = path.clone();
    match blocking(move || pattern::glob(&search, MAX_NAMES)).await {
        Ok(names) => {
            reporter.push(CommandUpdate::Files(names));
            succeeded(reporter)
        }
        Err(error) => failed("glob", &error, &path, reporter),
    }
}

/// Lists a directory. A name that is not UTF-8 is shown with U+FFFD, so that the others can be told.
pub(super) async fn listdir(path: String, reporter: &mut Reporter) -> End {
    let search = path.clone();
    let names = blocking(move || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&search)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
            if names.len() > MAX_NAMES {
                return Err(io::Error::from_raw_os_error(nix::libc::E2BIG));
            }
        }
        Ok(names)
    })
    .await;
    match names {
        Ok(names) => {
            reporter.push(CommandUpdate::Files(names));
            succeeded(reporter)
        }
        Err(error) => failed("listdir", &error, &path, reporter),
    }
}

/// Removes one file.
pub(super) async fn rmfile(path: String, reporter: &mut Reporter) -> End {
    match tokio::fs::remove_file(&path).await {
        Ok(()) => succeeded(reporter),
        Err(error) => failed("rmfile", &error, &path, reporter),
    }
}

fn succeeded(reporter: &mut Reporter) -> End {
    reporter.push(CommandUpdate::Rc(0));
    End::default()
}

fn failed(command: &str, error: &io::Error, path: &str, reporter: &mut Reporter) -> End {
    reporter.push(CommandUpdate::Rc(python::errno(error).into()));
    End::saying(Stream::Header, format!("{command}: {}: {path}", python::strerror(error)))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
