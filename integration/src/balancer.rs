//! A TCP load balancer: what stands in front of several masters.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards each connection to the first backend that accepts one. Ends with its owner.
#[derive(Debug)]
pub struct Balancer {
    port: u16,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Balancer {
    /// A balancer in front of loopback ports, tried in the given order.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(ports: &[u16]) -> Result<Self> {
        Self::serve(ports, false).await
    }

    /// A balancer that begins with another backend for each connection.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn taking_turns(ports: &[u16]) -> Result<Self> {
        Self::serve(ports, true).await
    }

    async fn serve(ports: &[u16], turns: bool) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let backends =
            Arc::new(Mutex::new(ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()));
        let task = tokio::spawn(serve(listener, Arc::clone(&backends), turns));
        Ok(Self { port, backends, _task: task })
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the order in which backends are tried.
    pub fn set_backends(&self, ports: &[u16]) {
        *self.backends.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    }
}

async fn serve(listener: TcpListener, backends: Arc<Mutex<Vec<SocketAddr>>>, turns: bool) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let tried = {
            let mut backends = backends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if turns && !backends.is_empty() {
                backends.rotate_left(1);
            }
            backends.clone()
        };
        connections.spawn(async move {
            for backend in tried {
                if let Ok(mut server) = TcpStream::connect(backend).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
