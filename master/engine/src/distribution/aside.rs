//! Functions that take too long are left alone for a while: each attempt costs a processor for ten seconds.

use std::{collections::BTreeMap, time::Duration};

use buildguild_types::farm::ConfigHash;
use tokio::time::Instant;

use super::troubles::Subject;

/// A failure after less than this costs nothing.
const SLOW: Duration = Duration::from_secs(1);
/// The pause after the first slow failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What is set aside. Another version of the configuration gives all of them a new chance.
#[derive(Debug, Default)]
pub(super) struct Aside {
    version: Option<ConfigHash>,
    subjects: BTreeMap<Subject, (Instant, Duration)>,
}

impl Aside {
    /// Forgets everything if `version` is another one than before.
    pub(super) fn under(&mut self, version: &ConfigHash) {
        if self.version.as_ref() != Some(version) {
            self.version = Some(version.clone());
            self.subjects.clear();
        }
    }

    /// Whether it is to be left alone now.
    pub(super) fn has(&self, subject: Subject) -> bool {
        self.subjects.get(&subject).is_some_and(|(until, _)| Instant::now() < *until)
    }

    /// Notes an answer.
    pub(super) fn answered(&mut self, subject: Subject) {
        self.subjects.remove(&subject);
    }

    /// Notes a failure after that time. Gives the pause, if it was too long.
    pub(super) fn failed(&mut self, subject: Subject, after: Duration) -> Option<Duration> {
        if after < SLOW {
            return None;
        }
        let pause = match self.subjects.get(&subject) {
            Some((_, before)) => (*before * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.subjects.insert(subject, (Instant::now() + pause, pause));
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use buildguild_types::ids::BuilderId;

    use super::*;

    const BUILDER: Subject = Subject::Builder(BuilderId(1));

    #[tokio::test(start_paused = true)]
    async fn slow_failures_wait_longer_and_longer_until_the_configuration_changes() {
        let mut aside = Aside::default();
        aside.under(&ConfigHash("a".to_owned()));
        assert_eq!(aside.failed(BUILDER, Duration::from_millis(20)), None);
        assert!(!aside.has(BUILDER));
        assert_eq!(aside.failed(BUILDER, Duration::from_secs(10)), Some(Duration::from_secs(60)));
        assert!(aside.has(BUILDER) && !aside.has(Subject::Order));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!aside.has(BUILDER));
        assert_eq!(aside.failed(BUILDER, Duration::from_secs(10)), Some(Duration::from_secs(120)));
        aside.under(&ConfigHash("a".to_owned()));
        assert!(aside.has(BUILDER));
        aside.under(&ConfigHash("b".to_owned()));
        assert!(!aside.has(BUILDER));
        assert_eq!(aside.failed(BUILDER, Duration::from_secs(10)), Some(Duration::from_secs(60)));
        aside.answered(BUILDER);
        assert!(!aside.has(BUILDER));
    }
}
