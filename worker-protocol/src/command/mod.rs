//! The worker's commands with their arguments, in their MessagePack form.

mod args;
mod id;
mod shell;

use rmpv::Value;
use thiserror::Error;

use args::{Args, MapBuilder};
pub use id::CommandId;
pub use shell::{EnvValue, LogFile, ShellArgs, ShellCommand};

/// Why a start request does not become a command.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No such command: the start request fails.
    #[error("(command {id}): unrecognized WorkerCommand '{name}'")]
    Unknown {
        /// The command's id.
        id: String,
        /// The name that was asked for.
        name: String,
    },
    /// A required argument is missing: the start request fails.
    #[error("{class} is missing args: {keys}")]
    Missing {
        /// What misses it.
        class: &'static str,
        /// The arguments' names, with commas.
        keys: String,
    },
    /// An argument has a value that cannot be used: the command starts, and ends at once with this failure.
    #[error("{message}")]
    Invalid {
        /// The name of Python's exception class, as the stock worker shows it.
        class: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// A command for a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Runs a program.
    Shell(ShellArgs),
    /// Makes directories with their parents.
    Mkdir {
        /// Absolute paths.
        paths: Vec<String>,
    },
    /// Removes files and directories.
    Rmdir {
        /// Absolute paths.
        paths: Vec<String>,
        /// How the program that does it is run.
        limits: RunLimits,
    },
    /// Copies a directory.
    Cpdir {
        /// The absolute path to copy.
        from_path: String,
        /// The absolute path of the copy.
        to_path: String,
        /// How the program that does it is run.
        limits: RunLimits,
    },
    /// Looks at a file.
    Stat {
        /// The absolute path.
        path: String,
    },
    /// Finds files by a pattern.
    Glob {
        /// The absolute pattern.
        path: String,
    },
    /// Lists a directory.
    Listdir {
        /// The absolute path.
        path: String,
    },
    /// Removes a file.
    Rmfile {
        /// The absolute path.
        path: String,
    },
    /// Sends a file to the master.
    UploadFile {
        /// The absolute path.
        path: String,
        /// Stop after that many bytes.
        max_size: Option<u64>,
        /// The largest block in bytes.
        block_size: u64,
        /// Send the file's times too.
        keepstamp: bool,
    },
    /// Sends a directory to the master, as an archive.
    UploadDirectory {
        /// The absolute path.
        path: String,
        /// Stop after that many bytes.
        max_size: Option<u64>,
        /// The largest block in bytes.
        block_size: u64,
        /// How the archive is compressed: `gz`, `bz2` or not.
        compress: Option<String>,
    },
    /// Fetches a file from the master.
    DownloadFile {
        /// The absolute path.
        path: String,
        /// Stop after that many bytes.
        max_size: Option<u64>,
        /// The largest block in bytes.
        block_size: u64,
        /// The file's permission bits.
        mode: Option<u32>,
    },
}

/// How `rm` and `cp` are run for the commands that use them.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLimits {
    /// Show the environment; workers do unless told otherwise.
    pub log_environ: bool,
    /// Seconds without output until the kill.
    pub timeout_secs: Option<f64>,
    /// Seconds until the kill.
    pub max_time_secs: Option<f64>,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { log_environ: true, timeout_secs: Some(120.0), max_time_secs: None }
    }
}

