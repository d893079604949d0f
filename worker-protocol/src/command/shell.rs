//! The arguments of `shell`.

use rmpv::Value;

use super::args::{Args, MapBuilder};
use super::{CommandError, seconds};
use crate::codec;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellCommand {
    /// A line for `/bin/sh -c`.
    Line(String),
    /// A program, searched in `PATH`, and its arguments.
    Argv(Vec<String>),
}

/// What happens to one variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// It is removed.
    Unset,
    /// It is set.
    Text(String),
    /// It is set to the items, joined by the path separator.
    List(Vec<String>),
}

/// A file that is watched while the command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The log's name.
    pub name: String,
    /// The path, relative to the work directory.
    pub filename: String,
    /// Send only what is written after the start.
    pub follow: bool,
    /// Whether the argument was a map rather than just a path; decides how the worker shows it.
    pub as_map: bool,
}

/// The arguments of `shell`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShellArgs {
    /// What is run.
    pub command: ShellCommand,
    /// Where; an absolute path, made if it is missing.
    pub workdir: String,
    /// Changes to the worker's environment.
    pub env: Vec<(String, EnvValue)>,
    /// Seconds without output until the kill.
    pub timeout_secs: Option<f64>,
    /// Seconds until the kill.
    pub max_time_secs: Option<f64>,
    /// Lines until the kill.
    pub max_lines: Option<u64>,
    /// Send SIGTERM first, and the other signal that many seconds later.
    pub sigterm_time_secs: Option<f64>,
    /// The signal that kills, without `SIG`.
    pub interrupt_signal: String,
    /// Send the standard output.
    pub want_stdout: bool,
    /// Send the standard error.
    pub want_stderr: bool,
    /// Watched files.
    pub logfiles: Vec<LogFile>,
    /// Run on a terminal.
    pub use_pty: bool,
    /// Show the environment.
    pub log_environ: bool,
    /// What the program reads.
    pub initial_stdin: Option<String>,
}

impl ShellArgs {
    /// A command with the values of a stock master's `ShellCommand`.
    #[must_use]
    pub fn new(command: ShellCommand, workdir: impl Into<String>) -> Self {
        Self {
            command,
            workdir: workdir.into(),
            env: Vec::new(),
            timeout_secs: Some(1200.0),
            max_time_secs: None,
            max_lines: None,
            sigterm_time_secs: None,
            interrupt_signal: "KILL".to_owned(),
            want_stdout: true,
            want_stderr: true,
            logfiles: Vec::new(),
            use_pty: false,
            log_environ: true,
            initial_stdin: None,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let mut map = MapBuilder::default();
        map.put("workdir", self.workdir.as_str());
        map.put("env", Value::Map(self.env.iter().map(|(k, v)| (Value::from(k.as_str()), v.to_value())).collect()));
        map.put("want_stdout", self.want_stdout);
        map.put("want_stderr", self.want_stderr);
        map.put("logfiles", Value::Map(self.logfiles.iter().map(LogFile::to_entry).collect()));
        map.put("timeout", seconds(self.timeout_secs));
        map.put("maxTime", seconds(self.max_time_secs));
        map.put("max_lines", self.max_lines.map_or(Value::Nil, Value::from));
        map.put("sigtermTime", seconds(self.sigterm_time_secs));
        map.put("usePTY", self.use_pty);
        map.put("logEnviron", self.log_environ);
        map.put("initial_stdin", self.initial_stdin.as_deref().map_or(Value::Nil, Value::from));
        map.put("interruptSignal", self.interrupt_signal.as_str());
        map.put(
            "command",
            match &self.command {
                ShellCommand::Line(line) => Value::from(line.as_str()),
                ShellCommand::Argv(argv) => super::texts(argv),
            },
        );
        map.finish()
    }

    pub(super) fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        args.require(&["workdir", "command"])?;
        let use_pty = match codec::get(args.map, "usePTY") {
            None => false,
            Some(Value::Boolean(b)) => *b,
            Some(other) => {
                return Err(CommandError::Invalid {
                    class: "AssertionError",
                    message: format!(
                        "Unexpected usePTY argument value: {}. Expected boolean.",
                        codec::text(other).map_or_else(|| other.to_string(), |text| format!("'{text}'"))
                    ),
                });
            }
        };
        Ok(Self {
            command: parse_command(args)?,
            workdir: args.text("workdir")?,
            env: parse_env(args)?,
            timeout_secs: args.seconds("timeout")?,
            max_time_secs: args.seconds("maxTime")?,
            max_lines: args.uint("max_lines")?,
            sigterm_time_secs: args.seconds("sigtermTime")?,
            interrupt_signal: args.optional_text("interruptSignal")?.unwrap_or_else(|| "KILL".to_owned()),
            want_stdout: args.truth("want_stdout", true),
            want_stderr: args.truth("want_stderr", true),
            logfiles: parse_logfiles(args)?,
            use_pty,
            log_environ: args.truth("logEnviron", true),
            initial_stdin: args.optional_text("initial_stdin")?,
        })
    }
}

