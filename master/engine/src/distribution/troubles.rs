//! What is said of functions that fail: once, not at every look at the queue.
//!
//! A builder whose `nextBuild` is wrong is asked again and again, as long as requests wait. The log says so when it
//! begins, when it becomes something else, once an hour, and when it is over; the figure
//! `buildguild_builder_function_failures_total` counts each time.

use std::{collections::BTreeMap, time::Duration};

use buildguild_types::{farm::ConfigHash, ids::BuilderId};
use tokio::time::Instant;

/// The same trouble is mentioned again after this.
const REMINDER: Duration = Duration::from_secs(60 * 60);
/// Another text is mentioned after this: one that differs each time must not fill the log either.
const PAUSE: Duration = Duration::from_secs(60);

/// Whose functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// `prioritizeBuilders`.
    Order,
    /// Those of a builder.
    Builder(BuilderId),
}

#[derive(Debug)]
struct Said {
    text: String,
    at: Instant,
    unsaid: u64,
}

/// What fails now. Another version of the configuration begins anew.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    version: Option<ConfigHash>,
    said: BTreeMap<Subject, Said>,
}

impl Troubles {
    /// Forgets everything if `version` is another one than before.
    pub(super) fn under(&mut self, version: &ConfigHash) {
        if self.version.as_ref() != Some(version) {
            self.version = Some(version.clone());
            self.said.clear();
        }
    }

    /// Notes a failure. If it is to be said now: how many there were since the last that was said.
    pub(super) fn failed(&mut self, subject: Subject, text: &str) -> Option<u64> {
        let now = Instant::now();
        let Some(said) = self.said.get_mut(&subject) else {
            self.said.insert(subject, Said { text: text.to_owned(), at: now, unsaid: 0 });
            return Some(0);
        };
        let since = now.duration_since(said.at);
        if since < PAUSE || (said.text == text && since < REMINDER) {
            said.unsaid += 1;
            return None;
        }
        text.clone_into(&mut said.text);
        said.at = now;
        Some(std::mem::take(&mut said.unsaid))
    }

    /// Notes that they answered. True if they had failed before.
    pub(super) fn answered(&mut self, subject: Subject) -> bool {
        self.said.remove(&subject).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_trouble_is_said_once_an_hour() {
        let subject = Subject::Builder(BuilderId(1));
        let mut troubles = Troubles::default();
        troubles.under(&ConfigHash("a".to_owned()));
        assert_eq!(troubles.failed(subject, "x"), Some(0));
        for _ in 0..5 {
            assert_eq!(troubles.failed(subject, "x"), None);
        }
        assert_eq!(troubles.failed(subject, "y"), None);
        assert_eq!(troubles.failed(Subject::Order, "x"), Some(0));
        tokio::time::advance(PAUSE).await;
        assert_eq!(troubles.failed(subject, "x"), None);
        assert_eq!(troubles.failed(subject, "y"), Some(7));
        tokio::time::advance(REMINDER).await;
        assert_eq!(troubles.failed(subject, "y"), Some(0));
        troubles.under(&ConfigHash("b".to_owned()));
        assert_eq!(troubles.failed(subject, "y"), Some(0));
        assert!(troubles.answered(subject) && !troubles.answered(subject));
    }
}