impl Command {
    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shell(_) => "shell",
            Self::Mkdir { .. } => "mkdir",
            Self::Rmdir { .. } => "rmdir",
            Self::Cpdir { .. } => "cpdir",
            Self::Stat { .. } => "stat",
            Self::Glob { .. } => "glob",
            Self::Listdir { .. } => "listdir",
            Self::Rmfile { .. } => "rmfile",
            Self::UploadFile { .. } => "upload_file",
            Self::UploadDirectory { .. } => "upload_directory",
            Self::DownloadFile { .. } => "download_file",
        }
    }

    /// The arguments as a master sends them.
    #[must_use]
    pub fn to_args(&self) -> Value {
        let mut map = MapBuilder::default();
        match self {
            Self::Shell(args) => return args.to_value(),
            Self::Mkdir { paths } => map.put("paths", texts(paths)),
            Self::Rmdir { paths, limits } => {
                map.put("paths", texts(paths));
                limits.put(&mut map);
            }
            Self::Cpdir { from_path, to_path, limits } => {
                map.put("from_path", from_path.as_str());
                map.put("to_path", to_path.as_str());
                limits.put(&mut map);
            }
            Self::Stat { path } | Self::Glob { path } | Self::Listdir { path } | Self::Rmfile { path } => {
                map.put("path", path.as_str());
            }
            Self::UploadFile { path, max_size, block_size, keepstamp } => {
                map.transfer(path, *max_size, *block_size);
                map.put("keepstamp", *keepstamp);
            }
            Self::UploadDirectory { path, max_size, block_size, compress } => {
                map.transfer(path, *max_size, *block_size);
                map.put("compress", compress.as_deref().map_or(Value::Nil, Value::from));
            }
            Self::DownloadFile { path, max_size, block_size, mode } => {
                map.transfer(path, *max_size, *block_size);
                map.put("mode", mode.map_or(Value::Nil, Value::from));
            }
        }
        map.finish()
    }

    /// Reads a start request.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] and [`CommandError::Missing`] are the start request's answer;
    /// [`CommandError::Invalid`] is the failure of a command that has started.
    pub fn parse(id: &CommandId, name: &str, args: &Value) -> Result<Self, CommandError> {
        let class = class_name(name)
            .ok_or_else(|| CommandError::Unknown { id: id.as_str().to_owned(), name: name.to_owned() })?;
        let args = Args { class, map: args };
        Ok(match name {
            "shell" => Self::Shell(ShellArgs::parse(&args)?),
            "mkdir" => {
                args.require(&["paths"])?;
                Self::Mkdir { paths: args.texts("paths")? }
            }
            "rmdir" => {
                args.require(&["paths"])?;
                Self::Rmdir { paths: args.texts("paths")?, limits: RunLimits::parse(&args)? }
            }
            "cpdir" => {
                args.require(&["from_path", "to_path"])?;
                Self::Cpdir {
                    from_path: args.text("from_path")?,
                    to_path: args.text("to_path")?,
                    limits: RunLimits::parse(&args)?,
                }
            }
            "stat" | "glob" | "listdir" | "rmfile" => {
                args.require(&["path"])?;
                let path = args.text("path")?;
                match name {
                    "stat" => Self::Stat { path },
                    "glob" => Self::Glob { path },
                    "listdir" => Self::Listdir { path },
                    _ => Self::Rmfile { path },
                }
            }
            _ => Self::parse_transfer(name, &args)?,
        })
    }

    fn parse_transfer(name: &str, args: &Args<'_>) -> Result<Self, CommandError> {
        args.require(&["path"])?;
        // The stock worker finds these missing without naming itself; the answer is the key's Python text.
        for key in ["maxsize", "blocksize"] {
            args.require_unnamed(key)?;
        }
        let path = args.text("path")?;
        let max_size = args.uint("maxsize")?;
        let block_size = args.uint("blocksize")?.filter(|size| *size > 0).ok_or_else(|| args.invalid("blocksize"))?;
        Ok(match name {
            "upload_file" | "uploadFile" => {
                Self::UploadFile { path, max_size, block_size, keepstamp: args.truth("keepstamp", false) }
            }
            "upload_directory" | "uploadDirectory" => {
                args.require_unnamed("compress")?;
                Self::UploadDirectory { path, max_size, block_size, compress: args.optional_text("compress")? }
            }
            _ => {
                args.require_unnamed("mode")?;
                let mode = args.uint("mode")?.map(|mode| (mode & 0o7777) as u32);
                Self::DownloadFile { path, max_size, block_size, mode }
            }
        })
    }
}

impl RunLimits {
    fn put(&self, map: &mut MapBuilder) {
        map.put("logEnviron", self.log_environ);
        map.put("timeout", seconds(self.timeout_secs));
        map.put("maxTime", seconds(self.max_time_secs));
    }

    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        Ok(Self {
            log_environ: args.truth("logEnviron", true),
            timeout_secs: if args.has("timeout") { args.seconds("timeout")? } else { Some(120.0) },
            max_time_secs: args.seconds("maxTime")?,
        })
    }
}

/// The stock worker's class of a command; its name is part of error texts.
fn class_name(command: &str) -> Option<&'static str> {
    Some(match command {
        "shell" => "WorkerShellCommand",
        "mkdir" => "MakeDirectory",
        "rmdir" => "RemoveDirectory",
        "cpdir" => "CopyDirectory",
        "stat" => "StatFile",
        "glob" => "GlobPath",
        "listdir" => "ListDir",
        "rmfile" => "RemoveFile",
        "upload_file" | "uploadFile" => "WorkerFileUploadCommand",
        "upload_directory" | "uploadDirectory" => "WorkerDirectoryUploadCommand",
        "download_file" | "downloadFile" => "WorkerFileDownloadCommand",
        _ => return None,
    })
}

fn texts(items: &[String]) -> Value {
    Value::Array(items.iter().map(|item| Value::from(item.as_str())).collect())
}

/// Whole seconds leave as integers: the worker shows them as they came ("timeout 1200 secs").
fn seconds(value: Option<f64>) -> Value {
    match value {
        None => Value::Nil,
        Some(secs) if secs.fract() == 0.0 && secs.abs() < 1e15 => Value::from(secs as i64),
        Some(secs) => Value::from(secs),
    }
}
