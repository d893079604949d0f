//! A RabbitMQ server for one owner, which can be killed, started again and wiped.
//!
//! It comes up in some seconds, most of which are spent by the Erlang runtime, so tests that only need queues share one
//! ([`RabbitMq::shared_url`]). It has a port mapper (`epmd`) of its own, because the machine's would be started as a
//! daemon and stay. Users and virtual hosts come from a definitions file: `rabbitmqctl` takes seconds per call.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::TlsFiles;
use crate::owned::{Owned, as_user, free_port};

/// The script that starts the server as whoever calls it; the one on `PATH` insists on the user `rabbitmq`.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The user `guest` with password `guest`, and `limited` with password `secret`, who may use nothing.
const DEFINITIONS: &str = r#"{
  "users": [
    {"name": "guest", "password_hash": "AQIDBEMMOXwY6PKx/JKP9PAqfsb4ozuD0Ta3pxxa9gEYBMmD", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "administrator"},
    {"name": "limited", "password_hash": "AQIDBDB9kM21iEUzN1lZ+6VReCsdNqS0sERdAQTcY6Xs3PMz", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}
  ],
  "vhosts": [{"name": "/"}],
  "permissions": [
    {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "limited", "vhost": "/", "configure": "^$", "write": "^$", "read": "^$"}
  ]
}"#;

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct RabbitMqOptions {
    /// Speaks TLS, on a second port.
    pub tls: Option<TlsFiles>,
    /// May use less memory than it needs, so that its alarm is on and it takes no messages.
    pub is_alarmed: bool,
}

/// A RabbitMQ server with its own directory. Dropping it ends it.
#[derive(Debug)]
pub struct RabbitMq {
    server: Option<Owned>,
    port: u16,
    tls_port: Option<u16>,
    distribution_port: u16,
    mapper_port: u16,
    options: RabbitMqOptions,
    // Ends after the server, which registers there; the directory goes last.
    _mapper: Owned,
    directory: TempDir,
}

impl RabbitMq {
    /// Starts a server.
    ///
    /// # Errors
    /// If RabbitMQ is not installed or does not come up within four minutes.
    pub fn start() -> Result<Self> {
        Self::start_with(RabbitMqOptions::default())
    }

    /// Starts a server.
    ///
    /// # Errors
    /// If RabbitMQ is not installed or does not come up within four minutes.
    pub fn start_with(options: RabbitMqOptions) -> Result<Self> {
        ensure!(Path::new(SERVER).exists(), "RabbitMQ is not installed (Debian package rabbitmq-server)");
        let directory = tempfile::Builder::new().prefix("buildguild-rabbitmq-").tempdir()?;
        let mapper_port = free_port()?;
        let mut command = as_user(None, "KILL", Path::new("epmd"));
        command.args(["-address", "127.0.0.1", "-port", &mapper_port.to_string()]);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mapper = Owned::spawn(command, "KILL")?;
        let tls_port = options.tls.is_some().then(free_port).transpose()?;
        let (port, distribution_port) = (free_port()?, free_port()?);
        let mut rabbitmq =
            Self { server: None, port, tls_port, distribution_port, mapper_port, options, _mapper: mapper, directory };
        rabbitmq.configure()?;
        rabbitmq.restart()?;
        Ok(rabbitmq)
    }

    /// The URL of the server that `cargo xtask test` started, or of one that this process starts and shares.
    ///
    /// # Errors
    /// As [`RabbitMq::start`].
    pub fn shared_url() -> Result<String> {
        if let Ok(url) = std::env::var("BUILDGUILD_TEST_RABBITMQ_URL") {
            return Ok(url);
        }
        static SERVER: OnceLock<Result<RabbitMq, String>> = OnceLock::new();
        let server = SERVER.get_or_init(|| RabbitMq::start().map_err(|error| format!("{error:#}")));
        server.as_ref().map(RabbitMq::url).map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn configure(&self) -> Result<()> {
        let path = |name: &str| self.directory.path().join(name);
        std::fs::write(path("definitions.json"), DEFINITIONS)?;
        std::fs::write(path("enabled_plugins"), "[].\n")?;
        let mut configuration = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nload_definitions = {}\nlog.console = false\nlog.file.level = warning\n\
             vm_memory_high_watermark.absolute = {}\ndisk_free_limit.absolute = 50MB\n",
            self.port,
            path("definitions.json").display(),
            if self.options.is_alarmed { "1MB" } else { "1GB" }
        );
        if let (Some(files), Some(port)) = (&self.options.tls, self.tls_port) {
            configuration.push_str(&format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
                files.authority.display(),
                files.certificate.display(),
                files.key.display()
            ));
        }
        Ok(std::fs::write(path("rabbitmq.conf"), configuration)?)
    }

    /// Starts it again after [`RabbitMq::stop`], on the same port and with what it has on disk.
    ///
    /// # Errors
    /// If it does not come up within four minutes.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "RabbitMQ runs already");
        let path = |name: &str| self.directory.path().join(name);
        let mut command = as_user(None, "KILL", Path::new(SERVER));
        command.current_dir(self.directory.path());
        command.env("HOME", self.directory.path());
        command.env("ERL_EPMD_PORT", self.mapper_port.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODENAME", "buildguild@localhost");
        command.env("RABBITMQ_DIST_PORT", self.distribution_port.to_string());
        command.env("RABBITMQ_MNESIA_BASE", path("data")).env("RABBITMQ_LOG_BASE", path("logs"));
        command.env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"));
        command.env("RABBITMQ_PID_FILE", path("pid"));
        // Without this the script forks the server off and only passes signals on.
        command.env("RABBITMQ_ALLOW_INPUT", "1");
        // One scheduler that sleeps when idle: a test's broker must not take the processor from the test.
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none");
        let log = std::fs::File::create(path("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut server = Owned::spawn(command, "TERM").context("cannot start RabbitMQ")?;
        // It says so when the listeners are open, which is last.
        let ready = server.wait_until("rabbitmq-server", Duration::from_secs(240), || {
            std::fs::read_to_string(path("server.log")).is_ok_and(|log| log.contains("broker... completed"))
        });
        ready.with_context(|| std::fs::read_to_string(path("server.log")).unwrap_or_default())?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends it in order. After a SIGKILL, RabbitMQ 3.10 often does not find a stream again that was made a little before:
    /// "home node of durable queue is down or inaccessible", for ever. That is not for our tests to show.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::from_secs(240));
        }
    }

    /// Ends it and starts it again, with enough memory.
    ///
    /// # Errors
    /// If it does not come up within four minutes.
    pub fn restart_without_alarm(&mut self) -> Result<()> {
        self.stop();
        self.options.is_alarmed = false;
        self.configure()?;
        self.restart()
    }

    /// Ends it, removes all that it has on disk, and starts it again on the same port.
    ///
    /// # Errors
    /// If it does not come up within four minutes.
    pub fn wipe(&mut self) -> Result<()> {
        self.stop();
        std::fs::remove_dir_all(self.directory.path().join("data"))?;
        self.restart()
    }

    /// The URL that clients use, without TLS.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The URL that clients use, with TLS, if the server speaks it.
    pub fn tls_url(&self) -> Option<String> {
        self.tls_port.map(|port| format!("amqps://guest:guest@127.0.0.1:{port}/%2f"))
    }

    /// The loopback port it listens on, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Owned::pid)
    }
}
