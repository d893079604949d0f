//! Logs: structured, to standard output or, in the background, to a file that is rotated by size.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use buildguild_config::{LogFormat, TelemetrySettings};
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Where log lines go.
#[derive(Clone)]
enum Output {
    Stdout,
    File(Arc<Mutex<FileRotate<AppendCount>>>),
}

/// Log files: this size each, so many old ones, as `buildbot create-master` has it.
const LOG_SIZE_BYTES: usize = 10_000_000;
const LOG_COUNT: usize = 10;

/// What is never worth a line unless `log_level` asks for it: the HTTP library reports requests that are not HTTP, which
/// anyone can send, as errors; the AMQP library reports each cut connection, which we do ourselves, and which is none.
const NOISE: &str = "actix_http::h1::dispatcher=off,lapin=off";

/// Sends log lines to standard output, or to `file` if there is one.
///
/// # Errors
/// If the level is not understood.
pub(crate) fn start(settings: &TelemetrySettings, file: Option<&Path>) -> Result<()> {
    let filter = EnvFilter::try_new(format!("{NOISE},{}", settings.log_level))
        .with_context(|| format!("telemetry.log_level: {:?} is no level", settings.log_level))?;
    let output = file.map_or(Output::Stdout, |path| {
        let rotate = FileRotate::new(
            path,
            AppendCount::new(LOG_COUNT),
            ContentLimit::BytesSurpassed(LOG_SIZE_BYTES),
            Compression::None,
            None,
        );
        Output::File(Arc::new(Mutex::new(rotate)))
    });
    let colours = matches!(output, Output::Stdout) && std::io::stdout().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(output).with_ansi(colours);
    match settings.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Box<dyn Write>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Stdout => Box::new(std::io::stdout()),
            Self::File(file) => Box::new(SharedFile(Arc::clone(file))),
        }
    }
}

/// The log file, one line at a time.
struct SharedFile(Arc<Mutex<FileRotate<AppendCount>>>);

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).flush()
    }
}
