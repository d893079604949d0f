//! The git commands of a checkout and the file commands around them.

use std::collections::BTreeMap;
use std::time::Duration;

use buildguild_types::farm::GitConfig;
use buildguild_types::pyrepr;
use buildguild_types::resources::{LogKind, SourceStamp};
use serde_json::Value;
use worker_protocol::command::RunLimits;
use worker_protocol::{Command, EnvValue, ShellArgs, ShellCommand};

use super::{Attempt, Failed};
use crate::steps::arguments::wrong;
use crate::steps::command::{Outcome, RunOptions};
use crate::steps::transfer::SendBytes;
use crate::steps::{StepError, StepRun};

/// A stop gives git one second for its lock files.
const SIGTERM_TIME_SECS: f64 = 1.0;

/// A checkout under way.
pub(super) struct Git<'s, 'b> {
    pub(super) step: &'s mut StepRun<'b>,
    pub(super) config: &'s GitConfig,
    pub(super) repourl: String,
    /// The branch, or `HEAD`.
    pub(super) branch: String,
    /// The revision; `None` for the newest of the branch.
    pub(super) revision: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) depth: Option<u64>,
    pub(super) filters: Vec<String>,
    /// Where the source goes.
    pub(super) target: String,
    /// Where git works; differs from `target` only while a copy is kept aside.
    pub(super) workdir: String,
    env: Vec<(String, EnvValue)>,
    /// `-c name=value`
    options: Vec<String>,
}

impl<'s, 'b> Git<'s, 'b> {
    pub(super) async fn new(
        step: &'s mut StepRun<'b>,
        config: &'s GitConfig,
        source: &SourceStamp,
    ) -> Result<Self, StepError> {
        let target = step.workdir().await?;
        let text = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        let branch = match text(source.branch.as_ref()) {
            Some(branch) => branch,
            None => step.text_argument("branch", Some(&config.branch)).await?.unwrap_or_default(),
        };
        let branch = if branch.is_empty() { "HEAD".to_owned() } else { branch };
        let mut filters = Vec::new();
        for filter in &config.filters {
            filters.push(step.required_text("filters", filter).await?);
        }
        Ok(Self {
            repourl: step.required_text("repourl", &config.repourl).await?,
            revision: text(source.revision.as_ref()).filter(|_| !config.always_use_latest),
            origin: step.text_argument("origin", config.origin.as_ref()).await?,
            reference: step.text_argument("reference", config.reference.as_ref()).await?,
            depth: step.count_argument("shallow", config.shallow_depth.as_ref()).await?,
            env: step.environment(config.env.as_ref()).await?,
            options: git_options(step.render_option(config.config.as_ref()).await?)?,
            workdir: target.clone(),
            branch,
            filters,
            target,
            step,
            config,
        })
    }

    /// Runs git; its failure is in the log.
    pub(super) async fn git(&mut self, args: &[&str]) -> Attempt {
        let outcome = self.run_git(args, false).await?;
        Ok(if outcome.is_success() { Ok(()) } else { Err(Failed) })
    }

    /// Runs git for its output.
    pub(super) async fn output(&mut self, args: &[&str]) -> Attempt<String> {
        let outcome = self.run_git(args, true).await?;
        Ok(if outcome.is_success() { Ok(outcome.stdout) } else { Err(Failed) })
    }

    async fn run_git(&mut self, args: &[&str], collect: bool) -> Result<Outcome, StepError> {
        let mut argv = vec!["git".to_owned()];
        argv.extend(self.options.iter().cloned());
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.shell(ShellCommand::Argv(argv), collect).await
    }

    pub(super) async fn shell(&mut self, command: ShellCommand, collect: bool) -> Result<Outcome, StepError> {
        let mut args = ShellArgs::new(command, self.workdir.clone());
        args.env.clone_from(&self.env);
        args.timeout_secs = self.config.timeout_secs.map(|seconds| seconds as f64).filter(|seconds| *seconds > 0.0);
        args.sigterm_time_secs = Some(SIGTERM_TIME_SECS);
        args.log_environ = self.config.log_environ;
        self.run(&Command::Shell(args), collect).await
    }

    async fn run(&mut self, command: &Command, collect_stdout: bool) -> Result<Outcome, StepError> {
        let options = self.options(collect_stdout).await?;
        self.step.run_command(command, &options).await
    }

