//! `rmdir` and `cpdir`: done by `rm` and `cp`, whose texts the master gets to see.

use std::path::Path;

use worker_protocol::CommandUpdate;
use worker_protocol::command::RunLimits;

use super::{Control, End, Surroundings};
use crate::output::Reporter;
use crate::process::{self, Outcome, ProcessSpec};
use crate::python;

/// Removes each path; the exit code is the last one that is not zero.
pub(super) async fn rmdir(
    paths: &[String],
    limits: &RunLimits,
    surroundings: &Surroundings,
    control: &Control,
    reporter: &mut Reporter,
) -> End {
    let mut rc = 0;
    for path in paths {
        let mut outcome = helper(&["rm", "-rf", path], limits, surroundings, control, reporter).await;
        if outcome.rc != 0 && outcome.failure.is_none() && !control.is_stopped() {
            // Directories without write permission: make them writable, and try once more.
            helper(&["chmod", "-Rf", "u+rwx", path], limits, surroundings, control, reporter).await;
            outcome = helper(&["rm", "-rf", path], limits, surroundings, control, reporter).await;
        }
        if outcome.failure.is_some() {
            return End { failure: outcome.failure, ..End::default() };
        }
        if outcome.rc != 0 {
            rc = outcome.rc;
        }
    }
    send_rc(rc, control, reporter);
    End::default()
}

/// Copies a directory, its parents made first.
pub(super) async fn cpdir(
    from: &str,
    to: &str,
    limits: &RunLimits,
    surroundings: &Surroundings,
    control: &Control,
    reporter: &mut Reporter,
) -> End {
    if let Some(parent) = Path::new(to).parent()
        && let Err(error) = tokio::fs::create_dir_all(parent).await
    {
        let (class, message) = python::os_error(&error, &parent.to_string_lossy());
        return End::failed(python::failure(class, &message));
    }
    let argv = ["cp", "-R", "-P", "-p", "-v", from, to];
    let outcome = helper(&argv, limits, surroundings, control, reporter).await;
    if outcome.failure.is_none() {
        send_rc(outcome.rc, control, reporter);
    }
    End { failure: outcome.failure, ..End::default() }
}

/// An interrupted command has no exit code, although it ran to its end.
fn send_rc(rc: i32, control: &Control, reporter: &mut Reporter) {
    if !control.is_interrupted() {
        reporter.push(CommandUpdate::Rc(rc.into()));
    }
}

async fn helper(
    argv: &[&str],
    limits: &RunLimits,
    surroundings: &Surroundings,
    control: &Control,
    reporter: &mut Reporter,
) -> Outcome {
    let basedir = surroundings.basedir.as_ref().clone();
    let env = process::child_environment(&surroundings.environ, &[], &basedir.to_string_lossy());
    process::run(&ProcessSpec::helper(argv, basedir, env, limits), control, reporter).await
}
