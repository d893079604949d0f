//! Which waiting requests may become one build.
//!
//! The newest request of a group is built, since its source holds that of the older ones; the older ones end SKIPPED.

use buildguild_db::scheduling::RequestStamp;
use buildguild_types::ids::BuildRequestId;

/// What a request asks to build, as far as collapsing looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The request.
    pub(crate) id: BuildRequestId,
    /// Its source stamps.
    pub(crate) stamps: Vec<Stamp>,
}

/// A source stamp of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// The code base.
    pub(crate) codebase: String,
    /// The branch.
    pub(crate) branch: Option<String>,
    /// The project.
    pub(crate) project: String,
    /// The repository.
    pub(crate) repository: String,
    /// The revision.
    pub(crate) revision: Option<String>,
    /// Whether there is a patch on top.
    pub(crate) has_patch: bool,
    /// Whether a change came with it.
    pub(crate) has_changes: bool,
}

/// Whether two requests of one builder can be one build: the same code bases on the same branches of the same
/// repositories, no patches, and either both with changes, or both without and for the same revisions.
pub(crate) fn compatible(a: &Candidate, b: &Candidate) -> bool {
    if a.stamps.len() != b.stamps.len() {
        return false;
    }
    let mut left: Vec<&Stamp> = a.stamps.iter().collect();
    let mut right: Vec<&Stamp> = b.stamps.iter().collect();
    left.sort();
    right.sort();
    left.into_iter().zip(right).all(|(a, b)| {
        a.codebase == b.codebase
            && a.branch == b.branch
            && a.project == b.project
            && a.repository == b.repository
            && !a.has_patch
            && !b.has_patch
            && a.has_changes == b.has_changes
            && (a.has_changes || a.revision == b.revision)
    })
}

/// Groups the source stamps of requests, which come ordered by request.
pub(crate) fn candidates(stamps: Vec<RequestStamp>) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for RequestStamp { request, stamp, has_changes } in stamps {
        let stamp = Stamp {
            codebase: stamp.codebase,
            branch: stamp.branch,
            project: stamp.project,
            repository: stamp.repository,
            revision: stamp.revision,
            has_patch: stamp.patch.is_some(),
            has_changes,
        };
        match candidates.last_mut() {
            Some(last) if last.id == request => last.stamps.push(stamp),
            _ => candidates.push(Candidate { id: request, stamps: vec![stamp] }),
        }
    }
    candidates
}

/// The groups that collapse, by compatibility alone: the request to build, and those that it replaces. `candidates` are
/// in order of age, the oldest first.
pub(crate) fn groups(candidates: &[Candidate]) -> Vec<(BuildRequestId, Vec<BuildRequestId>)> {
    let mut taken = vec![false; candidates.len()];
    let mut groups = Vec::new();
    for newest in (0..candidates.len()).rev() {
        if taken[newest] {
            continue;
        }
        let mut replaced = Vec::new();
        for older in 0..newest {
            if !taken[older] && compatible(&candidates[older], &candidates[newest]) {
                taken[older] = true;
                replaced.push(candidates[older].id);
            }
        }
        if !replaced.is_empty() {
            groups.push((candidates[newest].id, replaced));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(branch: &str, revision: &str, has_changes: bool) -> Stamp {
        Stamp {
            codebase: String::new(),
            branch: Some(branch.to_owned()),
            project: "p".to_owned(),
            repository: "r".to_owned(),
            revision: Some(revision.to_owned()),
            has_patch: false,
            has_changes,
        }
    }

    fn request(id: i64, stamps: Vec<Stamp>) -> Candidate {
        Candidate { id: BuildRequestId(id), stamps }
    }

    #[test]
    fn changes_of_one_branch_collapse_into_the_newest() {
        let all = [
            request(1, vec![stamp("main", "a", true)]),
            request(2, vec![stamp("topic", "b", true)]),
            request(3, vec![stamp("main", "c", true)]),
            request(4, vec![stamp("main", "d", true)]),
        ];
        assert_eq!(groups(&all), [(BuildRequestId(4), vec![BuildRequestId(1), BuildRequestId(3)])]);
    }

    #[test]
    fn forced_builds_collapse_only_for_one_revision_and_never_with_a_patch() {
        let a = request(1, vec![stamp("main", "a", false)]);
        let b = request(2, vec![stamp("main", "b", false)]);
        assert!(!compatible(&a, &b));
        assert!(compatible(&a, &request(3, vec![stamp("main", "a", false)])));
        assert!(!compatible(&a, &request(3, vec![stamp("main", "a", true)])));
        let patched = request(4, vec![Stamp { has_patch: true, ..stamp("main", "a", false) }]);
        assert!(!compatible(&patched, &patched.clone()));
    }

    proptest! {
        /// The order of the source stamps does not matter, the relation is symmetric, and no request is in two groups.
        #[test]
        fn groups_are_disjoint(picks in prop::collection::vec((0..3_usize, 0..3_usize, any::<bool>()), 0..12)) {
            let all: Vec<Candidate> = picks.iter().enumerate().map(|(i, (branch, revision, changes))| {
                let one = stamp(["a", "b", "c"][*branch], ["1", "2", "3"][*revision], *changes);
                let two = Stamp { codebase: "lib".to_owned(), ..one.clone() };
                let stamps = if i % 2 == 0 { vec![one, two] } else { vec![two, one] };
                request(i64::try_from(i).expect("small"), stamps)
            }).collect();
            let mut seen = std::collections::BTreeSet::new();
            for (keep, replaced) in groups(&all) {
                prop_assert!(seen.insert(keep));
                for id in replaced {
                    prop_assert!(id < keep);
                    prop_assert!(seen.insert(id));
                }
            }
            for a in &all {
                for b in &all {
                    prop_assert_eq!(compatible(a, b), compatible(b, a));
                }
            }
        }
    }
}
