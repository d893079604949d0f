//! `locks` of builders and steps.

use std::collections::BTreeMap;

use buildguild_types::farm::{LockAccess, LockScope};

use super::{Lower, describe};
use crate::lang::{Node, ObjectNode};
use crate::schema::Kind;

impl Lower<'_> {
    /// The locks of a builder or step.
    pub(super) fn locks(&self, o: &ObjectNode) -> Vec<LockAccess> {
        match o.arg("locks") {
            None => Vec::new(),
            Some(Node::List(items)) => items.iter().filter_map(|item| self.lock_access(o, item)).collect(),
            Some(_) => {
                let message = "`locks` that are computed are not available in this version".to_owned();
                self.report.argument(o, "locks", message, Some("give a list".to_owned()));
                Vec::new()
            }
        }
    }

    fn lock_access(&self, o: &ObjectNode, item: &Node) -> Option<LockAccess> {
        let wrong = |message: String, help: &str| {
            self.report.argument(o, "locks", message, Some(help.to_owned()));
            None
        };
        let access = match item {
            Node::Object(access) if access.class.kind == Kind::LockAccess => access,
            Node::Placeholder => return None,
            other => {
                let message = format!("`locks` takes uses of locks, not {}", describe(other));
                return wrong(message, "write lock.access('counting') or lock.access('exclusive')");
            }
        };
        let Some(Node::Object(lock)) = access.arg("lock") else { return None };
        let name = lock.name()?.to_owned();
        let exclusive = match access.arg("mode") {
            Some(Node::Str(mode)) if mode == "exclusive" => true,
            Some(Node::Str(mode)) if mode == "counting" => false,
            _ => return wrong(format!("lock `{name}`: unknown mode of access"), "'counting' or 'exclusive'"),
        };
        let number = |o: &ObjectNode, name: &str| match o.arg(name) {
            None => Some(1),
            Some(Node::Int(n)) => u32::try_from(*n).ok(),
            Some(_) => None,
        };
        let (Some(max_count), Some(count)) = (number(lock, "maxCount"), number(access, "count")) else {
            return wrong(format!("lock `{name}`: counts are integers that are not negative"), "leave it out for 1");
        };
        if exclusive && count != 1 {
            return wrong(format!("lock `{name}`: an exclusive access has the count 1"), "leave the count out");
        }
        let max_count_for_worker: BTreeMap<String, u32> = match lock.arg("maxCountForWorker") {
            Some(Node::Dict(entries)) => entries
                .iter()
                .filter_map(|(worker, places)| match (worker, places) {
                    (Node::Str(worker), Node::Int(places)) => Some((worker.clone(), u32::try_from(*places).ok()?)),
                    _ => None,
                })
                .collect(),
            _ => BTreeMap::new(),
        };
        let scope = if lock.class.name == "WorkerLock" { LockScope::Worker } else { LockScope::Cluster };
        Some(LockAccess { name, scope, max_count, max_count_for_worker, exclusive, count })
    }
}
