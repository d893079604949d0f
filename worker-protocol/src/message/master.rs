//! What a master asks of a worker.

use rmpv::Value;

use super::{Fields, RequestError, WireRequest};
use crate::codec::Writer;
use crate::command::{Command, CommandId};
use crate::settings::WorkerSettings;

/// The request to start a command, its arguments not looked into yet.
#[derive(Debug, Clone, PartialEq)]
pub struct StartCommand {
    /// The command's id: unique for ever, see [`CommandId::unique`].
    pub command_id: CommandId,
    /// The command's name in its snake-case form.
    pub command_name: String,
    /// The arguments: a map.
    pub args: Value,
    /// The builder's name; workers do not read it.
    pub builder_name: Option<String>,
}

impl StartCommand {
    /// The request for a command.
    #[must_use]
    pub fn new(command_id: CommandId, command: &Command, builder_name: Option<String>) -> Self {
        Self { command_id, command_name: command.name().to_owned(), args: command.to_args(), builder_name }
    }
}

/// A request that a master sends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MasterRequest {
    /// Writes a line to the worker's log. Also a ping.
    Print {
        /// The line.
        message: String,
    },
    /// Does nothing; keeps middleboxes awake.
    Keepalive,
    /// Asks for a [`crate::WorkerInfo`].
    GetWorkerInfo,
    /// Says how output is to be treated.
    SetWorkerSettings(WorkerSettings),
    /// Starts a command.
    StartCommand(StartCommand),
    /// Interrupts a command; unknown ids are no error.
    InterruptCommand {
        /// The command.
        command_id: CommandId,
        /// The reason, for the worker's log.
        why: String,
        /// The builder's name; workers do not read it.
        builder_name: Option<String>,
    },
    /// Ends the worker process.
    Shutdown,
}

impl WireRequest for MasterRequest {
    fn op(&self) -> &'static str {
        match self {
            Self::Print { .. } => "print",
            Self::Keepalive => "keepalive",
            Self::GetWorkerInfo => "get_worker_info",
            Self::SetWorkerSettings(_) => "set_worker_settings",
            Self::StartCommand(_) => "start_command",
            Self::InterruptCommand { .. } => "interrupt_command",
            Self::Shutdown => "shutdown",
        }
    }

    fn field_count(&self) -> usize {
        match self {
            Self::Print { .. } | Self::SetWorkerSettings(_) => 1,
            Self::Keepalive | Self::GetWorkerInfo | Self::Shutdown => 0,
            Self::StartCommand(start) => 3 + usize::from(start.builder_name.is_some()),
            Self::InterruptCommand { builder_name, .. } => 2 + usize::from(builder_name.is_some()),
        }
    }

    fn encode_fields(&self, w: &mut Writer) {
        match self {
            Self::Print { message } => {
                w.str("message");
                w.str(message);
            }
            Self::Keepalive | Self::GetWorkerInfo | Self::Shutdown => {}
            Self::SetWorkerSettings(settings) => {
                w.str("args");
                settings.encode(w);
            }
            Self::StartCommand(start) => {
                encode_builder_name(w, start.builder_name.as_deref());
                w.str("command_id");
                w.str(start.command_id.as_str());
                w.str("command_name");
                w.str(&start.command_name);
                w.str("args");
                w.value(&start.args);
            }
            Self::InterruptCommand { command_id, why, builder_name } => {
                encode_builder_name(w, builder_name.as_deref());
                w.str("command_id");
                w.str(command_id.as_str());
                w.str("why");
                w.str(why);
            }
        }
    }

    fn decode(op: &str, fields: &Fields<'_>) -> Result<Self, RequestError> {
        Ok(match op {
            "print" => Self::Print { message: fields.text("message")? },
            "keepalive" => Self::Keepalive,
            "get_worker_info" => Self::GetWorkerInfo,
            "set_worker_settings" => {
                let args = fields.find("args").ok_or(crate::DecodeError::MissingKey("args"))?;
                Self::SetWorkerSettings(WorkerSettings::decode(args)?)
            }
            "start_command" => Self::StartCommand(StartCommand {
                command_id: fields.text("command_id")?.into(),
                command_name: fields.text("command_name")?,
                args: fields.reader("args")?.value().map_err(|e| e.in_field("args"))?,
                builder_name: fields.optional_text("builder_name")?,
            }),
            "interrupt_command" => Self::InterruptCommand {
                command_id: fields.text("command_id")?.into(),
                why: fields.text("why")?,
                builder_name: fields.optional_text("builder_name")?,
            },
            "shutdown" => Self::Shutdown,
            other => return Err(RequestError::UnknownOp(other.to_owned())),
        })
    }
}

fn encode_builder_name(w: &mut Writer, builder_name: Option<&str>) {
    if let Some(name) = builder_name {
        w.str("builder_name");
        w.str(name);
    }
}
