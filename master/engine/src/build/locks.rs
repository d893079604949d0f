//! Waiting for locks: of a build before its first step, of a step before it runs.
//!
//! Places and queues are in the database, so a lock is one of the whole cluster. Who waits looks whether its turn has
//! come, which is a read; only then it tries to take the locks. While it waits it can be stopped like at any other time.

use std::time::Duration;

use buildguild_db::DbError;
use buildguild_db::locks::Wanted;
use buildguild_types::farm::LockAccess;
use buildguild_types::ids::StepId;
use tokio::time::Instant;

use super::context::BuildContext;
use crate::steps::StepError;

/// Between two looks whether the turn has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What a step or build wants, on that worker. Several uses of one lock count as one.
fn wanted(locks: &[LockAccess], worker: &str) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for lock in locks {
        let (key, places) = (lock.key(worker), i64::from(lock.count));
        match wanted.iter_mut().find(|other| other.key == key) {
            Some(same) => {
                same.exclusive |= lock.exclusive;
                same.places += places;
            }
            None => {
                let capacity = i64::from(lock.places(worker));
                wanted.push(Wanted { key, exclusive: lock.exclusive, places, capacity });
            }
        }
    }
    wanted
}

/// Waits until the build, or a step of it, has its locks.
///
/// # Errors
/// If the build is stopped or the worker lost meanwhile, or the database refuses.
pub(super) async fn take(
    build: &mut BuildContext,
    step: Option<StepId>,
    locks: &[LockAccess],
) -> Result<(), StepError> {
    if locks.is_empty() {
        return Ok(());
    }
    let wanted = wanted(locks, build.worker.name());
    if let Some(never) = wanted.iter().find(|lock| !lock.exclusive && lock.places > lock.capacity) {
        let Wanted { key, places, capacity, .. } = never;
        return Err(StepError::Failed(format!("lock {key} has {capacity} places, {places} are wanted")));
    }
    if build.recorder.take_locks(step, &wanted).await? {
        return Ok(());
    }
    let began = Instant::now();
    build.recorder.say_waiting(step).await?;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            _ = build.stop.requested() => return Err(StepError::Stopped),
            () = build.worker.lost() => return Err(StepError::WorkerLost),
        }
        let is_turn = match build.recorder.locks_are_free(step, &wanted).await {
            Ok(is_turn) => is_turn,
            // The write behind it waits for the database, or finds that the claim is lost.
            Err(DbError::Busy(_) | DbError::Unavailable(_)) => true,
            Err(error) => return Err(error.into()),
        };
        if is_turn && build.recorder.take_locks(step, &wanted).await? {
            build.recorder.add_locks_duration(began.elapsed()).await?;
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use buildguild_types::farm::LockScope;

    use super::*;

    #[test]
    fn uses_of_one_lock_are_added_up() {
        let access = |name: &str, scope, exclusive, count| LockAccess {
            name: name.to_owned(),
            scope,
            max_count: 3,
            max_count_for_worker: BTreeMap::from([("w".to_owned(), 5)]),
            exclusive,
            count,
        };
        let locks = [
            access("a", LockScope::Cluster, false, 1),
            access("a", LockScope::Worker, false, 2),
            access("a", LockScope::Worker, true, 1),
        ];
        let wanted = wanted(&locks, "w");
        let shown: Vec<_> = wanted.iter().map(|w| (w.key.as_str(), w.exclusive, w.places, w.capacity)).collect();
        assert_eq!(shown, [("cluster/a", false, 1, 5), ("worker/w/a", true, 3, 5)]);
    }
}
