//! What a running command tells: output, exit code, and the rest.

use rmpv::Value;

use crate::codec::{self, Reader, Writer};
use crate::error::DecodeError;

/// One or more whole lines of output.
///
/// `text` ends with a newline. The stock worker sends `times` that are shorter than `positions` in some cases, so the
/// two must never be taken as pairs blindly; [`LogText::time_of`] is safe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogText {
    /// The lines, each with its newline.
    pub text: String,
    /// The index of each newline in `text`, counted in characters (code points).
    pub positions: Vec<u32>,
    /// When the first character of each line arrived: Unix time in seconds.
    pub times: Vec<f64>,
}

impl LogText {
    /// Lines that all arrived at one time. A newline is added if the text does not end with one.
    #[must_use]
    pub fn at(text: impl Into<String>, time: f64) -> Self {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let positions: Vec<u32> = text.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(i, _)| i as u32).collect();
        let times = vec![time; positions.len()];
        Self { text, positions, times }
    }

    /// The number of lines, counted in the text itself.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.text.bytes().filter(|b| *b == b'\n').count()
    }

    /// When a line arrived: its own time, or the last one known.
    #[must_use]
    pub fn time_of(&self, line: usize) -> Option<f64> {
        self.times.get(line).or(self.times.last()).copied()
    }

    fn encode(&self, w: &mut Writer) {
        w.array(3);
        w.str(&self.text);
        w.array(self.positions.len());
        for position in &self.positions {
            w.uint((*position).into());
        }
        w.array(self.times.len());
        for time in &self.times {
            w.f64(*time);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if matches!(r.peek_type()?, "string" | "binary") {
            // Just the text, as on the other protocol.
            return Ok(Self { text: r.text()?.into_owned(), ..Self::default() });
        }
        let items = r.array_len()?;
        if items == 0 {
            return Ok(Self::default());
        }
        let text = r.text()?.into_owned();
        let (mut positions, mut times) = (Vec::new(), Vec::new());
        if items > 1 && !r.take_nil() {
            let len = r.array_len()?;
            positions.reserve_exact(len);
            for _ in 0..len {
                positions.push(u32::try_from(r.int()?).map_err(|_| DecodeError::IntegerRange)?);
            }
        }
        if items > 2 && !r.take_nil() {
            let len = r.array_len()?;
            times.reserve_exact(len);
            for _ in 0..len {
                times.push(r.f64()?);
            }
        }
        for _ in 3..items {
            r.skip()?;
        }
        Ok(Self { text, positions, times })
    }
}

/// One item of an `update` request. Their order matters, and kinds repeat.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CommandUpdate {
    /// Lines of standard output.
    Stdout(LogText),
    /// Lines of standard error.
    Stderr(LogText),
    /// Lines that the worker itself has to say about the command.
    Header(LogText),
    /// Lines of a watched log file.
    Log {
        /// The log's name, a key of the command's `logfiles`.
        name: String,
        /// The lines.
        text: LogText,
    },
    /// The exit code; -1 if a signal ended the command.
    Rc(i64),
    /// How long the command took, in seconds.
    Elapsed(f64),
    /// Why the worker killed the command: `timeout`, `timeout_without_output`, `max_lines_failure`.
    FailureReason(String),
    /// Names of files (`glob`, `listdir`).
    Files(Vec<String>),
    /// What `stat` found: mode, ino, dev, nlink, uid, gid, size, atime, mtime, ctime.
    Stat(Vec<i64>),
    /// A kind that this version does not know, kept as it came.
    Other {
        /// The kind.
        key: String,
        /// The value.
        value: Value,
    },
}

impl CommandUpdate {
    /// The kind's name on the wire.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Stdout(_) => "stdout",
            Self::Stderr(_) => "stderr",
            Self::Header(_) => "header",
            Self::Log { .. } => "log",
            Self::Rc(_) => "rc",
            Self::Elapsed(_) => "elapsed",
            Self::FailureReason(_) => "failure_reason",
            Self::Files(_) => "files",
            Self::Stat(_) => "stat",
            Self::Other { key, .. } => key,
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.str(self.key());
        match self {
            Self::Stdout(text) | Self::Stderr(text) | Self::Header(text) => text.encode(w),
            Self::Log { name, text } => {
                w.array(2);
                w.str(name);
                text.encode(w);
            }
            Self::Rc(rc) => w.int(*rc),
            Self::Elapsed(seconds) => w.f64(*seconds),
            Self::FailureReason(reason) => w.str(reason),
            Self::Files(names) => {
                w.array(names.len());
                names.iter().for_each(|name| w.str(name));
            }
            Self::Stat(numbers) => {
                w.array(numbers.len());
                numbers.iter().for_each(|number| w.int(*number));
            }
            Self::Other { value, .. } => w.value(value),
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let items = r.array_len()?;
        if items != 2 {
            return Err(DecodeError::UnexpectedType { expected: "pair", found: "array" });
        }
        let key = r.text()?;
        Ok(match key.as_ref() {
            "stdout" => Self::Stdout(LogText::decode(r).map_err(|e| e.in_field("stdout"))?),
            "stderr" => Self::Stderr(LogText::decode(r).map_err(|e| e.in_field("stderr"))?),
            "header" => Self::Header(LogText::decode(r).map_err(|e| e.in_field("header"))?),
            "log" => Self::decode_log(r).map_err(|e| e.in_field("log"))?,
            "rc" => Self::Rc(r.int().map_err(|e| e.in_field("rc"))?),
            "elapsed" => Self::Elapsed(r.f64().map_err(|e| e.in_field("elapsed"))?),
            "failure_reason" => Self::FailureReason(r.text()?.into_owned()),
            "files" => Self::Files(decode_list(r, |r| Ok(r.text()?.into_owned())).map_err(|e| e.in_field("files"))?),
            "stat" => Self::Stat(decode_list(r, stat_number).map_err(|e| e.in_field("stat"))?),
            _ => Self::Other { key: key.into_owned(), value: r.value()? },
        })
    }

    fn decode_log(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.array_len()? != 2 {
            return Err(DecodeError::UnexpectedType { expected: "pair", found: "array" });
        }
        Ok(Self::Log { name: r.text()?.into_owned(), text: LogText::decode(r)? })
    }
}

/// File systems give inode and device numbers of 64 bits without a sign.
fn stat_number(r: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let value = r.value()?;
    value
        .as_i64()
        .or_else(|| value.as_u64().map(|u| u as i64))
        .or_else(|| value.as_f64().map(|f| f as i64))
        .ok_or_else(|| DecodeError::UnexpectedType { expected: "integer", found: codec::type_name(&value) })
}

fn decode_list<T>(
    r: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let len = r.array_len()?;
    let mut items = Vec::with_capacity(len.min(4096));
    for _ in 0..len {
        items.push(item(r)?);
    }
    Ok(items)
}
