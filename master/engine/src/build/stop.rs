//! The wish to stop a build, on its way to the step that runs.

use tokio::sync::watch;

/// Why a build is to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StopRequest {
    /// The reason, as the user gave it.
    pub(crate) reason: String,
}

/// Asks a build to stop.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<Vec<StopRequest>>);

impl Stopper {
    /// A pair of both ends.
    pub(crate) fn new() -> (Self, StopSignal) {
        let (sender, receiver) = watch::channel(Vec::new());
        (Self(sender), StopSignal { receiver, seen: 0 })
    }

    /// Asks. Asking with the same reason again changes nothing.
    pub(crate) fn stop(&self, reason: &str) {
        self.0.send_if_modified(|requests| {
            let is_new = requests.iter().all(|request| request.reason != reason) && requests.len() < 16;
            if is_new {
                requests.push(StopRequest { reason: reason.to_owned() });
            }
            is_new
        });
    }
}

/// The end that a build listens to. Each request interrupts one step: those that always run are not hit by a request
/// that came before them.
#[derive(Clone, Debug)]
pub(crate) struct StopSignal {
    receiver: watch::Receiver<Vec<StopRequest>>,
    seen: usize,
}

impl StopSignal {
    /// Waits for a request that was not seen yet. Cancel safe; does not mark it as seen.
    pub(crate) async fn requested(&mut self) -> StopRequest {
        loop {
            if let Some(request) = self.pending() {
                return request;
            }
            if self.receiver.changed().await.is_err() {
                // Nobody can ask any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A request that was not seen yet.
    pub(crate) fn pending(&self) -> Option<StopRequest> {
        self.receiver.borrow().get(self.seen).cloned()
    }

    /// The latest request, seen or not.
    pub(crate) fn latest(&self) -> Option<StopRequest> {
        self.receiver.borrow().last().cloned()
    }

    /// Marks all requests up to now as seen.
    pub(crate) fn acknowledge(&mut self) {
        self.seen = self.receiver.borrow().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_seen_once() {
        let (stopper, mut signal) = Stopper::new();
        assert_eq!(signal.pending(), None);
        stopper.stop("because");
        stopper.stop("because");
        assert_eq!(signal.requested().await.reason, "because");
        signal.acknowledge();
        assert_eq!(signal.pending(), None);
        stopper.stop("again");
        assert_eq!(signal.requested().await.reason, "again");
    }
}
