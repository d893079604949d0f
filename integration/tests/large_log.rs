//! A log of 100 MB: stored and read back line for line, in bounded memory.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use anyhow::{Context, Result, ensure};
use integration::{Database, Farm, TestCluster};
use serde_json::json;

const LINES: usize = 1_000_000;

/// What a master may use at its peak: the budgets of one connection, of the writer and of the database's cache.
const MAX_RSS_KB: u64 = 400_000;

/// The n-th line that the command prints: 99 characters and a newline. (The remainder keeps it within what every awk
/// prints as an integer.)
fn line(number: usize) -> String {
    format!("line {number:010} {:082}", number * 7919 % 1_000_003)
}

fn peak_rss_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    line.split_whitespace().nth(1).context("no value")?.parse().context("no number")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_stored_whole_on_sqlite() -> Result<()> {
    store_and_read(Database::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_stored_whole_on_postgresql() -> Result<()> {
    store_and_read(Database::Postgres).await
}

// One master: this is about one connection and one log.
async fn store_and_read(database: Database) -> Result<()> {
    let print = format!(
        "awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) printf \"line %010d %082d\\n\", i, (i * 7919) % 1000003 }}'"
    );
    let mut cluster = TestCluster::builder()
        .masters(1)
        .database(database)
        .start(|_| {
            let step = format!("steps.ShellCommand(name='print', command={print:?}, logEnviron=False)");
            Ok(Farm::new().worker("w").builder("b", "w", &[&step]).text())
        })
        .await?;
    let native = cluster.add_native_worker(cluster.masters[0].worker_port(), "w", "secret")?;
    let rest = cluster.rest()?;
    cluster.worker_connected(&rest, "w").await?;
    let request = rest.force("b", json!({})).await?;
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(cluster.all_logs()))?;
    let build = builds[0]["buildid"].as_i64().context("an id")?;
    ensure!(builds[0]["results"] == json!(0), "{}\n{}", builds[0], native.log());

    let log = rest.log(build, "print", "stdio").await?;
    let mut expected = DefaultHasher::new();
    let mut seen = DefaultHasher::new();
    let mut count = 0;
    for stored in log.lines().filter(|stored| stored.starts_with("line ")) {
        expected.write(line(count).as_bytes());
        seen.write(stored.as_bytes());
        count += 1;
    }
    ensure!(count == LINES, "{count} lines of {LINES}");
    ensure!(expected.finish() == seen.finish(), "the lines differ");
    // A page of it: lines that lie far inside, with the channel's letter.
    let header = log.lines().position(|stored| stored.starts_with("line ")).context("a first line")?;
    let three_of_ours = log.lines().take(header).filter(|stored| !stored.starts_with("Builder: ")).count();
    let steps = rest.list(&format!("builds/{build}/steps/print/logs/stdio/contents?offset=500000&limit=500")).await?;
    let content = steps[0]["content"].as_str().context("content")?;
    ensure!(content.lines().count() == 500, "{} lines", content.lines().count());
    let first = content.lines().next().and_then(|stored| stored.strip_prefix("oline ")).context("an output line")?;
    let number: usize = first.split(' ').next().context("a number")?.parse()?;
    ensure!(number + three_of_ours >= 500_000 - 20 && number < 500_000, "line {number} at 500000");
    for pid in [cluster.masters[0].pid(), native.pid()].into_iter().flatten() {
        let peak = peak_rss_kb(pid)?;
        ensure!(peak < MAX_RSS_KB, "process {pid} used {peak} kB");
    }
    Ok(())
}
