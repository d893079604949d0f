//! The worker inside a master's process.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use worker_protocol::FrameSocket;

use crate::info;
use crate::session::{self, Worker};
use crate::stop::Stop;

/// How the master's settings begin in its environment. They may hold passwords, and are no business of a build's.
const SETTINGS_PREFIX: &str = "BUILDGUILD__";

/// Runs a worker over in-memory channels: the same code as in a process of its own, without a network. Returns when
/// the token is cancelled or the other side has dropped its end; running commands are killed first.
///
/// # Errors
/// If the worker's directory cannot be made.
pub async fn run_local(
    name: &str,
    basedir: PathBuf,
    socket: FrameSocket,
    token: CancellationToken,
) -> std::io::Result<()> {
    tokio::fs::create_dir_all(&basedir).await?;
    let mut environ = info::environ();
    environ.retain(|name, _| !name.starts_with(SETTINGS_PREFIX));
    let worker = Worker {
        name: name.to_owned(),
        basedir: Arc::new(tokio::fs::canonicalize(&basedir).await?),
        environ: Arc::new(environ),
        numcpus: None,
        delete_leftover_dirs: false,
    };
    let end = session::serve(&worker, socket, &Stop::on(token)).await;
    tracing::debug!(worker.name = worker.name, ?end, "local worker has ended");
    Ok(())
}
