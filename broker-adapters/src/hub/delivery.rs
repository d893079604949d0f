//! What a subscriber gets: an event under one of its keys.

use std::sync::{Arc, OnceLock};

use buildguild_types::event::{Event, EventKey};
use bytes::Bytes;

use crate::{Cursor, Received};

/// How many forms of a delivery are kept.
const FORMS: usize = 3;

/// An event on its way to its subscribers, with the texts made for one of them that serve all.
#[derive(Debug)]
pub(crate) struct Outbound {
    received: Received,
    /// By key, then by form.
    forms: Box<[[OnceLock<Bytes>; FORMS]]>,
}

impl Outbound {
    pub(crate) fn new(received: Received) -> Arc<Self> {
        let forms = received.event.keys.iter().map(|_| Default::default()).collect();
        Arc::new(Self { received, forms })
    }
}

/// One of the texts that are made once per event and key, and shared by all subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A WebSocket frame.
    WebSocket,
    /// A WebSocket frame for a client that wants to know the cursor.
    WebSocketWithCursor,
    /// A server-sent event.
    Sse,
}

/// An event under one of its keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Delivery {
    outbound: Arc<Outbound>,
    key: usize,
}

impl Delivery {
    /// `key` is an index into the event's keys.
    pub(crate) fn new(outbound: Arc<Outbound>, key: usize) -> Self {
        Self { outbound, key }
    }

    /// The key that matched.
    #[must_use]
    pub fn key(&self) -> &EventKey {
        &self.outbound.received.event.keys[self.key]
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Arc<Event> {
        &self.outbound.received.event
    }

    /// Where the event stands in the log.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.outbound.received.cursor
    }

    /// The delivery as bytes in a form, made by `make` for the first subscriber that asks.
    pub fn rendered(&self, form: Form, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let slot = match form {
            Form::WebSocket => 0,
            Form::WebSocketWithCursor => 1,
            Form::Sse => 2,
        };
        self.outbound.forms[self.key][slot].get_or_init(|| make(self)).clone()
    }
}
