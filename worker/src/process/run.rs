//! The life of one program: its output, its limits and its end.
//!
//! Everything happens in one loop, so that the order of what is told is the order of what happened. The loop never
//! waits for the master with its timers stopped: while output cannot be sent it reads no more of it (the program then
//! blocks on its full pipe), but limits and interrupts still work.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};
use worker_protocol::{CommandUpdate, ShellCommand};

use super::kill::{Due, Killer, Reason};
use super::logfile::Watcher;
use super::spawn::{self, Reader, Spawned};
use super::{Outcome, ProcessSpec, headers};
use crate::command::Control;
use crate::output::{LineStream, Reporter, Stream, unix_now};
use crate::python;

/// How often watched files are looked at.
const LOGFILE_INTERVAL: Duration = Duration::from_secs(2);

/// The size of a pipe on Linux: no read gives more.
const READ_AT_ONCE: usize = 64 * 1024;

/// Longer than any command runs; keeps additions to the clock from overflowing.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs a program to its end, telling everything but `elapsed` and `complete`.
pub(crate) async fn run(spec: &ProcessSpec, control: &Control, reporter: &mut Reporter) -> Outcome {
    if spec.command == ShellCommand::Argv(Vec::new()) {
        let failure = python::failure("IndexError", "list index out of range");
        return Outcome { rc: -1, failure: Some(failure) };
    }
    if let Err(error) = tokio::fs::create_dir_all(&spec.workdir).await {
        let (class, message) = python::os_error(&error, &spec.workdir.to_string_lossy());
        return Outcome { rc: -1, failure: Some(python::failure(class, &message)) };
    }
    let use_pty = spec.use_pty && spec.initial_stdin.is_none();
    headers::begin(spec, use_pty, reporter);
    let mut watchers = Vec::with_capacity(spec.logfiles.len());
    for file in &spec.logfiles {
        watchers.push(Watcher::new(file, &spec.workdir, reporter.max_line_length()).await);
    }
    let started = Instant::now();
    let (rc, failure) = match spawn::spawn(spec, use_pty) {
        Ok(spawned) => Running::new(spec, spawned, started, reporter).run(control, &mut watchers, reporter).await,
        Err(error) => {
            not_started(spec, &error, reporter);
            (1, None)
        }
    };
    for watcher in &mut watchers {
        watcher.finish(reporter).await;
    }
    if spec.send_rc {
        reporter.push(CommandUpdate::Rc(rc.into()));
    }
    reporter.header(&format!("elapsedTime={:.6}", started.elapsed().as_secs_f64()));
    Outcome { rc, failure }
}

fn not_started(spec: &ProcessSpec, error: &std::io::Error, reporter: &mut Reporter) {
    let program = match &spec.command {
        ShellCommand::Line(_) => "/bin/sh",
        ShellCommand::Argv(argv) => argv.first().map_or("", String::as_str),
    };
    let (class, _) = python::os_error(error, program);
    let text = format!(
        "Upon execvpe {} {}\n{class}: [Errno {}] {}: {}",
        python::bytes_repr(program.as_bytes()),
        headers::command_repr(&spec.command),
        python::errno(error),
        python::strerror(error),
        python::bytes_repr(program.as_bytes()),
    );
    reporter.text(&Stream::Stderr, &text);
}

/// One of the program's streams.
struct Output {
    /// Nothing once the stream has ended.
    reader: Option<Reader>,
    lines: LineStream,
    wanted: bool,
    buf: Vec<u8>,
    /// The last character was `\r`: a `\n` right after it is no line of its own.
    after_cr: bool,
}

impl Output {
    fn new(reader: Option<Reader>, stream: Stream, wanted: bool, max_line_length: u64) -> Self {
        let lines = LineStream::new(stream, max_line_length);
        Self { reader, lines, wanted, buf: vec![0; READ_AT_ONCE], after_cr: false }
    }

    /// Reads once. Zero is the end. Cancel safe: yes, as the read is.
    async fn read(&mut self) -> usize {
        let Some(reader) = &mut self.reader else { return std::future::pending().await };
        // A terminal whose other end was closed gives an error instead of an end.
        reader.read(&mut self.buf).await.unwrap_or(0)
    }

    /// How many lines the first bytes of the buffer hold, as limits count them.
    fn count_lines(&mut self, len: usize) -> u64 {
        let mut count = 0;
        for byte in &self.buf[..len] {
            match byte {
                b'\r' => count += 1,
                b'\n' if !self.after_cr => count += 1,
                _ => {}
            }
            self.after_cr = *byte == b'\r';
        }
        count
    }

    fn end(&mut self, reporter: &mut Reporter) {
        if self.reader.take().is_some() {
            self.lines.finish(unix_now(), reporter);
        }
    }
}

struct Running<'a> {
    spec: &'a ProcessSpec,
    spawned: Spawned,
    killer: Killer,
    stdout: Output,
    stderr: Output,
    exit: Option<ExitStatus>,
    started: Instant,
    last_output: Instant,
    next_look: Option<Instant>,
    lines_seen: u64,
    given_up: bool,
}

impl<'a> Running<'a> {
    fn new(spec: &'a ProcessSpec, mut spawned: Spawned, started: Instant, reporter: &Reporter) -> Self {
        let max = reporter.max_line_length();
        Self {
            spec,
            killer: Killer::new(spawned.pid, spec),
            stdout: Output::new(spawned.stdout.take(), Stream::Stdout, spec.want_stdout, max),
            stderr: Output::new(spawned.stderr.take(), Stream::Stderr, spec.want_stderr, max),
            spawned,
            exit: None,
            started,
            last_output: Instant::now(),
            next_look: (!spec.logfiles.is_empty()).then(|| Instant::now() + LOGFILE_INTERVAL),
            lines_seen: 0,
            given_up: false,
        }
    }

