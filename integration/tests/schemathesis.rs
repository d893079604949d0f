//! Requests made from our own OpenAPI document, good ones and bad ones, against a master with data in it.

use std::process::Command;

use anyhow::{Result, ensure};
use integration::{Farm, TestCluster, python_environment};
use serde_json::json;

/// 501 is what the API has for a control call with an unknown method; everything else of that kind is a mistake of ours.
const CONFIGURATION: &str = "\
[checks.not_a_server_error]
expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 501]
";

/// One master: it is about the requests, not about who answers them.
#[tokio::test(flavor = "multi_thread")]
async fn no_generated_request_makes_a_server_error() -> Result<()> {
    let venv = python_environment("BUILDGUILD_SCHEMATHESIS_VENV", "schemathesis", "schemathesis")?;
    let farm = Farm::new().worker_declared("worker.LocalWorker('local')").builder(
        "hello",
        "local",
        &[
            "steps.SetProperty(property='colour', value='blue')",
            "steps.ShellCommand(name='greet', command=['echo', 'hello'])",
        ],
    );
    let cluster = TestCluster::builder().masters(1).start(|_| Ok(farm.text())).await?;
    let rest = cluster.rest()?;
    for reason in ["one", "two"] {
        let request = rest.force("hello", json!({ "reason": reason })).await?;
        rest.builds_of_completed(request).await?;
    }
    let directory = cluster.directory();
    std::fs::write(directory.join("schemathesis.toml"), CONFIGURATION)?;
    let url = cluster.masters[0].url();
    let output = Command::new(venv.join("bin/schemathesis"))
        .current_dir(&directory)
        .args(["run", &format!("{url}api/openapi.json"), "--url", &format!("{url}api/v2")])
        // Its `drain` would end the master.
        .args(["--exclude-path-regex", "^/masters/[{][^/]*$"])
        // Bounded, and the same every time; two workers trip over a cache of the generator, once in a while.
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "4"])
        .args(["--generation-deterministic", "--seed", "1", "--no-shrink", "--workers", "1"])
        .args(["--checks", "not_a_server_error,content_type_conformance,status_code_conformance"])
        .args(["--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "30"])
        .env("NO_COLOR", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // It still serves.
    ensure!(rest.list("builds").await?.len() >= 2);
    Ok(())
}
