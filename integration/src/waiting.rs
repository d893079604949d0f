//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for something that takes milliseconds, or for a large log seconds, on an idle machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
///
/// # Errors
/// If there is none within `deadline`, or asking fails.
pub async fn wait_for<T>(what: &str, deadline: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if start.elapsed() > deadline {
            bail!("waited {deadline:?} in vain: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}
