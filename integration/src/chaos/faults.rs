//! What is done to a cluster, and undone.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cast::Cast;

/// One fault. Masters and workers are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again a while later.
    Kill(usize),
    /// SIGTERM, as for an upgrade; started again when it has left.
    Restart(usize),
    /// SIGSTOP for longer than the expiry, then SIGCONT.
    Pause(usize),
    /// Nothing passes between a master and the database.
    CutDatabase(usize),
    /// Nothing passes between a master and the broker.
    CutBroker(usize),
    /// SIGKILL of a worker; started again a while later.
    KillWorker(usize),
    /// The database server crashes and recovers.
    CrashDatabase,
    /// The broker is ended and started again: Redis by SIGKILL, RabbitMQ in order.
    CrashBroker,
    /// The running broker loses the event log: `FLUSHALL`, or the deletion of the queue.
    WipeBroker,
    /// The broker is ended and started again with an empty disk.
    EmptyBroker,
}

/// What a fault needs for itself alone while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A master's process.
    Master(usize),
    /// A master's link to the database.
    DatabaseLink(usize),
    /// A master's link to the broker.
    BrokerLink(usize),
    /// A worker's process.
    Worker(usize),
    /// The database server.
    Database,
    /// The broker.
    Broker,
}

/// The names of all kinds, for the report.
pub const KINDS: [&str; 10] = [
    "kill",
    "restart",
    "pause",
    "cut database",
    "cut broker",
    "kill worker",
    "crash database",
    "restart broker",
    "wipe broker",
    "restart broker empty",
];

impl Fault {
    /// Its name without whom it hits.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => KINDS[0],
            Self::Restart(_) => KINDS[1],
            Self::Pause(_) => KINDS[2],
            Self::CutDatabase(_) => KINDS[3],
            Self::CutBroker(_) => KINDS[4],
            Self::KillWorker(_) => KINDS[5],
            Self::CrashDatabase => KINDS[6],
            Self::CrashBroker => KINDS[7],
            Self::WipeBroker => KINDS[8],
            Self::EmptyBroker => KINDS[9],
        }
    }

    /// Whether the broker loses the log.
    pub fn is_wipe(self) -> bool {
        matches!(self, Self::WipeBroker | Self::EmptyBroker)
    }

    /// Whether the broker is away meanwhile.
    pub fn ends_broker(self) -> bool {
        matches!(self, Self::CrashBroker | Self::EmptyBroker)
    }

    /// Whom it hits.
    pub fn target(self) -> Target {
        match self {
            Self::Kill(index) | Self::Restart(index) | Self::Pause(index) => Target::Master(index),
            Self::CutDatabase(index) => Target::DatabaseLink(index),
            Self::CutBroker(index) => Target::BrokerLink(index),
            Self::KillWorker(index) => Target::Worker(index),
            Self::CrashDatabase => Target::Database,
            Self::CrashBroker | Self::WipeBroker | Self::EmptyBroker => Target::Broker,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// If the means fail: a process cannot be killed, for example.
    pub(super) async fn begin(self, cast: &mut Cast, lasts: Duration) -> Result<()> {
        match self {
            Self::Kill(index) => {
                // It may have ended by itself just now, which is as good.
                cast.revive()?;
                cast.leave_down(index);
                cast.master(index)?.kill()
            }
            Self::Restart(index) => {
                cast.revive()?;
                cast.leave_down(index);
                cast.master(index)?.signal("TERM")
            }
            Self::Pause(index) => {
                cast.revive()?;
                cast.master(index)?.signal("STOP")
            }
            Self::CutDatabase(index) => {
                cast.database_links.get(index).context("a link")?.cut();
                Ok(())
            }
            Self::CutBroker(index) => {
                cast.broker_links.get(index).context("a link")?.cut();
                Ok(())
            }
            Self::KillWorker(index) => cast.workers.get_mut(index).context("a worker")?.kill(),
            Self::CrashDatabase => {
                cast.cluster.database.own().context("a server of its own")?.crash();
                Ok(())
            }
            Self::CrashBroker | Self::EmptyBroker => {
                cast.work_on_broker(move |broker| {
                    broker.kill()?;
                    std::thread::sleep(lasts);
                    if self == Self::EmptyBroker { broker.start_empty() } else { broker.restart() }
                });
                Ok(())
            }
            Self::WipeBroker => cast.lose_log(),
        }
    }

    /// Whether it can be undone now, which was due some time ago.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub(super) fn may_end(self, cast: &mut Cast, overdue: Duration) -> Result<bool> {
        match self {
            // What a service manager waits before it kills.
            Self::Restart(index) => Ok(overdue > Duration::from_secs(20) || cast.master(index)?.has_ended()?),
            Self::CrashBroker | Self::EmptyBroker | Self::WipeBroker => Ok(cast.is_broker_back()),
            _ => Ok(true),
        }
    }

    /// Undoes it.
    ///
    /// # Errors
    /// If the means fail: a process cannot be started, for example.
    pub(super) async fn end(self, cast: &mut Cast) -> Result<()> {
        match self {
            Self::Kill(index) => cast.start_again(index),
            Self::Restart(index) => {
                if !cast.master(index)?.has_ended()? {
                    cast.stayed += 1;
                    cast.master(index)?.kill()?;
                }
                cast.start_again(index)
            }
            Self::Pause(index) => cast.master(index)?.signal("CONT"),
            Self::CutDatabase(index) => {
                cast.database_links.get(index).context("a link")?.heal();
                Ok(())
            }
            Self::CutBroker(index) => {
                cast.broker_links.get(index).context("a link")?.heal();
                Ok(())
            }
            Self::KillWorker(index) => cast.workers.get_mut(index).context("a worker")?.start(),
            Self::CrashDatabase => cast.cluster.database.own().context("a server of its own")?.restart(),
            Self::CrashBroker | Self::EmptyBroker | Self::WipeBroker => cast.take_broker_back().await,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(index) | Self::Restart(index) | Self::Pause(index) => write!(f, "{} m{index}", self.kind()),
            Self::CutDatabase(index) | Self::CutBroker(index) => write!(f, "{} of m{index}", self.kind()),
            Self::KillWorker(index) => write!(f, "{} w{index}", self.kind()),
            Self::CrashDatabase | Self::CrashBroker | Self::WipeBroker | Self::EmptyBroker => f.write_str(self.kind()),
        }
    }
}
