//! Child processes that never outlive their owner.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to come up; an idle machine needs less than a second.
pub(crate) const STARTS: Duration = Duration::from_secs(120);

/// A free loopback port that no other test is given as long as this process lives, nor anybody who asks the system for any
/// port: a server may take long to open it, and be ended and started again.
///
/// # Errors
///
/// If there is none.
pub fn free_port() -> Result<u16> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Each is held by a name that the system knows, and forgets with this process.
    static HELD: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    // Below the range from which Linux gives ports out; spread, because other test processes look for some, too.
    let spread = std::process::id().wrapping_mul(7919);
    for _ in 0..12_000 {
        let n = spread.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(13));
        let port = 20_000 + u16::try_from(n % 12_000).unwrap_or_default();
        let name = SocketAddr::from_abstract_name(format!("buildguild-test-port-{port}"))?;
        if let Ok(held) = UnixDatagram::bind_addr(&name)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(held);
            return Ok(port);
        }
    }
    bail!("no free loopback port below 32000")
}

/// A server process: asked to end when dropped, killed if it does not.
#[derive(Debug)]
pub(crate) struct Owned {
    child: Child,
    stop_signal: &'static str,
}

impl Owned {
    /// Starts `command` (built on `setpriv --pdeathsig`) from a thread that never ends.
    ///
    /// The kernel sends the parent-death signal when the *thread* that started the child ends, so a test's own thread
    /// must not be the one.
    pub(crate) fn spawn(mut command: Command, stop_signal: &'static str) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new().name("server-parent".to_owned()).spawn(move || {
            let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()));
            let started = child.is_ok();
            let _ = sender.send(child);
            if started {
                loop {
                    std::thread::park();
                }
            }
        })?;
        let child = receiver.recv().context("the starting thread ended")??;
        Ok(Self { child, stop_signal })
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait_until(&mut self, what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{what} ended at once: {status}");
            }
            if start.elapsed() > deadline {
                bail!("{what} was not ready within {deadline:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills it with SIGKILL, as the kernel would, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it is gone; kills it if that takes longer than `deadline`.
    pub(crate) fn stop(mut self, deadline: Duration) {
        self.end(deadline);
    }

    fn end(&mut self, deadline: Duration) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", self.stop_signal, &pid]).status();
        let start = Instant::now();
        while start.elapsed() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.end(Duration::from_secs(5));
    }
}

/// The user that a server runs as, when we are root and it refuses to be.
pub(crate) fn as_user(user: Option<&str>, death_signal: &str, program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.args(["--pdeathsig", death_signal, "--"]).arg(program);
    command
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
