//! What `Db::write` promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use buildguild_db::test_support::TestDb;
use buildguild_db::{Db, DbError, DbOptions, builders, masters};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::sync::Notify;
use tokio::time::timeout;

async fn a_failed_transaction_leaves_the_others_alone(test: &TestDb) {
    let tasks: Vec<_> = (0..30)
        .map(|number| {
            let db = test.db.clone();
            tokio::spawn(async move {
                let name = format!("builder-{number}");
                let name = name.as_str();
                db.write(|tx| async move {
                    builders::find_id(&tx, name, true).await?;
                    if number % 3 == 0 { Err(DbError::NotFound("luck")) } else { Ok(()) }
                })
                .await
                .is_ok()
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), number % 3 != 0);
    }
    assert_eq!(builders::list(test.db.read(), None, None, None).await.unwrap().len(), 20);
}

async fn a_dropped_transaction_is_rolled_back(test: &TestDb) {
    let db = &test.db;
    let inside = Arc::new(Notify::new());
    let task = tokio::spawn({
        let (db, inside) = (db.clone(), Arc::clone(&inside));
        async move {
            db.write(|tx| {
                let inside = Arc::clone(&inside);
                async move {
                    builders::find_id(&tx, "never", true).await?;
                    inside.notify_one();
                    std::future::pending::<Result<(), DbError>>().await
                }
            })
            .await
        }
    });
    inside.notified().await;
    task.abort();
    let after = db.write(|tx| async move { builders::find_id(&tx, "after", true).await });
    timeout(Duration::from_secs(60), after).await.unwrap().unwrap();
    let names: Vec<String> =
        builders::list(db.read(), None, None, None).await.unwrap().into_iter().map(|b| b.name).collect();
    assert_eq!(names, ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_while_it_begins_leaves_no_open_transaction() {
    let test = TestDb::postgres().await.unwrap();
    // The server is not to end what stays open.
    let mut options = DbOptions::new(test.url());
    options.idle_in_transaction_timeout = Duration::from_secs(600);
    let db = Db::connect(&options).await.unwrap();
    let count =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let statement = Statement::from_string(DbBackend::Postgres, count);
    for patience in 0_u32..60 {
        // Given up at another moment each time, which is soon after it was begun.
        let mut write = Box::pin(db.write(|tx| async move { builders::find_id(&tx, "b", true).await }));
        for _ in 0..patience.pow(2) {
            if futures::poll!(&mut write).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(write);
        let all_ended = async {
            loop {
                let row = test.db.read().query_one_raw(statement.clone()).await.unwrap().unwrap();
                if row.try_get::<i64>("", "n").unwrap() == 0 {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(60), all_ended).await.expect("no transaction stays open");
    }
}

async fn a_write_is_read_by_whoever_reads_after_it(test: &TestDb) {
    for number in 0..20 {
        let name = format!("m{number}");
        let name = name.as_str();
        let id = test.db.write(|tx| async move { masters::find_id(&tx, name).await }).await.unwrap();
        assert!(masters::get(test.db.read(), id).await.unwrap().is_some());
    }
}

async fn foreign_keys_are_enforced(test: &TestDb) {
    let refused = test
        .db
        .write(|tx| async move {
            buildguild_db::execute(&tx, "INSERT INTO builder_masters (builderid, masterid) VALUES (1234, 5678)", vec![])
                .await
        })
        .await;
    assert!(matches!(refused, Err(DbError::Conflict(_))), "{refused:?}");
}

buildguild_db::on_both_databases!(
    a_failed_transaction_leaves_the_others_alone,
    a_dropped_transaction_is_rolled_back,
    a_write_is_read_by_whoever_reads_after_it,
    foreign_keys_are_enforced,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again() {
    let test = TestDb::postgres().await.unwrap();
    let ids: Vec<_> = {
        let db = &test.db;
        let a = db.write(|tx| async move { masters::find_id(&tx, "a").await }).await.unwrap();
        let b = db.write(|tx| async move { masters::find_id(&tx, "b").await }).await.unwrap();
        vec![a, b]
    };
    let attempts = Arc::new(AtomicU32::new(0));
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let tasks: Vec<_> = [vec![ids[0], ids[1]], vec![ids[1], ids[0]]]
        .into_iter()
        .map(|order| {
            let (db, attempts, barrier) = (test.db.clone(), Arc::clone(&attempts), Arc::clone(&barrier));
            tokio::spawn(async move {
                let order = &order;
                db.write(|tx| {
                    let (attempts, barrier) = (Arc::clone(&attempts), Arc::clone(&barrier));
                    async move {
                        masters::set_state(&tx, order[0], true).await?;
                        // The first attempts meet here with one lock each.
                        if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                            barrier.wait().await;
                        }
                        masters::set_state(&tx, order[1], true).await
                    }
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        timeout(Duration::from_secs(60), task).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}
