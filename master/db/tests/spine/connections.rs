//! Connections to PostgreSQL: they are shared, outlive what goes wrong with one of them, and are closed in the end.

use std::net::SocketAddr;
use std::time::Duration;

use buildguild_db::test_support::TestDb;
use buildguild_db::{Db, DbOptions, fetch_one, masters};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
    timeout(Duration::from_secs(60), reached).await.expect(condition);
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
    timeout(Duration::from_secs(60), db.close()).await.expect("all connections are given back");
    assert!(masters::list(db.read()).await.is_err(), "it is closed");
    test.db.close().await;
    let admin = Db::connect(&DbOptions::new(test.url())).await.unwrap();
    count_is(&admin, 1, "backend_type = 'client backend'").await;
}

/// Passes connections on to a server, until it forgets those that it has: then they swallow everything.
struct Firewall {
    address: SocketAddr,
    forgotten: watch::Sender<()>,
}

impl Firewall {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let forgotten = watch::Sender::new(());
        let gate = forgotten.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut upstream = TcpStream::connect(&server).await.unwrap();
                let mut forget = gate.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
                        _ = forget.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, forgotten }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_swallow_everything_are_replaced_once_one_was_given_up() {
    let test = TestDb::postgres().await.unwrap();
    let (user, place) = test.url().split_once('@').unwrap();
    let (server, database) = place.split_once('/').unwrap();
    let firewall = Firewall::before(server.to_owned()).await;
    let mut options = DbOptions::new(format!("{user}@{}/{database}", firewall.address));
    options.pool_size = 4;
    let db = Db::connect(&options).await.unwrap();
    let read = || async { masters::list(db.read()).await };
    let write = || async { db.write(|tx| async move { masters::find_id(&tx, "m").await }).await };
    let all = async || {
        let many = futures::future::join_all((0..8).map(|_| async { (read().await.is_ok(), write().await.is_ok()) }));
        timeout(Duration::from_secs(60), many).await.expect("in time").into_iter().all(|done| done == (true, true))
    };
    assert!(all().await);
    firewall.forgotten.send_replace(());
    assert!(timeout(Duration::from_millis(200), read()).await.is_err(), "nobody answers");
    assert!(timeout(Duration::from_millis(200), write()).await.is_err(), "nobody answers");
    assert!(all().await, "all connections are new");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_a_change_of_the_schema_has_overtaken_are_prepared_anew() {
    let test = TestDb::postgres().await.unwrap();
    let count = || async {
        fetch_one(test.db.read(), "SELECT * FROM overtaken", vec![]).await.map(|row| row.unwrap().column_names().len())
    };
    let change =
        async |sql: &'static str| test.db.write(|tx| async move { Ok(tx.execute_unprepared(sql).await?) }).await;
    change("CREATE TABLE overtaken AS SELECT 1::BIGINT AS a").await.unwrap();
    assert_eq!(count().await.unwrap(), 1);
    change("ALTER TABLE overtaken ADD COLUMN b BIGINT").await.unwrap();
    assert!(count().await.is_err_and(|error| error.is_transient()), "it is worth another try");
    assert_eq!(count().await.unwrap(), 2);
}
