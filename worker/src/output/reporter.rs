//! Collects what a command has to tell and sends it in messages of a sensible size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use worker_protocol::{CommandId, CommandUpdate, LogText, Rpc, WorkerRequest, WorkerSettings};

use super::unix_now;

/// The charge for each line beside its characters, and for each item that is no text: the protocol's measure.
const LINE_COST: u64 = 16;
const ITEM_COST: u64 = 20;

/// Where lines belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Header,
    Log(Arc<str>),
}

/// The way of one command's news to the master.
///
/// Buffers up to the size and the age that the master has set. Full buffers wait in an outbox until the connection
/// takes them ([`Reporter::drain`]); whoever produces output looks at [`Reporter::is_blocked`] and produces no more
/// while the outbox has something, so that a slow master slows the command and not the worker's memory.
pub(crate) struct Reporter {
    rpc: Rpc<WorkerRequest>,
    command_id: CommandId,
    buffer_size: u64,
    buffer_timeout: Duration,
    max_line_length: u64,
    items: Vec<CommandUpdate>,
    cost: u64,
    oldest: Option<Instant>,
    outbox: VecDeque<WorkerRequest>,
    lost: bool,
}

impl Reporter {
    pub(crate) fn new(rpc: Rpc<WorkerRequest>, command_id: CommandId, settings: &WorkerSettings) -> Self {
        let timeout = Duration::try_from_secs_f64(settings.buffer_timeout_secs).unwrap_or(Duration::from_secs(5));
        Self {
            rpc,
            command_id,
            buffer_size: settings.buffer_size,
            buffer_timeout: timeout.min(Duration::from_secs(3600)),
            max_line_length: settings.max_line_length,
            items: Vec::new(),
            cost: 0,
            oldest: None,
            outbox: VecDeque::new(),
            lost: false,
        }
    }

    pub(crate) fn command_id(&self) -> &CommandId {
        &self.command_id
    }

    pub(crate) fn rpc(&self) -> &Rpc<WorkerRequest> {
        &self.rpc
    }

    pub(crate) fn max_line_length(&self) -> u64 {
        self.max_line_length
    }

    /// Adds one line; `line` has no newline.
    pub(crate) fn line(&mut self, stream: &Stream, line: &str, chars: usize, time: f64) {
        if self.lost {
            return;
        }
        self.charge(chars as u64 + 1 + LINE_COST);
        let text = self.text_of(stream);
        let start = text.positions.last().map_or(0, |last| last + 1);
        text.text.push_str(line);
        text.text.push('\n');
        text.positions.push(start.saturating_add(u32::try_from(chars).unwrap_or(u32::MAX)));
        text.times.push(time);
    }

    /// Adds one or more lines of the worker's own; a missing newline at the end is added.
    pub(crate) fn header(&mut self, text: &str) {
        self.text(&Stream::Header, text);
    }

    /// Adds one or more lines; a missing newline at the end is added.
    pub(crate) fn text(&mut self, stream: &Stream, text: &str) {
        let time = unix_now();
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.line(stream, line, line.chars().count(), time);
        }
    }

    /// Adds what is no text.
    pub(crate) fn push(&mut self, update: CommandUpdate) {
        if self.lost {
            return;
        }
        self.charge(ITEM_COST);
        self.items.push(update);
    }

    /// When the buffer is to be flushed because of its age.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + self.buffer_timeout)
    }

    /// Closes the buffer: its content is to leave now.
    pub(crate) fn flush(&mut self) {
        self.cost = 0;
        self.oldest = None;
        if !self.items.is_empty() {
            let updates = std::mem::take(&mut self.items);
            self.outbox.push_back(WorkerRequest::Update { command_id: self.command_id.clone(), updates });
        }
    }

    /// Flushes if the buffer is old enough.
    pub(crate) fn flush_if_due(&mut self) {
        if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.flush();
        }
    }

    /// Whether something waits to be sent; no more should be produced.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether the connection is gone: whatever is added is dropped.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Sends what waits. Cancel safe: yes, a message leaves the outbox only when it was sent, with no waiting in
    /// between.
    pub(crate) async fn drain(&mut self) {
        while let Some(request) = self.outbox.front() {
            if self.rpc.send(request).await.is_err() {
                self.lost = true;
                self.outbox.clear();
                self.items.clear();
                return;
            }
            self.outbox.pop_front();
        }
    }

    /// Sends everything and the command's end.
    pub(crate) async fn finish(mut self, failure: Option<String>) {
        self.flush();
        self.drain().await;
        if !self.lost {
            // The answer does not matter: there is nothing left to say about this command.
            let _ = self.rpc.send(&WorkerRequest::Complete { command_id: self.command_id, failure }).await;
        }
    }

    fn charge(&mut self, cost: u64) {
        if !self.items.is_empty() && self.cost.saturating_add(cost) > self.buffer_size {
            self.flush();
        }
        self.cost = self.cost.saturating_add(cost);
        self.oldest.get_or_insert_with(Instant::now);
    }

    /// The text at the buffer's end, if it belongs to this stream, else a new one.
    fn text_of(&mut self, stream: &Stream) -> &mut LogText {
        let joins = match (self.items.last(), stream) {
            (Some(CommandUpdate::Stdout(_)), Stream::Stdout)
            | (Some(CommandUpdate::Stderr(_)), Stream::Stderr)
            | (Some(CommandUpdate::Header(_)), Stream::Header) => true,
            (Some(CommandUpdate::Log { name, .. }), Stream::Log(wanted)) => **name == **wanted,
            _ => false,
        };
        if !joins {
            let text = LogText::default();
            self.items.push(match stream {
                Stream::Stdout => CommandUpdate::Stdout(text),
                Stream::Stderr => CommandUpdate::Stderr(text),
                Stream::Header => CommandUpdate::Header(text),
                Stream::Log(name) => CommandUpdate::Log { name: name.to_string(), text },
            });
        }
        match self.items.last_mut() {
            Some(
                CommandUpdate::Stdout(text)
                | CommandUpdate::Stderr(text)
                | CommandUpdate::Header(text)
                | CommandUpdate::Log { text, .. },
            ) => text,
            _ => unreachable!("the last item is the text that was found or pushed above"),
        }
    }
}
