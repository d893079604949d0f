#![doc = include_str!("../README.md")]

mod acceptor;
pub mod codec;
pub mod command;
mod error;
mod info;
mod message;
pub mod rpc;
mod settings;
pub mod socket;
mod update;

pub use acceptor::{Admission, Refusal, WorkerAcceptor};
pub use command::{Command, CommandError, CommandId, EnvValue, LogFile, ShellArgs, ShellCommand};
pub use error::DecodeError;
pub use info::{COMMAND_NAMES, COMMAND_VERSION, WorkerInfo};
pub use message::{Inbound, MasterRequest, RequestError, Response, StartCommand, WireRequest, WorkerRequest};
pub use rmpv::Value;
pub use rpc::{Incoming, Pending, Requests, Responder, Rpc, RpcError};
pub use settings::{EXTENSION_GRACEFUL, EXTENSIONS_KEY, STOCK_NEWLINE_RE, WorkerSettings};
pub use socket::FrameSocket;
pub use update::{CommandUpdate, LogText};

/// The port on which a master listens for workers unless it is told otherwise.
pub const DEFAULT_PORT: u16 = 9989;

/// The largest message that either side accepts, in bytes. A stock worker sends blocks of at most 256 KiB and updates
/// of about 64 KiB; long file lists are what may come near this.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
