//! Builders that could take each other's workers form a lane.
//!
//! Within a lane the order of urgency counts: who comes first takes a worker first, even if it has to think about it.
//! Between lanes it does not, so a builder that is slow to answer holds up only those that want the same workers.

use std::collections::{HashMap, VecDeque};

/// Sorts `entries` into lanes, keeping their order in each. `workers` gives the names of an entry's workers.
pub(super) fn lanes<T>(entries: Vec<T>, workers: impl Fn(&T) -> &[String]) -> Vec<VecDeque<T>> {
    let mut parents: Vec<usize> = (0..entries.len()).collect();
    let mut first_with: HashMap<String, usize> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        for worker in workers(entry) {
            match first_with.get(worker) {
                Some(other) => {
                    let (a, b) = (root(&mut parents, *other), root(&mut parents, index));
                    parents[a.max(b)] = a.min(b);
                }
                None => {
                    first_with.insert(worker.clone(), index);
                }
            }
        }
    }
    let mut lane_of: HashMap<usize, usize> = HashMap::new();
    let mut lanes: Vec<VecDeque<T>> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let lane = *lane_of.entry(root(&mut parents, index)).or_insert_with(|| {
            lanes.push(VecDeque::new());
            lanes.len() - 1
        });
        lanes[lane].push_back(entry);
    }
    lanes
}

/// The smallest index of the group; shortens the way for the next time.
fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_share_workers_share_a_lane() {
        let entry = |name: &'static str, workers: &[&str]| {
            (name, workers.iter().map(|w| (*w).to_owned()).collect::<Vec<String>>())
        };
        let entries = vec![
            entry("a", &["1"]),
            entry("b", &["2"]),
            entry("c", &["3", "1"]),
            entry("d", &["4"]),
            entry("e", &["2", "4"]),
            entry("f", &[]),
        ];
        let lanes = lanes(entries, |(_, workers)| workers);
        let names: Vec<Vec<&str>> = lanes.iter().map(|lane| lane.iter().map(|(name, _)| *name).collect()).collect();
        assert_eq!(names, [vec!["a", "c"], vec!["b", "d", "e"], vec!["f"]]);
    }
}
