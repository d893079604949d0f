//! Connects to the master, again and again.

use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types};
use worker_protocol::FrameSocket;
use worker_protocol::socket::{FRAME_QUEUE, PingOptions, client, pump};

use crate::address::MasterAddress;
use crate::config::{ConfigError, WorkerConfig};
use crate::info;
use crate::session::{self, SessionEnd, Worker};
use crate::stop::Stop;

/// How long each of the steps to a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a master that was asked for a sign of life has: a stock master may be busy for long.
const PONG_TIMEOUT: Duration = Duration::from_secs(60);

/// Delays between attempts grow by this factor, as the stock worker's do.
const BACKOFF: f64 = 1.5;

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// It was asked to, here.
    Stopped,
    /// The master asked it to.
    Shutdown,
    /// The master could not be reached as often as it may not be.
    TooManyRetries,
}

/// Why no connection came about.
#[derive(Debug, Error)]
enum ConnectError {
    #[error("no connection within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("TCP: {0}")]
    Tcp(#[source] std::io::Error),
    #[error("TLS: {0}")]
    Tls(#[source] std::io::Error),
    #[error("server name: {0}")]
    ServerName(#[from] pki_types::InvalidDnsNameError),
    #[error(transparent)]
    WebSocket(#[from] client::ConnectError),
}

trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Runs a worker until it is asked to end, here or by its master.
///
/// # Errors
/// If the configuration cannot be used. Trouble with the master is no error: it is tried again.
pub async fn run(config: &WorkerConfig, basedir: &Path, stop: &Stop) -> Result<RunEnd, ConfigError> {
    config.check()?;
    let address = config.address()?;
    let tls = if address.tls { Some(tls_connector(config, basedir)?) } else { None };
    let basedir = basedir.canonicalize().map_err(|source| ConfigError::Read { path: basedir.to_owned(), source })?;
    let worker = Worker {
        name: config.name.clone(),
        basedir: Arc::new(basedir),
        environ: Arc::new(info::environ()),
        numcpus: config.numcpus,
        delete_leftover_dirs: config.delete_leftover_dirs,
    };
    let mut failures: u32 = 0;
    loop {
        let attempt = connect(&address, tls.as_ref(), config);
        let connected = tokio::select! {
            connected = attempt => connected,
            () = stop.asked() => return Ok(RunEnd::Stopped),
        };
        let attached = match connected {
            Ok(socket) => {
                tracing::info!(master = %address, worker.name = worker.name, "connected to master");
                match serve(&worker, socket, &address, config, stop).await {
                    SessionEnd::Lost { attached } => attached,
                    SessionEnd::Shutdown => return Ok(RunEnd::Shutdown),
                    SessionEnd::Stopped => return Ok(RunEnd::Stopped),
                }
            }
            Err(error) => {
                tracing::warn!(master = %address, %error, "no connection to master");
                false
            }
        };
        // A connection that never became a session counts as a failure: a wrong password must not be tried for ever
        // at full speed.
        failures = if attached { 1 } else { failures.saturating_add(1) };
        if !attached && config.maxretries.is_some_and(|max| failures > max) {
            tracing::error!(master = %address, failures, "giving up");
            return Ok(RunEnd::TooManyRetries);
        }
        if stop.is_asked() {
            return Ok(RunEnd::Stopped);
        }
        let delay = delay(failures, config.maxdelay);
        tracing::info!(master = %address, delay_secs = delay.as_secs_f64(), "connecting again later");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.asked() => return Ok(RunEnd::Stopped),
        }
    }
}

/// 1.5ⁿ seconds, at most `maxdelay`, and up to one second at random, so that a thousand workers do not come back to
/// a master in the same instant.
fn delay(failures: u32, maxdelay_secs: u64) -> Duration {
    let exponent = i32::try_from(failures.min(64)).unwrap_or(64);
    let base = BACKOFF.powi(exponent).min(maxdelay_secs as f64).max(0.0);
    let random = std::hash::RandomState::new().build_hasher().finish();
    Duration::from_secs_f64(base + (random as f64 / u64::MAX as f64) * base.min(1.0))
}

async fn connect(
    address: &MasterAddress,
    tls: Option<&TlsConnector>,
    config: &WorkerConfig,
) -> Result<tokio_tungstenite::WebSocketStream<Box<dyn Transport>>, ConnectError> {
    let password = config.password.as_deref().unwrap_or_default();
    let connecting = async {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(ConnectError::Tcp)?;
        // Updates are written whole; waiting for more would only delay them.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
        let stream: Box<dyn Transport> = match tls {
            None => Box::new(tcp),
            Some(connector) => {
                let name = pki_types::ServerName::try_from(address.host.clone())?;
                Box::new(connector.connect(name, tcp).await.map_err(ConnectError::Tls)?)
            }
        };
        Ok(client::connect(stream, &address.url(), &config.name, password).await?)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn serve(
    worker: &Worker,
    socket: tokio_tungstenite::WebSocketStream<Box<dyn Transport>>,
    address: &MasterAddress,
    config: &WorkerConfig,
    stop: &Stop,
) -> SessionEnd {
    let (inner, outer) = FrameSocket::pair(&address.to_string(), FRAME_QUEUE);
    let interval = config.keepalive().unwrap_or(Duration::from_secs(365 * 24 * 3600));
    let pings = PingOptions { interval, timeout: PONG_TIMEOUT };
    let (lost, end) = tokio::join!(pump(socket, inner, pings), session::serve(worker, outer, stop));
    match lost {
        Ok(()) => tracing::info!(master = %address, "connection closed"),
        Err(error) => tracing::warn!(master = %address, %error, "connection lost"),
    }
    end
}

fn tls_connector(config: &WorkerConfig, basedir: &Path) -> Result<TlsConnector, ConfigError> {
    use pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a certificate of the system cannot be used");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(file) = &config.tls_ca_file {
        let path = basedir.join(file);
        let bad = |error: &dyn std::fmt::Display| ConfigError::Value(format!("{}: {error}", path.display()));
        for certificate in pki_types::CertificateDer::pem_file_iter(&path).map_err(|e| bad(&e))? {
            roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
        }
    }
    if roots.is_empty() {
        return Err(ConfigError::Value("TLS needs certificate authorities: none found, set tls_ca_file".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Value(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_are_bounded() {
        for (failures, low, high) in [(1, 1.5, 2.5), (2, 2.25, 3.25), (40, 60.0, 61.0), (u32::MAX, 60.0, 61.0)] {
            let secs = delay(failures, 60).as_secs_f64();
            assert!((low..=high).contains(&secs), "{failures}: {secs}");
        }
        assert_eq!(delay(9, 0), Duration::ZERO);
    }
}
