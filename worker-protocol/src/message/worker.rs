//! What a worker tells a master, or asks of it.

use bytes::Bytes;

use super::{Fields, RequestError, WireRequest};
use crate::codec::{Reader, Writer};
use crate::command::CommandId;
use crate::error::DecodeError;
use crate::update::CommandUpdate;

/// A request that a worker sends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum WorkerRequest {
    /// News of a running command.
    Update {
        /// The command.
        command_id: CommandId,
        /// The news, in order.
        updates: Vec<CommandUpdate>,
    },
    /// A command has ended. Sent exactly once for each command that was started.
    Complete {
        /// The command.
        command_id: CommandId,
        /// The text of the failure, if the command ended by one; the exit code came in an update.
        failure: Option<String>,
    },
    /// A block of an uploaded file.
    UploadFileWrite {
        /// The command.
        command_id: CommandId,
        /// The block.
        data: Bytes,
    },
    /// No further block of the uploaded file follows.
    UploadFileClose {
        /// The command.
        command_id: CommandId,
    },
    /// The uploaded file's times, in seconds; nothing if it could not be read.
    UploadFileUtime {
        /// The command.
        command_id: CommandId,
        /// When the file was last read.
        access_time: Option<f64>,
        /// When the file was last written.
        modified_time: Option<f64>,
    },
    /// A block of the archive of an uploaded directory.
    UploadDirectoryWrite {
        /// The command.
        command_id: CommandId,
        /// The block.
        data: Bytes,
    },
    /// The archive is whole and can be unpacked.
    UploadDirectoryUnpack {
        /// The command.
        command_id: CommandId,
    },
    /// Asks for the next block of a downloaded file; the answer is a byte string, empty at the end.
    ReadFile {
        /// The command.
        command_id: CommandId,
        /// The largest block that may come.
        length: u64,
    },
    /// No further block of the downloaded file is asked for.
    ReadFileClose {
        /// The command.
        command_id: CommandId,
    },
    /// Asks the master to let this worker go: start nothing new, and send `shutdown` when its builds have ended.
    /// Not known to stock masters, which answer with an exception; a worker sends it only to a master that said it
    /// knows it (see [`crate::WorkerSettings::extensions`]).
    Graceful,
}

impl WorkerRequest {
    /// The command that the request is about.
    #[must_use]
    pub fn command_id(&self) -> Option<&CommandId> {
        match self {
            Self::Update { command_id, .. }
            | Self::Complete { command_id, .. }
            | Self::UploadFileWrite { command_id, .. }
            | Self::UploadFileClose { command_id }
            | Self::UploadFileUtime { command_id, .. }
            | Self::UploadDirectoryWrite { command_id, .. }
            | Self::UploadDirectoryUnpack { command_id }
            | Self::ReadFile { command_id, .. }
            | Self::ReadFileClose { command_id } => Some(command_id),
            Self::Graceful => None,
        }
    }
}

