//! Topic filters and the index that finds who wants an event. The cost of a look-up depends on the length of the key and
//! on how many filters match, not on how many there are.

use std::{collections::HashMap, fmt, str::FromStr};

/// The most parts a filter may have; the longest key has seven.
const MAX_PARTS: usize = 16;
/// The longest filter, in bytes.
const MAX_LEN: usize = 1024;

/// A key in which `*` stands for exactly one part, such as `builds/*/finished`. It matches keys with as many parts.
///
/// Keys that start with `_` are internal hints: only filters that name that first part literally match them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter(Box<str>);

/// A filter is too long or has too many parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use a topic filter of more than {MAX_PARTS} parts or {MAX_LEN} bytes")]
pub struct TopicFilterError;

impl TopicFilter {
    /// The filter's parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The filter as written, parts joined by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names internal hints, which are not for clients.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with('_')
    }

    /// Whether it matches `key`, parts joined by `/`.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        let mut filter = self.parts();
        let mut key = key.split('/');
        let mut is_first = true;
        loop {
            match (filter.next(), key.next()) {
                (None, None) => return true,
                (Some(want), Some(part)) => {
                    let is_wild = want == "*" && !(is_first && part.starts_with('_'));
                    if !is_wild && want != part {
                        return false;
                    }
                }
                (None, Some(_)) | (Some(_), None) => return false,
            }
            is_first = false;
        }
    }
}

impl FromStr for TopicFilter {
    type Err = TopicFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_LEN || text.split('/').count() > MAX_PARTS {
            return Err(TopicFilterError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who listens to what: a trie over the parts of the filters.
#[derive(Debug, Default)]
pub(crate) struct TopicIndex {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, Node>,
    wild: Option<Box<Node>>,
    /// Members whose filter ends here; one entry per filter.
    members: Vec<u64>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.wild.is_none() && self.literal.is_empty()
    }

    fn remove(&mut self, parts: &mut dyn Iterator<Item = &str>, member: u64) {
        match parts.next() {
            None => {
                if let Some(at) = self.members.iter().position(|m| *m == member) {
                    self.members.swap_remove(at);
                }
            }
            Some("*") => {
                if let Some(wild) = &mut self.wild {
                    wild.remove(parts, member);
                    if wild.is_empty() {
                        self.wild = None;
                    }
                }
            }
            Some(part) => {
                if let Some(node) = self.literal.get_mut(part) {
                    node.remove(parts, member);
                    if node.is_empty() {
                        self.literal.remove(part);
                    }
                }
            }
        }
    }

    fn find(&self, mut rest: std::str::Split<'_, char>, is_first: bool, found: &mut Vec<u64>) {
        let Some(part) = rest.next() else {
            found.extend_from_slice(&self.members);
            return;
        };
        if let Some(node) = self.literal.get(part) {
            node.find(rest.clone(), false, found);
        }
        if let Some(node) = &self.wild
            && !(is_first && part.starts_with('_'))
        {
            node.find(rest, false, found);
        }
    }
}

impl TopicIndex {
    /// Adds a member's filter. The caller sees to it that a member adds a filter once.
    pub(crate) fn insert(&mut self, filter: &TopicFilter, member: u64) {
        let mut node = &mut self.root;
        for part in filter.parts() {
            node = match part {
                "*" => &mut **node.wild.get_or_insert_default(),
                // Only what is new is copied.
                _ if node.literal.contains_key(part) => node.literal.get_mut(part).expect("it was found just now"),
                _ => node.literal.entry(part.into()).or_default(),
            };
        }
        node.members.push(member);
    }

    /// Removes a member's filter, and the branches that held nothing else.
    pub(crate) fn remove(&mut self, filter: &TopicFilter, member: u64) {
        self.root.remove(&mut filter.parts(), member);
    }

    /// Appends the members with a filter that matches, once per filter.
    pub(crate) fn find(&self, key: &str, found: &mut Vec<u64>) {
        self.root.find(key.split('/'), true, found);
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        text.parse().expect("a short filter")
    }

    #[test]
    fn a_star_is_exactly_one_part() {
        assert!(filter("builds/*/*").matches("builds/3/new"));
        assert!(!filter("builds/*/*").matches("builds/3"));
        assert!(!filter("builds/*").matches("builds/3/new"));
        assert!(!filter("*/*/*").matches("_hint/3/new"));
        assert!(filter("_hint/*/*").matches("_hint/3/new"));
        assert!(!filter("builds/*/new").matches("builds/3/finished"));
    }

    #[test]
    fn oversized_filters_are_refused() {
        assert_eq!("a/".repeat(20).parse::<TopicFilter>(), Err(TopicFilterError));
        assert_eq!("a".repeat(2000).parse::<TopicFilter>(), Err(TopicFilterError));
    }

    fn part() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("*"), Just("_i"), Just("")]
    }

    proptest! {
        /// The index agrees with matching one by one, and is empty when all are removed.
        #[test]
        fn index_agrees_with_matching(
            filters in prop::collection::vec(prop::collection::vec(part(), 1..4), 0..12),
            key in prop::collection::vec(part(), 1..4),
        ) {
            let filters: Vec<_> = filters.iter().map(|parts| filter(&parts.join("/"))).collect();
            let key = key.join("/");
            let mut index = TopicIndex::default();
            for (member, filter) in (0..).zip(&filters) {
                index.insert(filter, member);
            }
            let mut found = Vec::new();
            index.find(&key, &mut found);
            found.sort_unstable();
            let expected: Vec<u64> = (0..).zip(&filters).filter(|(_, f)| f.matches(&key)).map(|(n, _)| n).collect();
            prop_assert_eq!(found, expected);
            for (member, filter) in (0..).zip(&filters) {
                index.remove(filter, member);
            }
            prop_assert!(index.is_empty());
        }
    }
}
