//! From a URL to an event log.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use buildguild_types::event::Event;

use crate::{BrokerError, EventLog, Generations, memory::MemoryLog};

/// Which broker, and how much it keeps.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrokerOptions {
    /// `memory:`, `redis://`, `rediss://`, `redis+sentinel://`, `rediss+sentinel://`, `amqp://` or `amqps://`. Holds
    /// secrets.
    pub url: String,
    /// About so many events are kept for readers that were away (memory and Redis).
    pub retained_events: usize,
    /// About so many bytes are kept for readers that were away (RabbitMQ).
    pub retained_bytes: u64,
    /// Certificates of the authorities that the broker's certificate may come from, in PEM; the system's if not given.
    pub authorities: Option<String>,
}

impl BrokerOptions {
    /// The defaults for a broker: 65,536 events or 256 MiB.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { url, retained_events: 65_536, retained_bytes: 256 * 1024 * 1024, authorities: None }
    }
}

/// Why there is no log for a URL. Nothing of the URL is in the message: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No adapter serves this scheme.
    #[error("find a message broker for the scheme {scheme:?}; there are {}", schemes())]
    Scheme {
        /// What is before the first `:`.
        scheme: String,
    },
    /// The adapter does not understand the URL or the certificates.
    #[error("understand the URL or the certificates of the message broker")]
    Invalid(#[source] Box<dyn Error + Send + Sync>),
}

/// The kind of the broker in a master's memory, see [`kind`].
pub const MEMORY: &str = "memory";

/// The brokers of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "amqp")]
    RabbitMq,
}

/// The schemes of URLs, and what each leads to.
const SCHEMES: &[(&str, Kind)] = &[
    ("memory", Kind::Memory),
    #[cfg(feature = "redis")]
    ("redis", Kind::Redis),
    #[cfg(feature = "redis")]
    ("rediss", Kind::Redis),
    #[cfg(feature = "redis")]
    ("redis+sentinel", Kind::Redis),
    #[cfg(feature = "redis")]
    ("rediss+sentinel", Kind::Redis),
    #[cfg(feature = "amqp")]
    ("amqp", Kind::RabbitMq),
    #[cfg(feature = "amqp")]
    ("amqps", Kind::RabbitMq),
];

fn schemes() -> String {
    SCHEMES.iter().map(|(scheme, _)| *scheme).collect::<Vec<_>>().join(", ")
}

impl Kind {
    fn of(options: &BrokerOptions) -> Result<Self, OpenError> {
        let scheme = options.url.split(':').next().unwrap_or_default();
        let found = SCHEMES.iter().find(|(known, _)| *known == scheme);
        found.map(|(_, kind)| *kind).ok_or_else(|| OpenError::Scheme { scheme: scheme.to_owned() })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => MEMORY,
            #[cfg(feature = "redis")]
            Self::Redis => "Redis",
            #[cfg(feature = "amqp")]
            Self::RabbitMq => "RabbitMQ",
        }
    }
}

/// The kind of broker that a URL names: masters of one cluster have to agree on it.
///
/// # Errors
/// [`OpenError::Scheme`].
pub fn kind(options: &BrokerOptions) -> Result<&'static str, OpenError> {
    Ok(Kind::of(options)?.name())
}

/// Opens the event log that a URL names. It connects when it is first used, and again whenever it has to.
///
/// # Errors
/// [`OpenError`]; a broker that cannot be reached is no error here.
pub fn open(options: &BrokerOptions, generations: Arc<dyn Generations>) -> Result<Arc<dyn EventLog>, OpenError> {
    match Kind::of(options)? {
        Kind::Memory => {
            // There is nobody to agree with.
            drop(generations);
            let bytes = usize::try_from(options.retained_bytes).unwrap_or(usize::MAX);
            Ok(Arc::new(MemoryLog::bounded(options.retained_events, bytes)))
        }
        #[cfg(feature = "redis")]
        Kind::Redis => Ok(Arc::new(crate::redis::RedisLog::new(options, generations)?)),
        #[cfg(feature = "amqp")]
        Kind::RabbitMq => Ok(Arc::new(crate::amqp::AmqpLog::new(options, generations)?)),
    }
}

/// A way for events to consumers that are no part of the cluster.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// Hands on a batch, and returns when the broker has it.
    ///
    /// # Errors
    /// [`BrokerError`]: none, some or all of the batch may have been handed on; do all of it again.
    async fn forward(&self, batch: &[Arc<Event>]) -> Result<Forwarded, BrokerError>;
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// How many messages were handed on: one for each key of each event.
    pub messages: u64,
    /// How many of them some outsider's queue refused, because it is full.
    pub refused: u64,
}

/// The way outside, if the broker that a URL names has one: RabbitMQ's topic exchange `buildguild.events`.
///
/// # Errors
/// [`OpenError`]; a broker that cannot be reached is no error here.
pub fn outside(options: &BrokerOptions) -> Result<Option<Arc<dyn Outside>>, OpenError> {
    match Kind::of(options)? {
        Kind::Memory => Ok(None),
        #[cfg(feature = "redis")]
        Kind::Redis => Ok(None),
        #[cfg(feature = "amqp")]
        Kind::RabbitMq => Ok(Some(Arc::new(crate::amqp::outside::AmqpOutside::new(options)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryGenerations;

    #[test]
    fn every_scheme_is_of_a_kind_and_can_be_opened() {
        for (scheme, expected) in SCHEMES {
            let address = if scheme.contains("sentinel") { "localhost/news" } else { "localhost" };
            let options = BrokerOptions::new(format!("{scheme}://{address}"));
            assert_eq!(kind(&options).unwrap(), expected.name());
            open(&options, Arc::new(MemoryGenerations::default())).unwrap();
            assert_eq!(outside(&options).unwrap().is_some(), expected.name() == "RabbitMQ", "{scheme}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_told_with_those_that_there_are() {
        let options = BrokerOptions::new("kafka://user:secret@localhost".to_owned());
        let told = kind(&options).unwrap_err().to_string();
        assert!(told.contains("\"kafka\"") && told.contains("memory") && !told.contains("secret"), "{told}");
        assert!(open(&options, Arc::new(MemoryGenerations::default())).is_err());
        assert!(outside(&options).is_err());
    }
}
