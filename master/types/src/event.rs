//! Events: "this changed", with the resource as it is now.
//!
//! An object is announced under several routing keys (`builds/3/new`, `builders/1/builds/7/new`, ...). An event carries
//! one of them, its main key, and names the others; the fan-out in each replica expands them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A routing key: parts such as `["builds", "12", "finished"]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct EventKey(Arc<str>);

impl EventKey {
    /// A key of the given parts. A `/` within a part (in a log's slug it cannot be) becomes `_`.
    pub fn new<I, S>(parts: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: std::fmt::Display,
    {
        let mut key = String::new();
        for part in parts {
            if !key.is_empty() {
                key.push('/');
            }
            key.push_str(&part.to_string().replace('/', "_"));
        }
        Self(key.into())
    }

    /// The parts in order.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The parts joined by `/`, as clients on the WebSocket see them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts joined by `.`, as outside consumers of a broker see them.
    pub fn dotted(&self) -> String {
        self.0.replace('/', ".")
    }
}

impl From<String> for EventKey {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl From<&str> for EventKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl From<EventKey> for String {
    fn from(key: EventKey) -> Self {
        key.0.to_string()
    }
}

impl std::fmt::Display for EventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Unique for ever (UUIDv7, made in the transaction that changed the state): consumers drop duplicates by it.
    pub event_id: Uuid,
    /// The keys it is announced under, in order; the first one is the main key. Never empty.
    pub keys: Vec<EventKey>,
    /// The resource as JSON, shared so that a fan-out to many does not copy it.
    pub body: Arc<RawValue>,
}

impl Event {
    /// A new event. `keys` must not be empty.
    ///
    /// # Errors
    ///
    /// If the body cannot be written as JSON, which only a map with keys that are no texts can cause.
    pub fn new(keys: Vec<EventKey>, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        debug_assert!(!keys.is_empty(), "an event has at least one key");
        let body = serde_json::value::to_raw_value(body)?;
        Ok(Self { event_id: Uuid::now_v7(), keys, body: body.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_wire() {
        let event = Event::new(
            vec![EventKey::new(["builds", "3", "new"]), EventKey::from("builders/1/builds/2/new")],
            &serde_json::json!({"buildid": 3}),
        )
        .expect("serialises");
        let text = serde_json::to_string(&event).expect("serialises");
        let back: Event = serde_json::from_str(&text).expect("parses");
        assert_eq!(back.event_id, event.event_id);
        assert_eq!(back.keys, event.keys);
        assert_eq!(back.body.get(), r#"{"buildid":3}"#);
        assert_eq!(event.keys[0].parts().collect::<Vec<_>>(), ["builds", "3", "new"]);
        assert_eq!(event.keys[1].dotted(), "builders.1.builds.2.new");
    }
}
