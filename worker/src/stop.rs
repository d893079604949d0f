//! How a worker is asked to end.

use tokio_util::sync::CancellationToken;

/// Two ways to end: at once, and when the running work is done. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    now: CancellationToken,
    graceful: CancellationToken,
}

impl Stop {
    /// A worker that runs until it is asked to end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends at once when the token is cancelled.
    #[must_use]
    pub fn on(token: CancellationToken) -> Self {
        Self { now: token, graceful: CancellationToken::new() }
    }

    /// End at once: running commands are killed.
    pub fn now(&self) {
        self.now.cancel();
    }

    /// End when the running work is done.
    pub fn when_idle(&self) {
        self.graceful.cancel();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.now.is_cancelled() || self.graceful.is_cancelled()
    }

    /// Waits for a request to end at once. Cancel safe.
    pub(crate) async fn asked_now(&self) {
        self.now.cancelled().await;
    }

    /// Waits for a request to end when idle. Cancel safe.
    pub(crate) async fn asked_gracefully(&self) {
        self.graceful.cancelled().await;
    }

    /// Waits for either. Cancel safe.
    pub(crate) async fn asked(&self) {
        tokio::select! {
            () = self.asked_now() => {}
            () = self.asked_gracefully() => {}
        }
    }
}
