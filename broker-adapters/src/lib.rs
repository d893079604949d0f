#![doc = include_str!("../README.md")]

mod cursor;
mod hub;
mod log;
pub mod memory;

pub use self::{
    cursor::{Cursor, CursorParseError, Position},
    hub::{
        Delivery, EventHub, FilterChange, FilterHandle, Form, Gone, HubOptions, HubSubscription, SubscribeFrom,
        TopicFilter, TopicFilterError,
    },
    log::{BrokerError, EventLog, Received, SubscribeError, Subscription},
};
