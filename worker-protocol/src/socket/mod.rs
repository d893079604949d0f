//! Where frames come from and go to.

pub mod client;
mod handshake;
mod pump;
pub mod server;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use pump::{PingOptions, pump};

/// How many frames wait in each direction between a connection and its user. Small, because a frame may be large: what
/// waits here is what a slow user makes the process hold.
pub const FRAME_QUEUE: usize = 8;

/// One end of a connection: binary frames in and out, in order. Dropping `outgoing` closes the connection;
/// `incoming` ends when the other side closed it or it was lost.
///
/// Both channels are bounded: whoever sends waits while the other is behind.
#[derive(Debug)]
pub struct FrameSocket {
    /// Frames from the other side.
    pub incoming: mpsc::Receiver<Bytes>,
    /// Frames to the other side.
    pub outgoing: mpsc::Sender<Bytes>,
    /// Who the other side is, for log lines.
    pub peer: String,
}

impl FrameSocket {
    /// Two connected ends in one process.
    #[must_use]
    pub fn pair(peer: &str, capacity: usize) -> (Self, Self) {
        let (a_out, b_in) = mpsc::channel(capacity);
        let (b_out, a_in) = mpsc::channel(capacity);
        (
            Self { incoming: a_in, outgoing: a_out, peer: peer.to_owned() },
            Self { incoming: b_in, outgoing: b_out, peer: peer.to_owned() },
        )
    }
}
