//! Files between worker and master: `upload_file`, `upload_directory`, `download_file`.
//!
//! Each block waits for the answer to the one before, so memory holds one block however slow the master is.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use worker_protocol::{CommandUpdate, RpcError, Value, WorkerRequest};

use super::{Control, End};
use crate::output::{Reporter, Stream};
use crate::python;

/// A larger block than any master asks for is cut: a message has its limit.
const MAX_BLOCK: u64 = 4 * 1024 * 1024;

/// What is moved.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) path: String,
    pub(super) max_size: Option<u64>,
    pub(super) block_size: u64,
}

impl Transfer {
    /// The size of the next block; nothing once the limit is reached.
    fn next_block(&self, moved: u64) -> Option<u64> {
        let left = self.max_size.map_or(u64::MAX, |max| max.saturating_sub(moved));
        (left > 0).then(|| left.min(self.block_size).clamp(1, MAX_BLOCK))
    }

    fn truncated(&self) -> String {
        format!("Maximum filesize reached, truncating file '{}'", self.path)
    }
}

/// How the moving of blocks ended.
enum Moved {
    Whole,
    /// The limit was reached.
    Truncated,
    /// An interrupt, or a lost connection.
    Stopped,
    /// The file could not be read or written any more.
    Io(io::Error),
    /// The master answered with an error.
    Master(RpcError),
}

/// Sends a file.
pub(super) async fn upload_file(
    transfer: &Transfer,
    keepstamp: bool,
    control: &Control,
    reporter: &mut Reporter,
) -> End {
    reporter.header(&format!("sending {}", transfer.path));
    let id = reporter.command_id().clone();
    let (moved, times) = match File::open(&transfer.path).await {
        Ok(mut file) => {
            // The times before reading: reading changes one of them.
            let times =
                file.metadata().await.ok().filter(|_| keepstamp).map(|m| (seconds(&m, false), seconds(&m, true)));
            let write = |data| WorkerRequest::UploadFileWrite { command_id: id.clone(), data };
            (Some(send_blocks(transfer, &mut file, write, control, reporter).await), times)
        }
        Err(error) => {
            tracing::debug!(path = transfer.path, %error, "file cannot be opened for upload");
            (None, None)
        }
    };
    let closed = call(reporter, &WorkerRequest::UploadFileClose { command_id: id.clone() }).await;
    if keepstamp {
        let (access_time, modified_time) = times.unzip();
        let utime = WorkerRequest::UploadFileUtime { command_id: id, access_time, modified_time };
        // Stock masters cannot do this (Buildbot 4.3 always answers with an error); the file is there all the same.
        if let Err(error) = call(reporter, &utime).await {
            tracing::warn!(path = transfer.path, %error, "master did not keep the file's times");
        }
    }
    match moved {
        Some(moved) => end_of_move(transfer, moved, closed, reporter),
        None => {
            reporter.push(CommandUpdate::Rc(1));
            End::saying(Stream::Stderr, format!("Cannot open file '{}' for upload", transfer.path))
        }
    }
}

/// Sends a directory as a tar archive.
pub(super) async fn upload_directory(
    transfer: &Transfer,
    compress: Option<&str>,
    control: &Control,
    reporter: &mut Reporter,
) -> End {
    let compression = match compress {
        None | Some("") => Compression::None,
        Some("gz") => Compression::Gzip,
        Some("bz2") => Compression::Bzip2,
        Some(other) => {
            return End::failed(python::failure(
                "ValueError",
                &format!("unknown compression {}", python::str_repr(other)),
            ));
        }
    };
    let path = PathBuf::from(&transfer.path);
    let packed = tokio::task::spawn_blocking(move || pack(&path, compression)).await;
    let mut archive = match packed.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(archive) => File::from_std(archive),
        Err(error) => {
            reporter.push(CommandUpdate::Rc(1));
            let (_, message) = python::os_error(&error, &transfer.path);
            let text = format!("Cannot read directory '{}' for upload: {message}", transfer.path);
            return End::saying(Stream::Stderr, text);
        }
    };
    reporter.header(&format!("sending {}", transfer.path));
    let id = reporter.command_id().clone();
    if let Err(error) = archive.rewind().await {
        return End::failed(python::failure("OSError", &error.to_string()));
    }
    let write = |data| WorkerRequest::UploadDirectoryWrite { command_id: id.clone(), data };
    let moved = send_blocks(transfer, &mut archive, write, control, reporter).await;
    let unpacked = call(reporter, &WorkerRequest::UploadDirectoryUnpack { command_id: id }).await;
    end_of_move(transfer, moved, unpacked, reporter)
}

/// Fetches a file.
pub(super) async fn download_file(
    transfer: &Transfer,
    mode: Option<u32>,
    control: &Control,
    reporter: &mut Reporter,
) -> End {
    if let Some(parent) = Path::new(&transfer.path).parent()
        && let Err(error) = tokio::fs::create_dir_all(parent).await
    {
        let (class, message) = python::os_error(&error, &parent.to_string_lossy());
        return End::failed(python::failure(class, &message));
    }
    let opened = create(&transfer.path, mode).await;
    let moved = match opened {
        Ok(mut file) => Some(receive_blocks(transfer, &mut file, control, reporter).await),
        Err(error) => {
            tracing::debug!(path = transfer.path, %error, "file cannot be opened for download");
            None
        }
    };
    let close = WorkerRequest::ReadFileClose { command_id: reporter.command_id().clone() };
    let closed = call(reporter, &close).await;
    match moved {
        Some(moved) => end_of_move(transfer, moved, closed, reporter),
        None => {
            reporter.push(CommandUpdate::Rc(1));
            End::saying(Stream::Stderr, format!("Cannot open file '{}' for download", transfer.path))
        }
    }
}