    async fn run(
        mut self,
        control: &Control,
        watchers: &mut [Watcher],
        reporter: &mut Reporter,
    ) -> (i32, Option<String>) {
        let text = self.spec.initial_stdin.as_deref().unwrap_or_default();
        let stdin = self.spawned.stdin.take();
        let mut write_stdin = std::pin::pin!(async move {
            match stdin {
                Some(stdin) => spawn::write_stdin(stdin, text).await,
                None => std::future::pending().await,
            }
        });
        let mut stdin_written = false;
        while !self.is_over() {
            let may_read = !reporter.is_blocked();
            let deadline = self.next_deadline(reporter);
            tokio::select! {
                () = reporter.drain(), if reporter.is_blocked() => {
                    // The program may have been blocked all the while.
                    self.last_output = Instant::now();
                }
                () = control.interrupted(), if self.spec.interruptible && !self.killer.is_active() => {
                    reporter.flush();
                    self.kill(Reason::Interrupt, reporter);
                }
                () = control.lost(), if !self.killer.is_active() => self.kill(Reason::ConnectionLost, reporter),
                status = self.spawned.child.wait(), if self.exit.is_none() => {
                    self.exit = Some(status.unwrap_or_default());
                    self.killer.exited();
                }
                len = self.stdout.read(), if may_read && self.stdout.reader.is_some() => {
                    self.take_output(len, true, reporter);
                }
                len = self.stderr.read(), if may_read && self.stderr.reader.is_some() => {
                    self.take_output(len, false, reporter);
                }
                () = &mut write_stdin, if !stdin_written => stdin_written = true,
                () = sleep_until(deadline) => self.on_deadline(watchers, reporter).await,
            }
        }
        self.stdout.end(reporter);
        self.stderr.end(reporter);
        self.result(reporter)
    }

    fn is_over(&self) -> bool {
        self.given_up || (self.exit.is_some() && self.stdout.reader.is_none() && self.stderr.reader.is_none())
    }

    fn take_output(&mut self, len: usize, is_stdout: bool, reporter: &mut Reporter) {
        let output = if is_stdout { &mut self.stdout } else { &mut self.stderr };
        if len == 0 {
            output.end(reporter);
            return;
        }
        self.last_output = Instant::now();
        if !output.wanted {
            return;
        }
        if let Some(max_lines) = self.spec.max_lines {
            self.lines_seen += output.count_lines(len);
            if self.lines_seen > max_lines {
                // The reason is told before the output that broke the limit.
                self.kill(Reason::MaxLines(self.lines_seen), reporter);
            }
        }
        let output = if is_stdout { &mut self.stdout } else { &mut self.stderr };
        output.lines.feed(&output.buf[..len], unix_now(), reporter);
    }

    fn kill(&mut self, reason: Reason, reporter: &mut Reporter) {
        self.killer.begin(reason, self.spec, self.exit.is_some(), reporter);
    }

    fn silence_deadline(&self) -> Option<Instant> {
        let secs = self.spec.timeout_secs.filter(|_| !self.killer.is_active())?;
        self.last_output.checked_add(duration(secs))
    }

    fn max_time_deadline(&self) -> Option<Instant> {
        let secs = self.spec.max_time_secs.filter(|_| !self.killer.is_active())?;
        self.started.checked_add(duration(secs))
    }

    fn next_deadline(&self, reporter: &Reporter) -> Instant {
        let blocked = reporter.is_blocked();
        [
            self.silence_deadline().filter(|_| !blocked),
            self.max_time_deadline(),
            self.killer.deadline(),
            self.next_look.filter(|_| !blocked),
            reporter.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| Instant::now() + FOREVER)
    }

    async fn on_deadline(&mut self, watchers: &mut [Watcher], reporter: &mut Reporter) {
        let now = Instant::now();
        reporter.flush_if_due();
        if self.next_look.is_some_and(|at| at <= now) && !reporter.is_blocked() {
            let mut more = false;
            for watcher in watchers {
                more |= watcher.read(reporter).await;
            }
            if more {
                self.last_output = Instant::now();
            }
            self.next_look = Some(if more { now } else { now + LOGFILE_INTERVAL });
        }
        if self.max_time_deadline().is_some_and(|at| at <= now) {
            self.kill(Reason::MaxTime, reporter);
        } else if self.silence_deadline().is_some_and(|at| at <= now) && !reporter.is_blocked() {
            self.kill(Reason::Silence, reporter);
        } else if self.killer.deadline().is_some_and(|at| at <= now) {
            match self.killer.tick() {
                Due::Wait => {}
                Due::GiveUp => self.given_up = true,
                Due::StopReading => {
                    self.stdout.end(reporter);
                    self.stderr.end(reporter);
                }
            }
        }
    }

    fn result(self, reporter: &mut Reporter) -> (i32, Option<String>) {
        use std::os::unix::process::ExitStatusExt as _;
        let Some(exit) = self.exit else {
            reporter.header("SIGKILL failed to kill process");
            reporter.header("using fake rc=-1");
            let failure = python::failure("RuntimeError", "SIGKILL failed to kill process");
            return (-1, Some(failure));
        };
        if let Some(signal) = exit.signal() {
            reporter.header(&format!("process killed by signal {signal}"));
            return (-1, None);
        }
        match exit.code() {
            // A program that was killed did not succeed.
            Some(0) if self.killer.is_active() => (-1, None),
            Some(code) => (code, None),
            None => (-1, None),
        }
    }
}

fn duration(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(FOREVER).min(FOREVER)
}
