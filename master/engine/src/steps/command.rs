//! Runs a command on the worker for a step: output to the logs, the build's stop to the worker, limits to everything.

use std::collections::BTreeMap;
use std::time::Duration;

use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use tokio::time::{Instant, sleep_until};
use worker_protocol::{Command, CommandUpdate};

use super::transfer::{NoTransfer, TransferEnd};
use super::{StepError, StepRun};
use crate::logs::{LogRef, Stream};
use crate::workers::{CommandEnd, Progress, RunningCommand, of_step};

/// What a step keeps of a command's output for itself, for each stream.
const MAX_COLLECTED_BYTES: usize = 8 * 1024 * 1024;

/// Text that is ready is taken up to this size before it is stored: fewer, larger transactions under load.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// How long after an interrupt (and after `sigtermTime`) a command must have ended; then it is given up.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How a step runs a command.
#[derive(Debug, Default)]
pub(crate) struct RunOptions {
    /// Where its output goes; `None`: nowhere.
    pub(crate) log: Option<LogRef>,
    /// Create the logs of watched files only when there is something in them.
    pub(crate) lazy_logfiles: bool,
    /// Keep the standard output.
    pub(crate) collect_stdout: bool,
    /// Keep the standard error.
    pub(crate) collect_stderr: bool,
    /// How long the command may take to end after an interrupt by its own arguments.
    pub(crate) grace: Duration,
    /// Whether a stop of the build interrupts the command.
    pub(crate) ignore_stop: bool,
}

/// How a command ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The exit code.
    pub(crate) rc: Option<i64>,
    /// Collected standard output.
    pub(crate) stdout: String,
    /// Collected standard error.
    pub(crate) stderr: String,
    /// File names, from `listdir` and `glob`.
    pub(crate) files: Option<Vec<String>>,
    /// From `stat`.
    pub(crate) stat: Option<Vec<i64>>,
    /// The worker's own failure.
    pub(crate) failure: Option<String>,
    /// Why the worker killed it.
    pub(crate) failure_reason: Option<String>,
}

impl Outcome {
    /// Whether it did what it should.
    pub(crate) fn is_success(&self) -> bool {
        self.rc == Some(0) && self.failure.is_none()
    }

    /// The result by an exit code table.
    pub(crate) fn results(&self, decode_rc: &BTreeMap<i64, Results>) -> Results {
        match (&self.failure, self.rc) {
            (Some(_), _) => Results::Exception,
            (None, Some(rc)) => decode_rc.get(&rc).copied().unwrap_or(Results::Failure),
            (None, None) => Results::Failure,
        }
    }
}

