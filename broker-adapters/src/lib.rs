#![doc = include_str!("../README.md")]

#[cfg(feature = "amqp")]
mod amqp;
mod cursor;
mod generation;
mod hub;
mod log;
pub mod memory;
mod open;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "amqp"))]
mod tls;

pub use self::{
    cursor::{Cursor, CursorParseError, Position},
    generation::{GenerationError, Generations, MemoryGenerations},
    hub::{
        Delivery, EventHub, FilterChange, FilterHandle, Form, Gone, HubOptions, HubSubscription, SubscribeFrom,
        TopicFilter, TopicFilterError,
    },
    log::{BrokerError, EventLog, Received, SubscribeError, Subscription},
    open::{BrokerOptions, Forwarded, MEMORY, OpenError, Outside, kind, open, outside},
};
