//! Builders whose functions take too long are set aside for a while, so that they cannot hold up all others.

use std::{collections::BTreeMap, time::Duration};

use buildguild_types::{farm::ConfigHash, ids::BuilderId};
use tokio::time::Instant;

/// A failure after less than this holds nobody up.
const SLOW: Duration = Duration::from_secs(1);
/// The pause after the first slow failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The builders that are set aside. Another version of the configuration gives all of them a new chance.
#[derive(Debug, Default)]
pub(super) struct Aside {
    version: Option<ConfigHash>,
    builders: BTreeMap<BuilderId, (Instant, Duration)>,
}

impl Aside {
    /// Forgets everything if `version` is another one than before.
    pub(super) fn under(&mut self, version: &ConfigHash) {
        if self.version.as_ref() != Some(version) {
            self.version = Some(version.clone());
            self.builders.clear();
        }
    }

    /// Whether the builder is to be left alone now.
    pub(super) fn has(&self, builder: BuilderId) -> bool {
        self.builders.get(&builder).is_some_and(|(until, _)| Instant::now() < *until)
    }

    /// Notes that a builder's functions answered.
    pub(super) fn answered(&mut self, builder: BuilderId) {
        self.builders.remove(&builder);
    }

    /// Notes that one of its functions failed after that time. Gives the pause, if it was too long.
    pub(super) fn failed(&mut self, builder: BuilderId, after: Duration) -> Option<Duration> {
        if after < SLOW {
            return None;
        }
        let pause = match self.builders.get(&builder) {
            Some((_, before)) => (*before * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.builders.insert(builder, (Instant::now() + pause, pause));
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILDER: BuilderId = BuilderId(1);

    #[tokio::test(start_paused = true)]
    async fn slow_failures_wait_longer_and_longer_until_the_configuration_changes() {
        let mut aside = Aside::default();
        aside.under(&ConfigHash("a".to_owned()));
        assert_eq!(aside.failed(BUILDER, Duration::from_millis(20)), None);
        assert!(!aside.has(BUILDER));
        assert_eq!(aside.failed(BUILDER, Duration::from_secs(10)), Some(Duration::from_secs(60)));
        assert!(aside.has(BUILDER) && !aside.has(BuilderId(2)));
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
