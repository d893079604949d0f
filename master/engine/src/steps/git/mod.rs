//! `Git`: brings the source of a code base into the work directory.
//!
//! Modes and methods do what Buildbot's manual says of them; the commands on the worker are those that a stock master
//! sends, less what nobody reads.

mod checkout;
mod commands;
mod patch;

use std::time::Duration;

use buildguild_types::farm::{GitConfig, GitMode};
use buildguild_types::resources::{LogKind, SourceStamp};
use buildguild_types::results::Results;
use serde_json::{Map, Value, json};

use self::commands::Git;
use super::{StepError, StepRun};

/// A command of the checkout failed; the log says how.
pub(super) struct Failed;

/// What the commands of a checkout give: the step may be stopped or the worker lost (outer), or git fails (inner).
pub(super) type Attempt<T = ()> = Result<Result<T, Failed>, StepError>;

/// Runs the step.
pub(super) async fn run(step: &mut StepRun<'_>, config: &GitConfig) -> Result<Results, StepError> {
    step.set_state("updating").await?;
    let codebase = &config.codebase;
    step.done_text = Some(if codebase.is_empty() { "update".to_owned() } else { format!("update {codebase}") });
    step.log("stdio", LogKind::Stream).await?;
    let Some(source) = step.build.sources.iter().find(|source| source.codebase == *codebase).cloned() else {
        step.header(&format!("No sourcestamp found in build for codebase '{codebase}'")).await?;
        return Ok(Results::Failure);
    };
    let mut git = Git::new(step, config, &source).await?;
    if checkout_with_retries(&mut git).await?.is_err() {
        return Ok(Results::Failure);
    }
    if let Some(patch) = &source.patch
        && patch::apply(&mut git, patch).await?.is_err()
    {
        return Ok(Results::Failure);
    }
    set_revision(&mut git, &source).await
}

async fn checkout_with_retries(git: &mut Git<'_, '_>) -> Attempt {
    let (delay, retries) = git.config.retry.map_or((0, 0), |(delay, retries)| (delay, retries));
    let mut left = retries;
    let mut mode = git.config.mode;
    loop {
        if git.checkout(mode).await?.is_ok() {
            return Ok(Ok(()));
        }
        if git.config.clobber_on_failure && mode != GitMode::Clobber && mode != GitMode::Copy {
            git.step.header("the checkout failed; it is tried again from nothing").await?;
            if git.checkout(GitMode::Clobber).await?.is_ok() {
                return Ok(Ok(()));
            }
        }
        if left == 0 {
            return Ok(Err(Failed));
        }
        left -= 1;
        git.step.header(&format!("the checkout failed; next try in {delay} seconds, {left} more after it")).await?;
        git.step.flush().await?;
        git.step.pause(Duration::from_secs(delay)).await?;
        // What is there may be what makes it fail.
        if mode != GitMode::Copy {
            mode = GitMode::Clobber;
        }
    }
}

async fn set_revision(git: &mut Git<'_, '_>, source: &SourceStamp) -> Result<Results, StepError> {
    let Ok(revision) = git.output(&["rev-parse", "HEAD"]).await? else { return Ok(Results::Failure) };
    let revision = revision.trim().to_owned();
    if revision.len() < 40 {
        git.step.header(&format!("git rev-parse gave no revision: '{revision}'")).await?;
        return Ok(Results::Failure);
    }
    set_source_property(git, "got_revision", &source.codebase, &revision);
    if let Some(options) = &git.config.get_description {
        let options = commands::describe_options(options);
        let mut args: Vec<&str> = vec!["describe"];
        args.extend(options.iter().map(String::as_str));
        args.push("HEAD");
        // A repository without tags has no description; that is no failure.
        if let Ok(description) = git.output(&args).await? {
            set_source_property(git, "commit-description", &source.codebase, description.trim());
        }
    }
    Ok(Results::Success)
}

/// With several code bases the property is a dictionary by code base.
fn set_source_property(git: &mut Git<'_, '_>, name: &str, codebase: &str, value: &str) {
    let value = if codebase.is_empty() {
        json!(value)
    } else {
        let mut all = match git.step.build.properties.value(name) {
            Some(Value::Object(all)) => all.clone(),
            _ => Map::new(),
        };
        all.insert(codebase.to_owned(), json!(value));
        Value::Object(all)
    };
    let class = git.step.config.class.clone();
    git.step.set_property(name, value, &class);
}