impl StepRun<'_> {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// If the worker is lost, the build is stopped, or the output cannot be stored.
    pub(crate) async fn run_command(&mut self, command: &Command, options: &RunOptions) -> Result<Outcome, StepError> {
        self.run_transfer(command, options, &mut NoTransfer).await
    }

    /// Runs a command whose transfer requests `transfers` answers.
    ///
    /// # Errors
    /// As [`StepRun::run_command`].
    pub(crate) async fn run_transfer(
        &mut self,
        command: &Command,
        options: &RunOptions,
        transfers: &mut dyn TransferEnd,
    ) -> Result<Outcome, StepError> {
        if !options.ignore_stop && self.build.stop.pending().is_some() {
            self.note_stop().await?;
            return Err(StepError::Stopped);
        }
        let worker = self.build.worker.clone();
        let id = of_step(self.id, self.started_at, self.commands);
        self.commands += 1;
        let mut running = worker.start_command(id, command, &self.build.builder.name).await?;
        let mut outcome = Outcome::default();
        let mut give_up_at: Option<Instant> = None;
        let end = loop {
            let due = self.logs.due();
            let progress = tokio::select! {
                progress = running.next() => progress,
                () = wait(due) => {
                    self.flush().await?;
                    continue;
                }
                _ = self.build.stop.requested(), if give_up_at.is_none() && !options.ignore_stop => {
                    // The log first: what the worker says about the interrupt comes after it.
                    let reason = self.note_stop().await?;
                    running.interrupt(&reason).await;
                    give_up_at = Some(Instant::now() + options.grace + STOP_TIMEOUT);
                    continue;
                }
                () = wait(give_up_at) => break None,
            };
            if let Some(end) = self.take_ready(&mut running, progress, options, transfers, &mut outcome).await? {
                break Some(end);
            }
        };
        match end {
            Some(CommandEnd::Complete(failure)) => outcome.failure = failure,
            Some(CommandEnd::Refused(text)) => outcome.failure = Some(text),
            Some(CommandEnd::Lost) => return Err(StepError::WorkerLost),
            None => {
                self.header("the worker did not end the command; it was given up").await?;
                return Err(StepError::Stopped);
            }
        }
        if let Some(failure) = &outcome.failure {
            let text = format!("the worker could not run the command: {}", failure.trim_end());
            self.header(&text).await?;
        }
        if give_up_at.is_some() {
            return Err(StepError::Stopped);
        }
        Ok(outcome)
    }

    /// Deals with an event and with those that have arrived behind it, which share its transaction.
    async fn take_ready(
        &mut self,
        running: &mut RunningCommand,
        first: Progress,
        options: &RunOptions,
        transfers: &mut dyn TransferEnd,
        outcome: &mut Outcome,
    ) -> Result<Option<CommandEnd>, StepError> {
        let mut next = Some(first);
        let mut ended = None;
        while let Some(progress) = next {
            match progress {
                Progress::Updates(updates) => self.take_updates(&updates.items, options, outcome).await?,
                Progress::Transfer(transfer) => transfers.handle(transfer).await,
                Progress::Ended(end) => {
                    ended = Some(end);
                    break;
                }
            }
            next = if self.logs.pending_bytes() < MAX_BATCH_BYTES { running.try_next() } else { None };
        }
        if self.logs.is_full() {
            self.flush().await?;
        }
        Ok(ended)
    }

    /// Writes the log `cancelled` and takes note of the wish to stop.
    pub(crate) async fn note_stop(&mut self) -> Result<String, StepError> {
        let reason = self.build.stop.pending().map(|request| request.reason).unwrap_or_default();
        self.build.stop.acknowledge();
        self.add_complete_log("cancelled", LogKind::Text, &reason).await?;
        Ok(reason)
    }

    async fn take_updates(
        &mut self,
        updates: &[CommandUpdate],
        options: &RunOptions,
        outcome: &mut Outcome,
    ) -> Result<(), StepError> {
        for update in updates {
            match update {
                CommandUpdate::Stdout(text) => {
                    self.output(options.log, Stream::Stdout, &text.text);
                    if options.collect_stdout {
                        collect(&mut outcome.stdout, &text.text)?;
                    }
                }
                CommandUpdate::Stderr(text) => {
                    self.output(options.log, Stream::Stderr, &text.text);
                    if options.collect_stderr {
                        collect(&mut outcome.stderr, &text.text)?;
                    }
                }
                CommandUpdate::Header(text) => self.output(options.log, Stream::Header, &text.text),
                CommandUpdate::Log { name, text } => {
                    let log = match self.logs.find(name) {
                        Some(log) => Some(log),
                        None if options.lazy_logfiles => Some(self.add_log(name, LogKind::Stream).await?),
                        // Not asked for.
                        None => None,
                    };
                    self.output(log, Stream::Stdout, &text.text);
                }
                CommandUpdate::Rc(rc) => {
                    outcome.rc = Some(*rc);
                    self.output(options.log, Stream::Header, &format!("program finished with exit code {rc}\n"));
                }
                CommandUpdate::FailureReason(reason) => outcome.failure_reason = Some(reason.clone()),
                CommandUpdate::Files(files) => outcome.files = Some(files.clone()),
                CommandUpdate::Stat(stat) => outcome.stat = Some(stat.clone()),
                CommandUpdate::Elapsed(_) => {}
                other => tracing::debug!(kind = other.key(), "update of unknown kind was ignored"),
            }
        }
        Ok(())
    }

    fn output(&mut self, log: Option<LogRef>, stream: Stream, text: &str) {
        if let Some(log) = log {
            self.logs.push(log, stream, text);
        }
    }
}

fn collect(into: &mut String, text: &str) -> Result<(), StepError> {
    if into.len() + text.len() > MAX_COLLECTED_BYTES {
        return Err(StepError::Failed(format!("the command's output is larger than {MAX_COLLECTED_BYTES} bytes")));
    }
    into.push_str(text);
    Ok(())
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
