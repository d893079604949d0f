//! What is done to a cluster, and undone.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cast::Cast;
use super::dice::Dice;
use crate::broker::Broker;

/// One fault. Masters are named by their index.
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
    /// The broker is killed and started again.
    CrashBroker,
    /// The broker loses all that it holds.
    WipeBroker,
}

/// The names of all kinds, for the report.
pub const KINDS: [&str; 9] = [
    "kill",
    "restart",
    "pause",
    "cut database",
    "cut broker",
    "kill worker",
    "crash database",
    "crash broker",
    "wipe broker",
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
        }
    }

    /// One of each kind that makes sense with the broker, in an order of their own for each seed.
    pub fn deck(dice: &mut Dice, masters: usize, workers: usize, broker: Broker) -> Vec<Self> {
        let worker = dice.below(workers);
        let mut master = || dice.below(masters);
        let mut deck = vec![Self::Kill(master()), Self::Restart(master()), Self::Pause(master())];
        deck.extend([Self::CutDatabase(master()), Self::KillWorker(worker), Self::CrashDatabase]);
        if broker != Broker::Memory {
            deck.extend([Self::CutBroker(master()), Self::CrashBroker, Self::WipeBroker]);
        }
        for index in (1..deck.len()).rev() {
            deck.swap(index, dice.below(index + 1));
        }
        deck
    }

    /// One at random, among those that make sense with the broker.
    pub fn choose(dice: &mut Dice, masters: usize, workers: usize, broker: Broker) -> Self {
        let master = dice.below(masters);
        let kinds = if broker == Broker::Memory { 9 } else { 14 };
        match dice.below(kinds) {
            0..=2 => Self::Kill(master),
            3 => Self::Restart(master),
            4 | 5 => Self::Pause(master),
            6 => Self::CutDatabase(master),
            7 => Self::KillWorker(dice.below(workers)),
            8 => Self::CrashDatabase,
            9 | 10 => Self::CutBroker(master),
            11 | 12 => Self::CrashBroker,
            _ => Self::WipeBroker,
        }
    }

    /// Does it, waits, and undoes it. `expire` is the time after which a master is declared dead.
    ///
    /// # Errors
    /// If the means fail: a process cannot be started, for example.
    pub async fn commit(self, cast: &mut Cast, dice: &mut Dice, expire: Duration) -> Result<()> {
        let (short, long) = (Duration::from_millis(100), expire * 2);
        let beyond = dice.between(expire + expire / 2, expire * 2);
        let some_time = dice.between(short, long);
        match self {
            Self::Kill(index) => {
                cast.master(index)?.kill()?;
                tokio::time::sleep(some_time).await;
                cast.master(index)?.start()
            }
            Self::Restart(index) => {
                let master = cast.master(index)?;
                master.stop().await?;
                master.start()
            }
            Self::Pause(index) => {
                cast.master(index)?.signal("STOP")?;
                tokio::time::sleep(beyond).await;
                cast.master(index)?.signal("CONT")
            }
            Self::CutDatabase(index) => {
                let link = cast.database_links.get(index).context("a link")?;
                link.cut();
                tokio::time::sleep(some_time).await;
                link.heal();
                Ok(())
            }
            Self::CutBroker(index) => {
                let link = cast.broker_links.get(index).context("a link")?;
                link.cut();
                tokio::time::sleep(some_time).await;
                link.heal();
                Ok(())
            }
            Self::KillWorker(index) => {
                let worker = cast.workers.get_mut(index).context("a worker")?;
                worker.kill()?;
                tokio::time::sleep(some_time).await;
                worker.start()
            }
            Self::CrashDatabase => {
                let server = cast.cluster.database.own().context("a server of its own")?;
                server.crash();
                tokio::time::sleep(some_time).await;
                cast.cluster.database.own().context("a server of its own")?.restart()
            }
            Self::CrashBroker => {
                cast.cluster.broker.kill()?;
                tokio::time::sleep(some_time).await;
                cast.cluster.broker.restart()
            }
            Self::WipeBroker => cast.cluster.broker.wipe(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(index) | Self::Restart(index) | Self::Pause(index) => write!(f, "{} m{index}", self.kind()),
            Self::CutDatabase(index) | Self::CutBroker(index) => write!(f, "{} of m{index}", self.kind()),
            Self::KillWorker(index) => write!(f, "{} w{index}", self.kind()),
            Self::CrashDatabase | Self::CrashBroker | Self::WipeBroker => f.write_str(self.kind()),
        }
    }
}
