//! Evaluator processes that have nothing to do.
//!
//! They are kept for a while, because the next call then needs no new process that loads the config again; and not for
//! ever, because each holds some ten megabytes. What loading costs decides how long: a config that loads in a
//! millisecond is hardly worth keeping warm, one that takes a second is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::process::Process;

/// The shortest time that an idle process is kept.
const KEEP: Duration = Duration::from_secs(2);

/// An idle process is kept so many times as long as its costliest load took.
const LOADS_WORTH: u32 = 30;

/// Idle processes. When the last handle goes, so do they.
#[derive(Debug, Default)]
pub(super) struct Idle {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    processes: VecDeque<Resting>,
    /// Whether a task looks after them.
    is_watched: bool,
}

#[derive(Debug)]
struct Resting {
    process: Process,
    until: Instant,
}

impl Idle {
    /// Keeps a process for later.
    pub(super) fn put(&self, process: Process) {
        let keep = KEEP.max(process.costliest_load * LOADS_WORTH);
        let mut state = lock(&self.state);
        state.processes.push_back(Resting { process, until: Instant::now() + keep });
        if !std::mem::replace(&mut state.is_watched, true) {
            // Ends by itself when nothing rests any more; holds nothing that the pool's end would wait for.
            tokio::spawn(retire(Arc::downgrade(&self.state)));
        }
    }

    /// The process that rested the shortest among those that know the version; if there is none, any.
    pub(super) fn take(&self, needs: Option<&str>) -> Option<Process> {
        let processes = &mut lock(&self.state).processes;
        let knows = |resting: &Resting| needs.is_some_and(|hash| resting.process.loaded.contains(hash));
        let at = processes.iter().rposition(knows).or_else(|| processes.len().checked_sub(1))?;
        processes.remove(at).map(|resting| resting.process)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends processes whose time is over, until none rests. A process that is dropped is killed.
async fn retire(state: Weak<Mutex<State>>) {
    loop {
        let next = {
            let Some(state) = state.upgrade() else { return };
            let mut state = lock(&state);
            let now = Instant::now();
            state.processes.retain(|resting| resting.until > now);
            let Some(next) = state.processes.iter().map(|resting| resting.until).min() else {
                state.is_watched = false;
                return;
            };
            next
        };
        tokio::time::sleep_until(next).await;
    }
}