    async fn options(&mut self, collect_stdout: bool) -> Result<RunOptions, StepError> {
        Ok(RunOptions {
            log: Some(self.step.log("stdio", LogKind::Stream).await?),
            collect_stdout,
            grace: Duration::from_secs_f64(SIGTERM_TIME_SECS),
            ..RunOptions::default()
        })
    }

    fn limits(&self) -> RunLimits {
        RunLimits {
            log_environ: self.config.log_environ,
            timeout_secs: self.config.timeout_secs.map(|seconds| seconds as f64),
            max_time_secs: None,
        }
    }

    /// Whether there is a file of that name in the work directory. What `stat` says goes to no log: its failure is an
    /// answer.
    pub(super) async fn exists(&mut self, name: &str) -> Result<bool, StepError> {
        let path = self.step.build.worker.paths().join(&self.workdir, name);
        let outcome = self.step.run_command(&Command::Stat { path }, &RunOptions::default()).await?;
        Ok(outcome.is_success())
    }

    /// The names in the work directory; `None` if it is not there.
    pub(super) async fn list(&mut self) -> Result<Option<Vec<String>>, StepError> {
        let path = self.workdir.clone();
        let outcome = self.step.run_command(&Command::Listdir { path }, &RunOptions::default()).await?;
        Ok(outcome.files.filter(|_| outcome.rc == Some(0)))
    }

    pub(super) async fn remove(&mut self, path: String) -> Attempt {
        let command = Command::Rmdir { paths: vec![path], limits: self.limits() };
        let outcome = self.run(&command, false).await?;
        Ok(if outcome.is_success() { Ok(()) } else { Err(Failed) })
    }

    pub(super) async fn copy(&mut self, from_path: String, to_path: String) -> Attempt {
        let command = Command::Cpdir { from_path, to_path, limits: self.limits() };
        // The names of all files are of no use in the log.
        let outcome = self.step.run_command(&command, &RunOptions::default()).await?;
        if !outcome.is_success() {
            self.step.header("the copy of the source failed").await?;
            return Ok(Err(Failed));
        }
        Ok(Ok(()))
    }

    /// Writes a file in the work directory.
    pub(super) async fn write(&mut self, name: &str, content: Vec<u8>) -> Attempt {
        let path = self.step.build.worker.paths().join(&self.workdir, name);
        let command = Command::DownloadFile { path, max_size: None, block_size: 32 * 1024, mode: None };
        let options = self.options(false).await?;
        let outcome = self.step.run_transfer(&command, &options, &mut SendBytes::new(content)).await?;
        Ok(if outcome.is_success() { Ok(()) } else { Err(Failed) })
    }
}

/// `config={'http.sslVerify': 'false'}` as options of every git command.
fn git_options(config: Option<Value>) -> Result<Vec<String>, StepError> {
    match config {
        None => Ok(Vec::new()),
        Some(Value::Object(entries)) => Ok(entries
            .iter()
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={}", pyrepr::str(value))])
            .collect()),
        Some(other) => Err(wrong("config", "a dictionary", &other)),
    }
}

/// The options of `git describe`: `getDescription={'tags': True, 'match': 'v*', 'dirty': '-changed'}`.
pub(super) fn describe_options(options: &BTreeMap<String, Value>) -> Vec<String> {
    options
        .iter()
        .filter_map(|(name, value)| {
            let flag = match name.as_str() {
                "all" | "always" | "contains" | "debug" | "long" | "exact-match" | "first-parent" | "tags"
                | "dirty"
                    if *value == Value::Bool(true) =>
                {
                    format!("--{name}")
                }
                "match" => return Some(vec!["--match".to_owned(), pyrepr::str(value)]),
                "exclude" => return Some(vec!["--exclude".to_owned(), pyrepr::str(value)]),
                "abbrev" | "candidates" => format!("--{name}={}", pyrepr::str(value)),
                "dirty" if value.is_string() => format!("--dirty={}", pyrepr::str(value)),
                _ => return None,
            };
            Some(vec![flag])
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn describe_takes_the_options_of_the_manual() {
        let options = BTreeMap::from([
            ("abbrev".to_owned(), json!(12)),
            ("dirty".to_owned(), json!("-x")),
            ("long".to_owned(), json!(false)),
            ("match".to_owned(), json!("v*")),
            ("tags".to_owned(), json!(true)),
        ]);
        assert_eq!(describe_options(&options), ["--abbrev=12", "--dirty=-x", "--match", "v*", "--tags"]);
    }
}