impl WireRequest for WorkerRequest {
    fn op(&self) -> &'static str {
        match self {
            Self::Update { .. } => "update",
            Self::Complete { .. } => "complete",
            Self::UploadFileWrite { .. } => "update_upload_file_write",
            Self::UploadFileClose { .. } => "update_upload_file_close",
            Self::UploadFileUtime { .. } => "update_upload_file_utime",
            Self::UploadDirectoryWrite { .. } => "update_upload_directory_write",
            Self::UploadDirectoryUnpack { .. } => "update_upload_directory_unpack",
            Self::ReadFile { .. } => "update_read_file",
            Self::ReadFileClose { .. } => "update_read_file_close",
            Self::Graceful => "graceful",
        }
    }

    fn field_count(&self) -> usize {
        match self {
            Self::Graceful => 0,
            Self::UploadFileClose { .. } | Self::UploadDirectoryUnpack { .. } | Self::ReadFileClose { .. } => 1,
            Self::Update { .. }
            | Self::Complete { .. }
            | Self::UploadFileWrite { .. }
            | Self::UploadDirectoryWrite { .. }
            | Self::ReadFile { .. } => 2,
            Self::UploadFileUtime { .. } => 3,
        }
    }

    fn size_hint(&self) -> usize {
        let body = match self {
            Self::Update { updates, .. } => updates
                .iter()
                .map(|update| match update {
                    CommandUpdate::Stdout(t)
                    | CommandUpdate::Stderr(t)
                    | CommandUpdate::Header(t)
                    | CommandUpdate::Log { text: t, .. } => t.text.len() + t.positions.len() * 5 + t.times.len() * 9,
                    CommandUpdate::Files(names) => names.iter().map(|n| n.len() + 5).sum(),
                    _ => 96,
                })
                .sum(),
            Self::UploadFileWrite { data, .. } | Self::UploadDirectoryWrite { data, .. } => data.len(),
            _ => 0,
        };
        body + 160
    }

    fn encode_fields(&self, w: &mut Writer) {
        match self {
            Self::Update { updates, .. } => {
                w.str("args");
                w.array(updates.len());
                updates.iter().for_each(|update| update.encode(w));
            }
            Self::Complete { failure, .. } => {
                w.str("args");
                match failure {
                    Some(text) => w.str(text),
                    None => w.nil(),
                }
            }
            Self::UploadFileWrite { data, .. } | Self::UploadDirectoryWrite { data, .. } => {
                w.str("args");
                w.bin(data);
            }
            Self::UploadFileUtime { access_time, modified_time, .. } => {
                for (key, time) in [("access_time", access_time), ("modified_time", modified_time)] {
                    w.str(key);
                    match time {
                        Some(seconds) => w.f64(*seconds),
                        None => w.nil(),
                    }
                }
            }
            Self::ReadFile { length, .. } => {
                w.str("length");
                w.uint(*length);
            }
            Self::UploadFileClose { .. }
            | Self::UploadDirectoryUnpack { .. }
            | Self::ReadFileClose { .. }
            | Self::Graceful => {}
        }
        if let Some(command_id) = self.command_id() {
            w.str("command_id");
            w.str(command_id.as_str());
        }
    }

    fn decode(op: &str, fields: &Fields<'_>) -> Result<Self, RequestError> {
        let command_id = || fields.text("command_id").map(CommandId::from);
        Ok(match op {
            "update" => Self::Update { command_id: command_id()?, updates: decode_updates(fields.reader("args")?)? },
            "complete" => Self::Complete { command_id: command_id()?, failure: decode_failure(fields)? },
            "update_upload_file_write" => {
                Self::UploadFileWrite { command_id: command_id()?, data: fields.data("args")? }
            }
            "update_upload_file_close" => Self::UploadFileClose { command_id: command_id()? },
            "update_upload_file_utime" => Self::UploadFileUtime {
                command_id: command_id()?,
                access_time: decode_time(fields, "access_time")?,
                modified_time: decode_time(fields, "modified_time")?,
            },
            "update_upload_directory_write" => {
                Self::UploadDirectoryWrite { command_id: command_id()?, data: fields.data("args")? }
            }
            "update_upload_directory_unpack" => Self::UploadDirectoryUnpack { command_id: command_id()? },
            "update_read_file" => Self::ReadFile {
                command_id: command_id()?,
                length: u64::try_from(fields.reader("length")?.int().map_err(|e| e.in_field("length"))?)
                    .map_err(|_| DecodeError::IntegerRange.in_field("length"))?,
            },
            "update_read_file_close" => Self::ReadFileClose { command_id: command_id()? },
            "graceful" => Self::Graceful,
            other => return Err(RequestError::UnknownOp(other.to_owned())),
        })
    }
}

fn decode_updates(mut r: Reader<'_>) -> Result<Vec<CommandUpdate>, DecodeError> {
    let len = r.array_len().map_err(|e| e.in_field("args"))?;
    let mut updates = Vec::with_capacity(len.min(64));
    for _ in 0..len {
        updates.push(CommandUpdate::decode(&mut r)?);
    }
    Ok(updates)
}

/// The failure is a text; anything else that is there is shown as it is.
fn decode_failure(fields: &Fields<'_>) -> Result<Option<String>, DecodeError> {
    let mut r = fields.reader("args")?;
    if r.take_nil() {
        return Ok(None);
    }
    let value = r.value().map_err(|e| e.in_field("args"))?;
    Ok(Some(crate::codec::text(&value).unwrap_or_else(|| value.to_string())))
}

fn decode_time(fields: &Fields<'_>, key: &'static str) -> Result<Option<f64>, DecodeError> {
    let mut r = fields.reader(key)?;
    if r.take_nil() {
        return Ok(None);
    }
    r.f64().map(Some).map_err(|e| e.in_field(key))
}
