//! A broker of its own for each test that wants one, which the test can kill, start again and wipe.

use anyhow::{Result, ensure};
use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use test_servers::{RabbitMq, Redis};

/// Through which broker the masters of a test hear of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// None: each master hears itself only, and re-scans have to find the rest.
    Memory,
    /// A Redis server.
    Redis,
    /// A RabbitMQ server; it takes some seconds to start.
    RabbitMq,
}

/// The broker of one test.
#[derive(Debug)]
pub enum TestBroker {
    /// There is none.
    Memory,
    /// A Redis server.
    Redis(Redis),
    /// A RabbitMQ server.
    RabbitMq(Box<RabbitMq>),
}

impl TestBroker {
    /// Starts a server of this kind.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(broker: Broker) -> Result<Self> {
        Ok(match broker {
            Broker::Memory => Self::Memory,
            Broker::Redis => Self::Redis(Redis::start()?),
            Broker::RabbitMq => Self::RabbitMq(Box::new(RabbitMq::start()?)),
        })
    }

    /// What masters have as `broker.url`, if there is a server.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Memory => None,
            Self::Redis(server) => Some(server.url()),
            Self::RabbitMq(server) => Some(server.url()),
        }
    }

    /// The loopback port of the server, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Memory => None,
            Self::Redis(server) => Some(server.port()),
            Self::RabbitMq(server) => Some(server.port()),
        }
    }

    /// Ends the server: Redis by SIGKILL, RabbitMQ in order (see [`test_servers::RabbitMq::stop`]).
    ///
    /// # Errors
    /// If there is none.
    pub fn kill(&mut self) -> Result<()> {
        ensure!(!matches!(self, Self::Memory), "the broker is the masters' memory");
        match self {
            Self::Memory => {}
            Self::Redis(server) => server.kill(),
            Self::RabbitMq(server) => server.stop(),
        }
        Ok(())
    }

    /// Starts the server again, with what it has on disk.
    ///
    /// # Errors
    /// If it cannot be started, or runs.
    pub fn restart(&mut self) -> Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Redis(server) => server.restart(),
            Self::RabbitMq(server) => server.restart(),
        }
    }

    /// Starts the server again with an empty disk; ends it first if it runs.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_empty(&mut self) -> Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Redis(server) => server.start_empty(),
            Self::RabbitMq(server) => server.wipe(),
        }
    }

    /// Takes the event log of this generation out of the running server, as an administrator's mistake would: `FLUSHALL`
    /// in Redis, the deletion of the queue in RabbitMQ.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn lose_log(&self, generation: &str) -> Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Redis(server) => server.wipe(),
            Self::RabbitMq(server) => delete_queue(&server.url(), &format!("log.{generation}")).await,
        }
    }

    /// Removes all that the server holds. (RabbitMQ is killed and started again for that.)
    ///
    /// # Errors
    /// If it does not run.
    pub fn wipe(&mut self) -> Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Redis(server) => server.wipe(),
            Self::RabbitMq(server) => server.wipe(),
        }
    }
}

async fn delete_queue(url: &str, queue: &str) -> Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    Ok(connection.close(200, "done".into()).await?)
}
