//! Which log is the cluster's: generations, and who decides about them.
//!
//! The log of one generation is one stream in the broker. When that stream is gone (somebody wiped the broker) or has
//! lost its end (a failover), positions in it mean nothing any more, and every replica has to agree on a new one: the
//! database decides, by a conditional update. A generation is put in force only after its stream was made; so a
//! generation in force without a stream has been lost, and is never just not there yet.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

/// Why the generation could not be learnt or changed.
#[derive(Debug, thiserror::Error)]
#[error("agree on the generation of the event log")]
pub struct GenerationError(#[source] pub Box<dyn Error + Send + Sync>);

/// Where a cluster keeps the name of its log's generation. All replicas have to see one order of changes.
#[async_trait]
pub trait Generations: Send + Sync + 'static {
    /// The generation in force; none if there never was one.
    ///
    /// # Errors
    /// If it cannot be learnt.
    async fn current(&self) -> Result<Option<Arc<str>>, GenerationError>;

    /// Puts `new` in force if `old` still is, and returns which one is in force then: that of somebody else, if they were
    /// quicker.
    ///
    /// # Errors
    /// If it cannot be changed; it may have been changed nevertheless.
    async fn replace(&self, old: Option<&str>, new: &str) -> Result<Arc<str>, GenerationError>;
}

/// Generations in this process's memory: for tests, and for tools that have a log of their own.
#[derive(Debug, Default)]
pub struct MemoryGenerations(Mutex<Option<Arc<str>>>);

#[async_trait]
impl Generations for MemoryGenerations {
    async fn current(&self) -> Result<Option<Arc<str>>, GenerationError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn replace(&self, old: Option<&str>, new: &str) -> Result<Arc<str>, GenerationError> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(in_force) if Some(&**in_force) != old => Ok(Arc::clone(in_force)),
            _ => Ok(Arc::clone(current.insert(new.into()))),
        }
    }
}

/// The furthest place that was read through an adapter. A place beyond the log's end tells that the end was lost only if
/// it was given out here; one that somebody made up tells nothing, and must not cost everybody the log.
#[cfg(any(feature = "redis", feature = "amqp"))]
#[derive(Debug, Default)]
pub(crate) struct Furthest(Mutex<Option<crate::Cursor>>);

#[cfg(any(feature = "redis", feature = "amqp"))]
impl Furthest {
    /// A reader got to `place`.
    pub(crate) fn note(&self, place: &crate::Cursor) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(furthest) if furthest.is_same_generation(place) && furthest.position() >= place.position() => {}
            other => *other = Some(place.clone()),
        }
    }

    /// Whether some reader got to `place`.
    pub(crate) fn reached(&self, place: &crate::Cursor) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|f| f.is_same_generation(place) && f.position() >= place.position())
    }
}

/// A name for a new generation: letters and digits, never used before.
#[cfg(any(feature = "redis", feature = "amqp"))]
pub(crate) fn new_generation() -> Arc<str> {
    uuid::Uuid::now_v7().simple().to_string().into()
}
