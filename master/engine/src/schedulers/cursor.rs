//! How far a scheduler has read the changes.
//!
//! Change ids are given when a change is written, but transactions commit in any order, so a change may appear below
//! one that was read already. The ids that were skipped are therefore remembered, and asked for again until they have
//! appeared or can no longer do so. That makes the cursor exact: each change is read once, whoever added it.

use std::{collections::BTreeMap, time::Duration};

use buildguild_types::{ids::ChangeId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// No transaction that adds a change stays open for so long.
const GAP_LIFETIME: Duration = Duration::from_secs(600);
/// More gaps than that are not remembered; a rolled back batch leaves a gap for each of its changes.
const MAX_GAPS: i64 = 10_000;

/// A position in the changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The largest id that was read.
    pub(crate) last: i64,
    /// Smaller ids that were not there, with the time (microseconds) when that was noticed first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) gaps: BTreeMap<i64, i64>,
}

impl Cursor {
    /// A position behind all changes up to this one.
    pub(crate) fn after(last: Option<ChangeId>) -> Self {
        Self { last: last.map_or(0, ChangeId::get), gaps: BTreeMap::new() }
    }

    /// Notes that these changes were read; `ids` ascend.
    pub(crate) fn advance(&mut self, ids: impl IntoIterator<Item = ChangeId>, now: Timestamp) {
        for id in ids {
            let id = id.get();
            self.gaps.remove(&id);
            if id > self.last {
                for gap in (self.last + 1).max(id - MAX_GAPS)..id {
                    self.gaps.insert(gap, now.micros());
                }
                self.last = id;
            }
        }
    }

    /// Gives up on gaps that can no longer be filled. True if there were any.
    pub(crate) fn forget_old_gaps(&mut self, now: Timestamp) -> bool {
        let before = self.gaps.len();
        self.gaps.retain(|_, seen| now.since(Timestamp::from_micros(*seen)) < GAP_LIFETIME);
        while i64::try_from(self.gaps.len()).unwrap_or(i64::MAX) > MAX_GAPS {
            self.gaps.pop_first();
        }
        self.gaps.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_commits_late_is_still_read() {
        let now = Timestamp::from_secs(100);
        let mut cursor = Cursor::after(Some(ChangeId(5)));
        cursor.advance([ChangeId(7), ChangeId(9)], now);
        assert_eq!(cursor.last, 9);
        assert_eq!(cursor.gaps.keys().copied().collect::<Vec<_>>(), [6, 8]);
        cursor.advance([ChangeId(6)], now);
        assert_eq!(cursor.gaps.keys().copied().collect::<Vec<_>>(), [8]);
        assert!(!cursor.forget_old_gaps(Timestamp::from_secs(200)));
        assert!(cursor.forget_old_gaps(Timestamp::from_secs(1000)));
        assert!(cursor.gaps.is_empty());
        let text = serde_json::to_string(&cursor).expect("serialises");
        assert_eq!(text, r#"{"last":9}"#);
    }

    #[test]
    fn a_huge_gap_is_bounded() {
        let mut cursor = Cursor::default();
        cursor.advance([ChangeId(1_000_000_000)], Timestamp::from_secs(1));
        assert!(cursor.gaps.len() <= usize::try_from(MAX_GAPS).expect("it fits"));
    }
}