async fn create(path: &str, mode: Option<u32>) -> io::Result<File> {
    let file = File::create(path).await?;
    if let Some(mode) = mode {
        file.set_permissions(std::fs::Permissions::from_mode(mode)).await?;
    }
    Ok(file)
}

async fn send_blocks(
    transfer: &Transfer,
    file: &mut File,
    write: impl Fn(Bytes) -> WorkerRequest,
    control: &Control,
    reporter: &mut Reporter,
) -> Moved {
    let mut sent = 0;
    loop {
        if control.is_stopped() {
            return Moved::Stopped;
        }
        let Some(block) = transfer.next_block(sent) else { return Moved::Truncated };
        let data = match read_block(file, block).await {
            Ok(data) if data.is_empty() => return Moved::Whole,
            Ok(data) => data,
            Err(error) => return Moved::Io(error),
        };
        sent += data.len() as u64;
        if let Err(error) = call(reporter, &write(data)).await {
            return Moved::Master(error);
        }
        reporter.flush_if_due();
        reporter.drain().await;
    }
}

/// As much as there is, up to the block's size.
async fn read_block(file: &mut File, size: u64) -> io::Result<Bytes> {
    let mut block = Vec::new();
    file.take(size).read_to_end(&mut block).await?;
    Ok(block.into())
}

async fn receive_blocks(transfer: &Transfer, file: &mut File, control: &Control, reporter: &mut Reporter) -> Moved {
    let mut received = 0;
    let moved = loop {
        if control.is_stopped() {
            break Moved::Stopped;
        }
        let Some(length) = transfer.next_block(received) else { break Moved::Truncated };
        let request = WorkerRequest::ReadFile { command_id: reporter.command_id().clone(), length };
        let data = match call(reporter, &request).await {
            Ok(Value::Nil) => break Moved::Whole,
            Ok(Value::Binary(data)) if data.is_empty() => break Moved::Whole,
            Ok(Value::Binary(data)) => data,
            Ok(other) => {
                let found = worker_protocol::codec::type_name(&other);
                break Moved::Master(RpcError::Remote(format!("a bytes-like object is required, not '{found}'")));
            }
            Err(error) => break Moved::Master(error),
        };
        received += data.len() as u64;
        if let Err(error) = file.write_all(&data).await {
            break Moved::Io(error);
        }
    };
    match file.flush().await {
        Err(error) if !matches!(moved, Moved::Master(_)) => Moved::Io(error),
        _ => moved,
    }
}

async fn call(reporter: &Reporter, request: &WorkerRequest) -> Result<Value, RpcError> {
    reporter.rpc().call(request).await
}

fn end_of_move(transfer: &Transfer, moved: Moved, closed: Result<Value, RpcError>, reporter: &mut Reporter) -> End {
    let failure =
        |error: &RpcError| Some(python::failure("buildbot_worker.msgpack.RemoteWorkerError", &error.to_string()));
    let (rc, text) = match &moved {
        Moved::Whole if closed.is_ok() => (0, None),
        Moved::Whole | Moved::Stopped | Moved::Master(_) => (1, None),
        Moved::Truncated => (1, Some(transfer.truncated())),
        Moved::Io(error) => (1, Some(format!("{}: {}", transfer.path, python::strerror(error)))),
    };
    reporter.push(CommandUpdate::Rc(rc));
    End {
        failure: match (&moved, &closed) {
            (Moved::Master(error), _) | (_, Err(error)) => failure(error),
            _ => None,
        },
        last_words: text.map(|text| (Stream::Stderr, text)),
    }
}

fn seconds(metadata: &std::fs::Metadata, modified: bool) -> f64 {
    let (secs, nanos) =
        if modified { (metadata.mtime(), metadata.mtime_nsec()) } else { (metadata.atime(), metadata.atime_nsec()) };
    secs as f64 + nanos as f64 / 1e9
}

#[derive(Debug, Clone, Copy)]
enum Compression {
    None,
    Gzip,
    Bzip2,
}

/// Packs a directory's content into a file without a name. Links are packed as links.
fn pack(path: &Path, compression: Compression) -> io::Result<std::fs::File> {
    if !std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR));
    }
    let file = tempfile::tempfile()?;
    Ok(match compression {
        Compression::None => append(path, file)?,
        Compression::Gzip => {
            append(path, flate2::write::GzEncoder::new(file, flate2::Compression::default()))?.finish()?
        }
        Compression::Bzip2 => {
            append(path, bzip2::write::BzEncoder::new(file, bzip2::Compression::default()))?.finish()?
        }
    })
}

fn append<W: io::Write>(path: &Path, out: W) -> io::Result<W> {
    let mut archive = tar::Builder::new(out);
    archive.follow_symlinks(false);
    archive.append_dir_all(".", path)?;
    archive.into_inner()
}
