//! How many connections, or event streams, an address has open.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::client::counted;

/// Who holds how many. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holders(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    holders: Holders,
    address: IpAddr,
}

impl Holders {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more for `address`; `None` if it has `limit` already (0: no limit).
    pub(crate) fn hold(&self, address: IpAddr, limit: usize) -> Option<Hold> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if limit > 0 && *count >= limit {
            return None;
        }
        *count += 1;
        Some(Hold { holders: self.clone(), address })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.holders.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection's place among those of its address. One too many is accepted, because only an answer can say why it is
/// refused; if it asks for nothing, the time for a request's head ends it.
#[derive(Debug)]
pub(crate) struct Connection(Option<Hold>);

impl Connection {
    /// Counts a new connection from `peer`, for as long as this lives.
    pub(crate) fn begin(holders: &Holders, limit: usize, peer: IpAddr) -> Self {
        Self(holders.hold(counted(peer), limit))
    }

    /// Whether its address has more connections than it may have.
    pub(crate) fn is_too_many(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let holders = Holders::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let first = holders.hold(one, 2).expect("one");
        let second = holders.hold(one, 2).expect("two");
        assert!(holders.hold(one, 2).is_none());
        assert!(holders.hold(other, 2).is_some());
        drop(first);
        assert!(holders.hold(one, 2).is_some());
        drop(second);
        assert!(holders.counts().is_empty());
    }
}
