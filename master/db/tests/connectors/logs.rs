//! Logs of whole builds, and the end of old logs.

use std::time::Duration;

use buildguild_db::logs::{self, Compression, Prepared};
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, on_both_databases, steps};
use buildguild_types::resources::LogKind;

use super::fixtures::{NOW, farm};

on_both_databases!(a_builds_open_logs_are_finished, old_content_is_deleted);

async fn a_builds_open_logs_are_finished(test: &TestDb) {
    let farm = farm(test).await;
    let (build, step) = (farm.build, farm.step);
    let finished = test
        .db
        .write(|tx| async move {
            let other = steps::add(&tx, build, "other", "pending").await?.stepid;
            let done = logs::add(&tx, step, "done", "done", LogKind::Text).await?.logid;
            logs::finish(&tx, done).await?;
            let open = logs::add(&tx, step, "open", "open", LogKind::Text).await?.logid;
            let also = logs::add(&tx, other, "open", "open", LogKind::Text).await?.logid;
            let finished = logs::finish_all_of_build(&tx, build).await?;
            assert_eq!(finished.iter().map(|log| log.logid).collect::<Vec<_>>(), [open, also]);
            assert!(logs::finish_all_of_step(&tx, step).await?.is_empty());
            Ok(finished)
        })
        .await
        .expect("finishes");
    assert!(finished.iter().all(|log| log.complete));
}

async fn old_content_is_deleted(test: &TestDb) {
    let db = &test.db;
    let step = farm(test).await.step;
    let log = db
        .write(|tx| async move {
            steps::start(&tx, step, NOW, true).await?;
            let log = logs::add(&tx, step, "stdio", "stdio", LogKind::Stream).await?.logid;
            logs::append(&tx, log, &Prepared::new("ohello\noworld\n", true, Compression::Zstd), None).await?;
            logs::finish(&tx, log).await?;
            Ok(log)
        })
        .await
        .expect("writes");
    let kept = db.write(|tx| async move { logs::delete_old_chunks(&tx, NOW).await }).await.expect("deletes");
    assert_eq!(kept, 0, "it is not older than that");
    assert_eq!(logs::lines(db.read(), log, 0, 10, usize::MAX).await.expect("reads"), "ohello\noworld\n");
    let later = NOW.plus(Duration::from_secs(1));
    let deleted = db.write(|tx| async move { logs::delete_old_chunks(&tx, later).await }).await.expect("deletes");
    assert_eq!(deleted, 1);
    let left = logs::get(db.read(), log).await.expect("reads").expect("exists");
    assert_eq!((left.kind, left.num_lines), (LogKind::Deleted, 2));
    assert_eq!(logs::lines(db.read(), log, 0, 10, usize::MAX).await.expect("reads"), "");
    let late = Prepared::new("x\n", false, Compression::Zstd);
    let late = &late;
    let refused = db.write(|tx| async move { logs::append(&tx, log, late, None).await }).await;
    assert!(matches!(refused, Err(DbError::AlreadyComplete)), "{refused:?}");
}
