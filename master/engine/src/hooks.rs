//! Points where a test can pause or kill this process: around every commit and publish of a build.
//!
//! Production code passes [`Hooks::none`], whose check is one branch. A test build of the server reads
//! `BUILDGUILD_TEST_HOOK`, entries `point:action` or `point#n:action` (the n-th time) separated by commas, with the
//! actions `kill` (SIGKILL of this process), `stop` (SIGSTOP) and `exit`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Stop,
    Exit,
}

#[derive(Debug)]
struct Entry {
    nth: u64,
    action: Action,
}

#[derive(Debug, Default)]
struct Plan {
    entries: HashMap<String, Vec<Entry>>,
    passed: Mutex<HashMap<String, u64>>,
}

/// The hooks of one process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hooks(Option<Arc<Plan>>);

/// A hook description that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not point[#n]:action with the actions kill, stop, exit")]
pub struct HookError(String);

impl Hooks {
    /// No hooks.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Hooks by their description; see the module.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn parse(text: &str) -> Result<Self, HookError> {
        let mut plan = Plan::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let bad = || HookError(entry.to_owned());
            let (point, action) = entry.rsplit_once(':').ok_or_else(bad)?;
            let (point, nth) = match point.split_once('#') {
                Some((point, nth)) => (point, nth.parse().map_err(|_| bad())?),
                None => (point, 1),
            };
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                "exit" => Action::Exit,
                _ => return Err(bad()),
            };
            plan.entries.entry(point.to_owned()).or_default().push(Entry { nth, action });
        }
        Ok(Self((!plan.entries.is_empty()).then(|| Arc::new(plan))))
    }

    /// Passes a point.
    pub fn at(&self, point: &str) {
        let Some(plan) = &self.0 else { return };
        let Some(entries) = plan.entries.get(point) else { return };
        let passed = {
            let mut passed = plan.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = passed.entry(point.to_owned()).or_default();
            *count += 1;
            *count
        };
        for entry in entries.iter().filter(|entry| entry.nth == passed) {
            tracing::warn!(point, action = ?entry.action, "test hook at {point}");
            act(entry.action);
        }
    }
}

fn act(action: Action) {
    let signal = match action {
        Action::Exit => std::process::exit(99),
        Action::Kill => "-KILL",
        Action::Stop => "-STOP",
    };
    // Through the shell's tool, because signals need unsafe code or another dependency, and this is for tests only.
    let pid = std::process::id().to_string();
    if let Err(error) = std::process::Command::new("kill").args([signal, &pid]).status() {
        tracing::warn!(%error, "test hook could not act");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_or_refused() {
        assert!(Hooks::parse("").is_ok_and(|hooks| hooks.0.is_none()));
        let hooks = Hooks::parse("build.started:kill, step.finished#2:stop").expect("parses");
        assert_eq!(hooks.0.as_ref().map(|plan| plan.entries.len()), Some(2));
        hooks.at("elsewhere");
        assert_eq!(Hooks::parse("x:y").unwrap_err(), HookError("x:y".to_owned()));
    }
}
