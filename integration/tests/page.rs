//! The web page in a browser, as embedded in the binary.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::{Farm, TestCluster};

/// The page's own end-to-end tests: force a build, watch it live, read its log; accessibility of every page.
///
/// One master: a page is connected to one replica, and the memory broker tells it of that one only.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_forced_and_watched_in_a_browser() -> Result<()> {
    if std::env::var("BUILDGUILD_TEST_PAGE").is_ok_and(|value| value == "0") {
        return Ok(());
    }
    let farm = Farm::new().worker_declared("worker.LocalWorker('local')").builder(
        "hello",
        "local",
        &["steps.ShellCommand(name='greet', command=['sh', '-c', 'for i in 1 2 3 4 5; do echo hello $i; sleep 0.2; done'])"],
    );
    let cluster = TestCluster::builder().masters(1).start(|_| Ok(farm.text())).await?;
    let www = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?.join("www");
    let output = Command::new("npm")
        .args(["run", "--silent", "e2e"])
        .current_dir(www)
        .env("BUILDGUILD_URL", cluster.masters[0].url())
        .env("BUILDGUILD_BUILDER", "hello")
        .env("NO_COLOR", "1")
        .output()
        .context("npm")?;
    ensure!(
        output.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        cluster.all_logs()
    );
    Ok(())
}
