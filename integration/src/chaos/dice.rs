//! Random numbers that a seed repeats.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to choose faults by.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    /// A time between the two.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let span = longest.saturating_sub(shortest).as_millis();
        let span = usize::try_from(span).unwrap_or(usize::MAX - 1);
        shortest + Duration::from_millis(u64::try_from(self.below(span + 1)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers_and_times_stay_within_their_bounds() {
        let (mut first, mut again) = (Dice::new(7), Dice::new(7));
        for _ in 0..100 {
            assert_eq!(first.below(10), again.below(10));
            let time = first.between(Duration::from_secs(1), Duration::from_secs(2));
            assert!(time >= Duration::from_secs(1) && time <= Duration::from_secs(2));
            again.between(Duration::ZERO, Duration::from_secs(9));
        }
        assert_ne!(Dice::new(1).next(), Dice::new(2).next());
    }
}