impl EnvValue {
    fn to_value(&self) -> Value {
        match self {
            Self::Unset => Value::Nil,
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(items) => super::texts(items),
        }
    }
}

impl LogFile {
    fn to_entry(&self) -> (Value, Value) {
        let value = if self.as_map {
            let mut map = MapBuilder::default();
            map.put("filename", self.filename.as_str());
            map.put("follow", self.follow);
            map.finish()
        } else {
            Value::from(self.filename.as_str())
        };
        (Value::from(self.name.as_str()), value)
    }
}

fn parse_command(args: &Args<'_>) -> Result<ShellCommand, CommandError> {
    let value = args.get("command").ok_or_else(|| args.invalid("command"))?;
    if let Some(line) = codec::text(value) {
        return Ok(ShellCommand::Line(line));
    }
    let items = value.as_array().ok_or_else(|| args.invalid("command"))?;
    items
        .iter()
        .map(|item| codec::text(item).or_else(|| obfuscated(item)).ok_or_else(|| args.invalid("command")))
        .collect::<Result<_, _>>()
        .map(ShellCommand::Argv)
}

/// `("obfuscated", real, shown)` is not part of this protocol. Showing or running the list's text, as the stock
/// worker does, would print the secret into the log; running the real argument unhidden would do the same. A number
/// is run as its text.
fn obfuscated(item: &Value) -> Option<String> {
    match item {
        Value::Integer(i) => Some(i.to_string()),
        _ => None,
    }
}

fn parse_env(args: &Args<'_>) -> Result<Vec<(String, EnvValue)>, CommandError> {
    let Some(value) = args.get("env") else {
        return Ok(Vec::new());
    };
    let entries = value.as_map().ok_or_else(|| args.invalid("env"))?;
    let mut env = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(key) = codec::text(key) else {
            return Err(args.invalid("env"));
        };
        let bad = || CommandError::Invalid {
            class: "RuntimeError",
            message: format!("'env' values must be strings or lists; key '{key}' is incorrect"),
        };
        let value = match value {
            Value::Nil if key == "PYTHONPATH" => return Err(bad()),
            Value::Nil => EnvValue::Unset,
            Value::Array(items) => {
                EnvValue::List(items.iter().map(|i| codec::text(i).ok_or_else(bad)).collect::<Result<_, _>>()?)
            }
            other => EnvValue::Text(codec::text(other).ok_or_else(bad)?),
        };
        env.push((key, value));
    }
    Ok(env)
}

fn parse_logfiles(args: &Args<'_>) -> Result<Vec<LogFile>, CommandError> {
    let Some(value) = args.get("logfiles") else {
        return Ok(Vec::new());
    };
    let entries = value.as_map().ok_or_else(|| args.invalid("logfiles"))?;
    let mut files = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let name = codec::text(name).ok_or_else(|| args.invalid("logfiles"))?;
        let (filename, follow, as_map) = match codec::text(value) {
            Some(path) => (path, false, false),
            None => {
                let path = codec::get(value, "filename").and_then(codec::text);
                let nested = Args { class: args.class, map: value };
                (path.ok_or_else(|| args.invalid("logfiles"))?, nested.truth("follow", false), true)
            }
        };
        files.push(LogFile { name, filename, follow, as_map });
    }
    Ok(files)
}
