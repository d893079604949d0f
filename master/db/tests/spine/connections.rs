//! Connections to PostgreSQL: they are shared, outlive what goes wrong with one of them, and are closed in the end.

use std::time::Duration;

use buildguild_db::test_support::TestDb;
use buildguild_db::{Db, DbOptions, fetch_one, masters};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::time::timeout;

/// Waits until PostgreSQL counts as many connections that a condition holds for.
async fn count_is(db: &Db, wanted: i64, condition: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    );
    let reached = async {
        loop {
            let row = fetch_one(db.read(), sql.clone(), vec![]).await.unwrap().unwrap();
            if row.try_get_by_index::<i64>(0).unwrap() == wanted {
                break;
            }
        }
    };
    timeout(Duration::from_secs(20), reached).await.expect(condition);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_readers_and_writers_than_connections_take_turns() {
    let test = TestDb::postgres().await.unwrap();
    let tasks: Vec<_> = (0..60)
        .map(|number| {
            let db = test.db.clone();
            tokio::spawn(async move {
                let name = format!("m{number}");
                let name = name.as_str();
                let id = db.write(|tx| async move { masters::find_id(&tx, name).await }).await.unwrap();
                // Some are given up at once, and give their connection back all the same.
                let slow = Statement::from_string(DbBackend::Postgres, "SELECT pg_sleep(0.5)");
                if number % 6 == 0 {
                    let _ = timeout(Duration::from_millis(1), db.read().query_one_raw(slow)).await;
                }
                masters::get(db.read(), id).await.unwrap().unwrap();
            })
        })
        .collect();
    for task in tasks {
        timeout(Duration::from_secs(60), task).await.expect("in time").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_ended_are_replaced() {
    let test = TestDb::postgres().await.unwrap();
    let read = || async { masters::list(test.db.read()).await };
    let write = || async { test.db.write(|tx| async move { masters::find_id(&tx, "m").await }).await };
    write().await.unwrap();
    futures::future::join_all((0..4).map(|_| read())).await.into_iter().for_each(|list| drop(list.unwrap()));
    let other = Db::connect(&DbOptions::new(test.url())).await.unwrap();
    other
        .read()
        .execute_unprepared(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    write().await.expect("a write is tried again");
    // One read may have found a connection that ended; no second one does.
    let _ = read().await;
    for _ in 0..8 {
        read().await.expect("the others were replaced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_no_connection() {
    let test = TestDb::postgres().await.unwrap();
    let mut options = DbOptions::new(test.url());
    options.pool_size = 8;
    options.reading_threads = 2;
    let db = Db::connect(&options).await.unwrap();
    db.write(|tx| async move { masters::find_id(&tx, "m").await }).await.unwrap();
    futures::future::join_all((0..4).map(|_| masters::list(db.read()))).await;
    timeout(Duration::from_secs(10), db.close()).await.expect("all connections are given back");
    assert!(masters::list(db.read()).await.is_err(), "it is closed");
    test.db.close().await;
    let admin = Db::connect(&DbOptions::new(test.url())).await.unwrap();
    count_is(&admin, 1, "backend_type = 'client backend'").await;
}
