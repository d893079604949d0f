//! A network link that can be cut: a TCP proxy in front of a server.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How many bytes are under way in one direction of one connection.
const BUFFER_BYTES: usize = 64 * 1024;

/// Forwards connections to a server on this machine. While it is cut nothing passes in either direction, and nobody is
/// told: connections stay open and stay silent, as when a cable is pulled. Ends with its owner.
#[derive(Debug)]
pub struct Link {
    port: u16,
    passes: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link to a loopback port.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (passes, state) = watch::channel(true);
        let task = tokio::spawn(serve(listener, SocketAddr::from(([127, 0, 0, 1], server)), state));
        Ok(Self { port, passes, task })
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing passes from now on.
    pub fn cut(&self) {
        self.passes.send_replace(false);
    }

    /// Everything passes again, also what was sent meanwhile.
    pub fn heal(&self) {
        self.passes.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, state: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let mut state = state.clone();
        connections.spawn(async move {
            if state.wait_for(|passes| *passes).await.is_err() {
                return;
            }
            let Ok(server) = TcpStream::connect(server).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            // When one side closes, so does the other.
            tokio::select! {
                () = forward(from_client, to_server, state.clone()) => {}
                () = forward(from_server, to_client, state) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        // Also the end of a connection is news that does not pass.
        if state.wait_for(|passes| *passes).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
