//! How a command is killed: reasons, their texts, and the order of signals.

use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::Instant;
use worker_protocol::CommandUpdate;

use super::{ProcessSpec, headers};
use crate::output::Reporter;
use crate::python;

/// How long a process may live after the signal that was to end it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long output may still come after the killed process is gone: from a process that left its group and keeps the
/// pipes open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a command is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reason {
    /// No output for too long.
    Silence,
    /// Too long altogether.
    MaxTime,
    /// Too many lines; how many there were.
    MaxLines(u64),
    /// The master wishes it.
    Interrupt,
    /// The master is gone.
    ConnectionLost,
}

/// Where the killing stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// SIGTERM was sent; the other signal follows.
    Term { until: Instant },
    /// The interrupt signal was sent.
    Signalled { signal: Signal, until: Instant },
    /// The process is gone; its output may still come.
    Draining { until: Instant },
}

/// Kills one process with its group.
#[derive(Debug)]
pub(super) struct Killer {
    pid: Pid,
    interrupt_signal: Signal,
    sigterm_time: Option<Duration>,
    phase: Option<Phase>,
}

/// What a deadline of the killer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Go on waiting.
    Wait,
    /// The process cannot be killed: give it up.
    GiveUp,
    /// The process is gone, and its output has been waited for long enough.
    StopReading,
}

impl Killer {
    pub(super) fn new(pid: Pid, spec: &ProcessSpec) -> Self {
        Self {
            pid,
            interrupt_signal: spec.interrupt_signal,
            sigterm_time: spec.sigterm_time_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok()),
            phase: None,
        }
    }

    /// Whether the command is being killed.
    pub(super) fn is_active(&self) -> bool {
        self.phase.is_some()
    }

    /// Begins to kill, and says why.
    pub(super) fn begin(&mut self, reason: Reason, spec: &ProcessSpec, exited: bool, reporter: &mut Reporter) {
        if self.is_active() {
            return;
        }
        announce(reason, spec, reporter);
        match self.sigterm_time {
            Some(time) if !exited => {
                self.signal(Signal::SIGTERM);
                self.phase = Some(Phase::Term { until: Instant::now() + time });
            }
            _ => self.final_signal(self.interrupt_signal),
        }
        if exited {
            self.exited();
        }
    }

    /// The direct child is gone: nothing of its group may stay.
    pub(super) fn exited(&mut self) {
        if self.is_active() {
            // No process left in the group is the normal case.
            let _ = killpg(self.pid, Signal::SIGKILL);
            self.phase = Some(Phase::Draining { until: Instant::now() + DRAIN_TIMEOUT });
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.phase.map(|phase| match phase {
            Phase::Term { until } | Phase::Signalled { until, .. } | Phase::Draining { until } => until,
        })
    }

    /// To be called when the deadline has passed.
    pub(super) fn tick(&mut self) -> Due {
        match self.phase {
            Some(Phase::Term { .. }) => {
                self.final_signal(self.interrupt_signal);
                Due::Wait
            }
            // A signal that a program can ignore has been ignored.
            Some(Phase::Signalled { signal, .. }) if signal != Signal::SIGKILL => {
                self.final_signal(Signal::SIGKILL);
                Due::Wait
            }
            Some(Phase::Signalled { .. }) => Due::GiveUp,
            Some(Phase::Draining { .. }) => Due::StopReading,
            None => Due::Wait,
        }
    }

    fn final_signal(&mut self, signal: Signal) {
        self.signal(signal);
        self.phase = Some(Phase::Signalled { signal, until: Instant::now() + KILL_TIMEOUT });
    }

    /// To the group, and to the process itself in case it has left the group.
    fn signal(&self, signal: Signal) {
        if let Err(error) = killpg(self.pid, signal)
            && let Err(error2) = kill(self.pid, signal)
        {
            tracing::debug!(pid = self.pid.as_raw(), %error, %error2, "nothing to signal");
        }
    }
}

fn announce(reason: Reason, spec: &ProcessSpec, reporter: &mut Reporter) {
    let repr = headers::command_repr(&spec.command);
    let (failure_reason, text) = match reason {
        Reason::Silence => (
            Some("timeout_without_output"),
            format!(
                "command timed out: {} seconds without output running {repr}",
                python::number(spec.timeout_secs.unwrap_or_default())
            ),
        ),
        Reason::MaxTime => (
            Some("timeout"),
            format!(
                "command timed out: {} seconds elapsed running {repr}",
                python::number(spec.max_time_secs.unwrap_or_default())
            ),
        ),
        Reason::MaxLines(seen) => (
            Some("max_lines_failure"),
            format!(
                "command exceeds max lines: {seen}/{} written/allowed running {repr}",
                spec.max_lines.unwrap_or_default()
            ),
        ),
        Reason::Interrupt => (None, "command interrupted".to_owned()),
        Reason::ConnectionLost => (None, "connection to master lost".to_owned()),
    };
    if let Some(reason) = failure_reason {
        reporter.push(CommandUpdate::FailureReason(reason.to_owned()));
    }
    reporter.header(&format!("\n{text}, attempting to kill\n"));
}
