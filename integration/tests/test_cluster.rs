//! The support for tests keeps its promise: errors that nobody expected fail the test.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, ensure};
use integration::{Database, Farm, TestCluster};

async fn cluster() -> Result<TestCluster> {
    TestCluster::builder()
        .masters(1)
        .database(Database::Sqlite)
        .expect_error("a test expects this")
        .start(|_| Ok(Farm::new().worker("w").builder("b", "w", &[]).text()))
        .await
}

/// Writes what a master would into its log.
fn log(cluster: &TestCluster, line: &str) -> Result<()> {
    let path = cluster.masters[0].directory().join("test-1.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).context("the log of the first start")?;
    Ok(writeln!(file, "{line}")?)
}

/// What the end of a cluster says against its test.
fn complaint(cluster: TestCluster) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(cluster))).err()?;
    panic.downcast::<String>().ok().map(|text| *text)
}

#[tokio::test(flavor = "multi_thread")]
async fn unexpected_errors_and_panics_in_a_log_fail_the_test() -> Result<()> {
    let (calm, expected, error, panic) = (cluster().await?, cluster().await?, cluster().await?, cluster().await?);
    log(&expected, "2026-01-01T00:00:00Z ERROR somewhere: a test expects this")?;
    log(&error, "2026-01-01T00:00:00Z ERROR somewhere: out of cheese")?;
    log(&panic, "thread 'tokio-rt-worker' (7) panicked at src/lib.rs:1:1:")?;
    ensure!(calm.masters[0].log().contains(" INFO "), "the log is where it is looked for");
    ensure!(complaint(calm).is_none(), "nothing happened");
    ensure!(complaint(expected).is_none(), "the test expected it");
    ensure!(complaint(error).is_some_and(|text| text.contains("out of cheese")), "an error fails the test");
    ensure!(complaint(panic).is_some_and(|text| text.contains("panicked")), "a panic fails the test");
    Ok(())
}
