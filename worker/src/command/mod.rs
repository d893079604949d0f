//! The commands that a master can start.

mod copy;
mod files;
mod glob;
mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use worker_protocol::{Command, CommandError, CommandUpdate};

use crate::output::Reporter;
use crate::process::{self, ProcessSpec};
use crate::python;

/// How a running command is told to stop.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    interrupt: CancellationToken,
    lost: CancellationToken,
}

impl Control {
    /// `lost` is the end of the connection that the command was started on.
    pub(crate) fn new(lost: CancellationToken) -> Self {
        Self { interrupt: CancellationToken::new(), lost }
    }

    /// Asks the command to stop, as the master's `interrupt_command`.
    pub(crate) fn interrupt(&self) {
        self.interrupt.cancel();
    }

    /// Waits for an interrupt. Cancel safe.
    pub(crate) async fn interrupted(&self) {
        self.interrupt.cancelled().await;
    }

    /// Waits until there is no master any more. Cancel safe.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_cancelled()
    }

    /// Whether to stop, for either reason.
    pub(crate) fn is_stopped(&self) -> bool {
        self.interrupt.is_cancelled() || self.lost.is_cancelled()
    }
}

/// What commands need to know about the worker.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) basedir: Arc<PathBuf>,
    /// The environment of the worker process.
    pub(crate) environ: Arc<BTreeMap<String, String>>,
}

/// Runs a command from its start to its `complete`. The command was parsed before; what was wrong with its values is
/// told here, because the start request has been answered.
pub(crate) async fn run(
    command: Result<Command, CommandError>,
    surroundings: Surroundings,
    control: Control,
    mut reporter: Reporter,
) {
    let started = Instant::now();
    let end = match command {
        Ok(command) => dispatch(command, &surroundings, &control, &mut reporter).await,
        Err(CommandError::Invalid { class, message }) => End::failed(python::failure(class, &message)),
        Err(other) => End::failed(python::failure("RuntimeError", &other.to_string())),
    };
    if !control.is_interrupted() {
        reporter.push(CommandUpdate::Elapsed(started.elapsed().as_secs_f64()));
    }
    if let Some((stream, text)) = end.last_words {
        reporter.text(&stream, &text);
    }
    reporter.finish(end.failure).await;
}

/// How a command ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The failure that `complete` carries.
    failure: Option<String>,
    /// A text that follows `elapsed`.
    last_words: Option<(crate::output::Stream, String)>,
}

impl End {
    fn failed(failure: String) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }

    fn saying(stream: crate::output::Stream, text: String) -> Self {
        Self { last_words: Some((stream, text)), ..Self::default() }
    }
}

async fn dispatch(command: Command, surroundings: &Surroundings, control: &Control, reporter: &mut Reporter) -> End {
    match command {
        Command::Shell(args) => {
            let env = process::child_environment(&surroundings.environ, &args.env, &args.workdir);
            let outcome = process::run(&ProcessSpec::shell(args, env), control, reporter).await;
            End { failure: outcome.failure, ..End::default() }
        }
        Command::Rmdir { paths, limits } => copy::rmdir(&paths, &limits, surroundings, control, reporter).await,
        Command::Cpdir { from_path, to_path, limits } => {
            copy::cpdir(&from_path, &to_path, &limits, surroundings, control, reporter).await
        }
        Command::Mkdir { paths } => files::mkdir(paths, reporter).await,
        Command::Stat { path } => files::stat(path, reporter).await,
        Command::Glob { path } => files::glob(path, reporter).await,
        Command::Listdir { path } => files::listdir(path, reporter).await,
        Command::Rmfile { path } => files::rmfile(path, reporter).await,
        Command::UploadFile { path, max_size, block_size, keepstamp } => {
            let upload = transfer::Transfer { path, max_size, block_size };
            transfer::upload_file(&upload, keepstamp, control, reporter).await
        }
        Command::UploadDirectory { path, max_size, block_size, compress } => {
            let upload = transfer::Transfer { path, max_size, block_size };
            transfer::upload_directory(&upload, compress.as_deref(), control, reporter).await
        }
        Command::DownloadFile { path, max_size, block_size, mode } => {
            let download = transfer::Transfer { path, max_size, block_size };
            transfer::download_file(&download, mode, control, reporter).await
        }
    }
}
