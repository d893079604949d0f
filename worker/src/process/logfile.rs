//! Files that are watched while a command runs.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use worker_protocol::LogFile;

use crate::output::{LineStream, Reporter, Stream, unix_now};

/// The most that one look at a file reads before it lets others go on.
const READ_AT_ONCE: usize = 64 * 1024;

/// A file as it was: nothing of it is sent before it changes.
type State = Option<(u64, Option<SystemTime>)>;

/// One watched file.
pub(super) struct Watcher {
    path: PathBuf,
    /// What the file was like when the command started.
    before: State,
    /// Where reading begins in a file that is followed: what was there before the command is not sent.
    start: u64,
    file: Option<File>,
    position: u64,
    lines: LineStream,
    buf: Vec<u8>,
}

impl Watcher {
    /// Notes what the file is like before the command starts.
    pub(super) async fn new(file: &LogFile, workdir: &Path, max_line_length: u64) -> Self {
        let path = workdir.join(&file.filename);
        let before = state(&path).await;
        Self {
            path,
            before,
            start: if file.follow { before.map_or(0, |(size, _)| size) } else { 0 },
            file: None,
            position: 0,
            lines: LineStream::new(Stream::Log(file.name.as_str().into()), max_line_length),
            buf: Vec::new(),
        }
    }

    /// Reads a piece of what is new. Says whether there was something: if so, there may be more.
    pub(super) async fn read(&mut self, reporter: &mut Reporter) -> bool {
        match self.try_read(reporter).await {
            Ok(len) => len > 0,
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "log file cannot be read");
                false
            }
        }
    }

    async fn try_read(&mut self, reporter: &mut Reporter) -> std::io::Result<usize> {
        if self.file.is_none() {
            let now = state(&self.path).await;
            if now.is_none() || now == self.before {
                return Ok(0);
            }
            let mut file = File::open(&self.path).await?;
            let size = file.metadata().await?.len();
            // A file that became shorter was written anew.
            self.position = if size < self.start { 0 } else { self.start };
            file.seek(SeekFrom::Start(self.position)).await?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        if file.metadata().await?.len() < self.position {
            self.position = 0;
            file.seek(SeekFrom::Start(0)).await?;
        }
        self.buf.resize(READ_AT_ONCE, 0);
        let len = file.read(&mut self.buf).await?;
        self.position += len as u64;
        self.lines.feed(&self.buf[..len], unix_now(), reporter);
        Ok(len)
    }

    /// Sends what was written until now, and an unfinished last line. A file that something still writes to is not
    /// waited for.
    pub(super) async fn finish(&mut self, reporter: &mut Reporter) {
        let end = state(&self.path).await.map_or(0, |(size, _)| size);
        while !reporter.is_lost() && self.position < end && self.read(reporter).await {
            reporter.drain().await;
        }
        self.lines.finish(unix_now(), reporter);
    }
}

async fn state(path: &Path) -> State {
    let metadata = tokio::fs::metadata(path).await.ok().filter(std::fs::Metadata::is_file)?;
    Some((metadata.len(), metadata.modified().ok()))
}
