//! The load balancers of `deploy/`, run with the files that users get, in front of a test's replicas.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::owned::{Owned, STARTS, as_user, free_port, is_root};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// nginx with `deploy/nginx/buildguild.conf`.
    Nginx,
    /// HAProxy with `deploy/haproxy/haproxy.cfg`.
    HaProxy,
}

/// A load balancer in front of two replicas. Dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    server: Owned,
    port: u16,
    directory: TempDir,
}

impl Proxy {
    /// Starts the program in front of the replicas on these loopback ports.
    ///
    /// # Errors
    /// If it is not installed, or refuses its configuration.
    pub fn start(kind: ProxyKind, replicas: [u16; 2]) -> Result<Self> {
        Self::start_with(kind, replicas, |text| text)
    }

    /// The same, with the configuration changed.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn start_with(kind: ProxyKind, replicas: [u16; 2], change: impl FnOnce(String) -> String) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("buildguild-proxy-").tempdir()?;
        let port = free_port()?;
        let mut text = std::fs::read_to_string(deployed(kind))?;
        for (index, replica) in replicas.iter().enumerate() {
            let example = format!("buildguild-{index}:8010");
            ensure!(text.contains(&example), "{example} is not in {}", deployed(kind).display());
            text = text.replace(&example, &format!("127.0.0.1:{replica}"));
        }
        let listen = match kind {
            ProxyKind::Nginx => ("listen 80;", format!("listen 127.0.0.1:{port};")),
            ProxyKind::HaProxy => ("bind :80\n", format!("bind 127.0.0.1:{port}\n")),
        };
        ensure!(text.contains(listen.0), "{:?} is not in {}", listen.0, deployed(kind).display());
        let text = change(text.replace(listen.0, &listen.1));
        let file = directory.path().join("proxy.conf");
        std::fs::write(&file, text)?;
        let mut command = match kind {
            ProxyKind::Nginx => nginx(directory.path(), &file)?,
            ProxyKind::HaProxy => {
                let mut command = as_user(None, "TERM", Path::new("/usr/sbin/haproxy"));
                command.arg("-db").arg("-f").arg(&file);
                command
            }
        };
        let log = std::fs::File::create(directory.path().join("server.log"))?;
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = Owned::spawn(command, "TERM").context("are the Debian packages nginx and haproxy installed?")?;
        let mut proxy = Self { server, port, directory };
        let outcome =
            proxy.server.wait_until("the proxy", STARTS, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        outcome.with_context(|| proxy.log())?;
        Ok(proxy)
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it said.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        format!("{}{}", read("server.log"), read("error.log"))
    }
}

/// The file that users get.
fn deployed(kind: ProxyKind) -> PathBuf {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    match kind {
        ProxyKind::Nginx => deploy.join("nginx/buildguild.conf"),
        ProxyKind::HaProxy => deploy.join("haproxy/haproxy.cfg"),
    }
}

/// The file is for the `http` context; this is what Debian has around it, without its paths.
fn nginx(directory: &Path, file: &Path) -> Result<Command> {
    let user = if is_root() { "user root;" } else { "" };
    let main = directory.join("nginx.conf");
    let place = directory.display();
    std::fs::write(
        &main,
        format!(
            "daemon off;\n{user}\nworker_processes 1;\npid {place}/nginx.pid;\nerror_log {place}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n\
               fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  scgi_temp_path {place}/scgi;\n\
               include {};\n}}\n",
            file.display()
        ),
    )?;
    let mut command = as_user(None, "TERM", Path::new("/usr/sbin/nginx"));
    command.arg("-p").arg(directory).arg("-c").arg(&main);
    Ok(command)
}
