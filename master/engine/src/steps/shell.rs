//! `ShellCommand`: a command on the worker, its exit code the result.

use std::time::Duration;

use buildguild_types::farm::ShellConfig;
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use buildguild_types::{pyrepr, render::Renderable};
use serde_json::Value;
use worker_protocol::{Command, LogFile, ShellArgs, ShellCommand};

use super::arguments::wrong;
use super::command::{Outcome, RunOptions};
use super::{StepError, StepRun};
use crate::build::summary;

/// Runs the step.
pub(super) async fn run(step: &mut StepRun<'_>, config: &ShellConfig) -> Result<Results, StepError> {
    let outcome = run_shell(step, config, false, false).await?;
    Ok(outcome.results(&config.decode_rc))
}

/// Runs the command of a shell configuration, output to `stdio` and to the logs of the watched files.
pub(super) async fn run_shell(
    step: &mut StepRun<'_>,
    config: &ShellConfig,
    collect_stdout: bool,
    collect_stderr: bool,
) -> Result<Outcome, StepError> {
    let args = arguments(step, config).await?;
    let stdio = step.log("stdio", LogKind::Stream).await?;
    if !config.lazy_logfiles {
        for logfile in &args.logfiles {
            step.log(&logfile.name, LogKind::Stream).await?;
        }
    }
    let options = RunOptions {
        log: Some(stdio),
        lazy_logfiles: config.lazy_logfiles,
        collect_stdout,
        collect_stderr,
        grace: Duration::from_secs_f64(args.sigterm_time_secs.unwrap_or(0.0).min(86_400.0)),
        ignore_stop: false,
    };
    step.run_command(&Command::Shell(args), &options).await
}

/// What the step calls itself: its command. `None` if that cannot be rendered.
pub(super) async fn describe(step: &StepRun<'_>, command: &Renderable) -> Option<String> {
    step.render(command).await.ok().map(|command| summary::of_command(&flat(command)))
}

async fn arguments(step: &mut StepRun<'_>, config: &ShellConfig) -> Result<ShellArgs, StepError> {
    let command = flat(step.render(&config.command).await?);
    step.done_text = Some(summary::of_command(&command));
    let command = match command {
        Value::String(line) => ShellCommand::Line(line),
        Value::Array(words) => ShellCommand::Argv(words.iter().map(pyrepr::str).collect()),
        other => return Err(wrong("command", "a text or a list", &other)),
    };
    let mut args = ShellArgs::new(command, step.workdir().await?);
    args.env = step.environment(config.env.as_ref()).await?;
    args.timeout_secs = step.seconds_argument("timeout", config.timeout_secs.as_ref()).await?;
    args.max_time_secs = step.seconds_argument("maxTime", config.max_time_secs.as_ref()).await?;
    args.max_lines = step.count_argument("max_lines", config.max_lines.as_ref()).await?;
    args.sigterm_time_secs = step.seconds_argument("sigtermTime", config.sigterm_time_secs.as_ref()).await?;
    args.interrupt_signal.clone_from(&config.interrupt_signal);
    args.want_stdout = config.want_stdout;
    args.want_stderr = config.want_stderr;
    args.use_pty = config.use_pty;
    args.log_environ = config.log_environ;
    args.initial_stdin = step.text_argument("initialStdin", config.initial_stdin.as_ref()).await?;
    args.logfiles = logfiles(step, config.logfiles.as_ref()).await?;
    Ok(args)
}

async fn logfiles(step: &StepRun<'_>, logfiles: Option<&Renderable>) -> Result<Vec<LogFile>, StepError> {
    let entries = match step.render_option(logfiles).await? {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(wrong("logfiles", "a dictionary", &other)),
    };
    entries
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(filename) => Ok(LogFile { name, filename, follow: false, as_map: false }),
            Value::Object(options) => {
                let Some(Value::String(filename)) = options.get("filename") else {
                    return Err(wrong("logfiles", "a filename for each log", &Value::Object(options)));
                };
                let follow = options.get("follow").is_some_and(pyrepr::is_true);
                Ok(LogFile { name, filename: filename.clone(), follow, as_map: true })
            }
            other => Err(wrong("logfiles", "paths or dictionaries as values", &other)),
        })
        .collect()
}

/// Lists within a command list are flattened, as Buildbot does.
fn flat(command: Value) -> Value {
    fn into(value: Value, words: &mut Vec<Value>) {
        match value {
            Value::Array(items) => items.into_iter().for_each(|item| into(item, words)),
            other => words.push(other),
        }
    }
    match command {
        Value::Array(items) => {
            let mut words = Vec::with_capacity(items.len());
            items.into_iter().for_each(|item| into(item, &mut words));
            Value::Array(words)
        }
        other => other,
    }
}
