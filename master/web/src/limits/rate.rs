//! Requests per second and address.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

/// Seconds' worth of requests that may come at once: a page with all its parts, and the next ones.
const BURST_SECONDS: u32 = 10;
/// How often addresses that have been quiet are forgotten.
pub(crate) const FORGET_EVERY: Duration = Duration::from_secs(30);
/// More addresses than this are forgotten at once.
const MAX_ADDRESSES: usize = 100_000;

/// Counts requests; without a limit it counts nothing.
#[derive(Debug)]
pub(crate) struct RateLimits {
    limiter: Option<DefaultKeyedRateLimiter<IpAddr>>,
    clock: DefaultClock,
}

impl RateLimits {
    /// At most so many requests per second and address, in the mean over ten seconds; 0: any number.
    pub(crate) fn new(requests_per_second: u32) -> Self {
        let limiter = NonZeroU32::new(requests_per_second).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_SECONDS).unwrap_or(NonZeroU32::MIN));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self { limiter, clock: DefaultClock::default() }
    }

    /// Counts a request; how long to wait if it is one too many.
    pub(crate) fn check(&self, address: IpAddr) -> Option<Duration> {
        let limiter = self.limiter.as_ref()?;
        let too_many = limiter.check_key(&address).err()?;
        Some(too_many.wait_time_from(self.clock.now()))
    }

    /// Forgets those who have all their requests again.
    pub(crate) fn forget_quiet(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            if limiter.len() > MAX_ADDRESSES {
                tracing::warn!(addresses = limiter.len(), "very many addresses send requests at the limit");
            }
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_ten_seconds_worth() {
        let limits = RateLimits::new(3);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let allowed = (0..40).take_while(|_| limits.check(one).is_none()).count();
        // Time goes on meanwhile.
        assert!((30..=32).contains(&allowed), "{allowed}");
        assert!(limits.check(one).is_some_and(|wait| wait <= Duration::from_secs(1)));
        assert_eq!(limits.check(other), None);
        limits.forget_quiet();
        assert!(limits.check(one).is_some());
        assert_eq!((0..10_000).find_map(|_| RateLimits::new(0).check(one)), None);
    }
}
