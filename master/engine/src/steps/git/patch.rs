//! The patch of a source stamp, applied on top of the checkout.

use buildguild_types::resources::Patch;
use worker_protocol::ShellCommand;

use super::checkout::{PATCHED_MARK, must};
use super::commands::Git;
use super::{Attempt, Failed};

/// The patch's name in the work directory.
const PATCH_FILE: &str = ".buildbot-diff";

pub(super) async fn apply(git: &mut Git<'_, '_>, patch: &Patch) -> Attempt {
    let Some(body) = &patch.body else {
        git.step.header("the patch has no content").await?;
        return Ok(Err(Failed));
    };
    must!(git.write(PATCH_FILE, body.clone().into_bytes()).await?);
    // First the mark: a patch that fails half-way has changed files too.
    must!(git.write(PATCHED_MARK, b"patched\n".to_vec()).await?);
    let workdir = git.workdir.clone();
    let mut diff = PATCH_FILE.to_owned();
    if let Some(subdir) = patch.subdir.as_deref().filter(|subdir| !subdir.is_empty() && *subdir != ".") {
        let paths = git.step.build.worker.paths();
        diff = paths.join(&workdir, PATCH_FILE);
        git.workdir = paths.join(&workdir, subdir);
    }
    let command = ShellCommand::Argv(
        ["patch", &format!("-p{}", patch.level), "--remove-empty-files", "--force", "--forward", "-i", &diff]
            .map(str::to_owned)
            .to_vec(),
    );
    let outcome = git.shell(command, false).await;
    git.workdir = workdir;
    if !outcome?.is_success() {
        git.step.header("the patch does not apply").await?;
        return Ok(Err(Failed));
    }
    Ok(Ok(()))
}
