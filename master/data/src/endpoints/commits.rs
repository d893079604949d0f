//! Ranges of commits.

use buildguild_db::{Db, codebase_commits};
use buildguild_types::ids::{CodebaseId, CommitId};
use serde_json::{Map, Value};

use crate::error::DataError;

/// The way from two commits of a code base to their last common ancestor; `None` if one of them is not there.
pub(super) async fn graph(
    db: &Db,
    codebaseid: i64,
    commits: [i64; 2],
) -> Result<Option<Map<String, Value>>, DataError> {
    let [first, last] = commits.map(CommitId);
    let graph = codebase_commits::common_parent(db.read(), CodebaseId(codebaseid), first, last).await?;
    Ok(graph.and_then(|graph| match serde_json::to_value(graph) {
        Ok(Value::Object(graph)) => Some(graph),
        _ => None,
    }))
}

/// The commits on the way between the two.
pub(super) async fn range(db: &Db, codebaseid: i64, commits: [i64; 2]) -> Result<Vec<i64>, DataError> {
    let [first, last] = commits.map(CommitId);
    let graph = codebase_commits::common_parent(db.read(), CodebaseId(codebaseid), first, last).await?;
    let mut ids: Vec<i64> =
        graph.into_iter().flat_map(|graph| graph.to1.into_iter().chain(graph.to2)).map(i64::from).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
