//! Drops events that were seen lately: publishing is at least once.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// The last so many event ids.
#[derive(Debug)]
pub(crate) struct RecentIds {
    capacity: usize,
    known: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

impl RecentIds {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), known: HashSet::new(), order: VecDeque::new() }
    }

    /// Whether the id is new; it is remembered.
    pub(crate) fn is_new(&mut self, id: Uuid) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_ids_only() {
        let mut recent = RecentIds::new(2);
        let ids: Vec<_> = (0..3).map(|_| Uuid::now_v7()).collect();
        assert!(recent.is_new(ids[0]));
        assert!(!recent.is_new(ids[0]));
        assert!(recent.is_new(ids[1]));
        assert!(recent.is_new(ids[2]));
        assert!(recent.is_new(ids[0]), "the oldest was forgotten");
    }
}
