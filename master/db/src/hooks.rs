//! Points where a test can kill or pause this process: around every commit and every publish.
//!
//! The points are not listed anywhere: every transaction passes one right before its commit and one right after it,
//! named by the function that runs it, and the publisher does the same around each batch. Production code has
//! [`Hooks::none`], whose check is one branch.
//!
//! A debug build of the server looks into the directory that `BUILDGUILD_TEST_HOOKS` names, which several processes may
//! share. Every point that is passed is added to the file `passed`, if that exists. The file `armed` holds one line,
//! `<point> <n> <kill|stop>`: the process that passes the point for the n-th time from then on (counted over all of
//! them) renames the file to `taken.<pid>` and sends itself SIGKILL or SIGSTOP. So each arming hits exactly once.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The hooks of one process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hooks(Option<Arc<Watched>>);

#[derive(Debug)]
struct Watched {
    directory: PathBuf,
    /// Threads of one process take turns; processes exclude each other by renaming.
    turn: Mutex<()>,
}

impl Hooks {
    /// No hooks.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Hooks that are armed through a directory; see the module.
    pub fn watching(directory: &Path) -> Self {
        Self(Some(Arc::new(Watched { directory: directory.to_owned(), turn: Mutex::new(()) })))
    }

    /// Passes a point, if anybody watches.
    pub fn at(&self, point: &str) {
        if let Some(watched) = &self.0 {
            watched.pass(point);
        }
    }

    /// Passes a point of the transaction that a closure of this type runs.
    pub(crate) fn at_commit(&self, closure: &str, when: &str) {
        if self.0.is_some() {
            self.at(&format!("{}:{when}", place(closure)));
        }
    }
}

/// The path of the function that a closure was written in, from the closure's type.
fn place(closure: &str) -> String {
    let mut name = String::new();
    let mut depth = 0_usize;
    for character in closure.replace("::{{closure}}", "").replace("buildguild_", "").chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '&' | ' ' => {}
            other if depth == 0 => name.push(other),
            _ => {}
        }
    }
    // What is left of `<impl Type>`.
    name.replace("::::", "::")
}

impl Watched {
    fn pass(&self, point: &str) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(mut list) = std::fs::OpenOptions::new().append(true).open(self.directory.join("passed")) {
            // One write of one line: processes that append side by side do not mix.
            let _ = list.write_all(format!("{point}\n").as_bytes());
        }
        if let Some(signal) = self.take(point) {
            tracing::warn!(point, signal, "test hook: SIG{signal} at {point}");
            // Through the system's tool, because signals need unsafe code or a dependency, and this is for tests only.
            let pid = std::process::id().to_string();
            if let Err(error) = std::process::Command::new("kill").args(["-s", signal, &pid]).status() {
                tracing::warn!(%error, "a test hook could not act");
            }
        }
    }

    /// The signal that is due at this point now.
    fn take(&self, point: &str) -> Option<&'static str> {
        let armed = self.directory.join("armed");
        if std::fs::read_to_string(&armed).ok()?.split(' ').next() != Some(point) {
            return None;
        }
        let taken = self.directory.join(format!("taken.{}", std::process::id()));
        std::fs::rename(&armed, &taken).ok()?;
        let text = std::fs::read_to_string(&taken).ok()?;
        let mut words = text.split_whitespace().skip(1);
        let nth: u32 = words.next()?.parse().ok()?;
        let action = words.next()?;
        if nth > 1 {
            std::fs::write(&taken, format!("{point} {} {action}", nth - 1)).ok()?;
            std::fs::rename(&taken, &armed).ok()?;
            return None;
        }
        match action {
            "kill" => Some("KILL"),
            "stop" => Some("STOP"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_by_the_function_that_commits() {
        let closure = "&buildguild_engine::build::record::Recorder::begin_step::{{closure}}::{{closure}}";
        assert_eq!(place(closure), "engine::build::record::Recorder::begin_step");
        let closure = "buildguild_data::relay::lost::<impl buildguild_data::relay::Relay>::remove::{{closure}}";
        assert_eq!(place(closure), "data::relay::lost::remove");
        assert_eq!(place("buildguild_db::x::f<alloc::vec::Vec<i64>>::{{closure}}"), "db::x::f");
    }

    #[test]
    fn an_armed_point_is_taken_once_and_at_its_turn() {
        let directory = tempfile::tempdir().expect("a directory");
        let Hooks(Some(watched)) = Hooks::watching(directory.path()) else { unreachable!("it watches") };
        std::fs::write(directory.path().join("passed"), "").expect("a file");
        std::fs::write(directory.path().join("armed"), "here 2 stop").expect("a file");
        assert_eq!(watched.take("elsewhere"), None);
        assert_eq!(watched.take("here"), None, "the first time");
        assert_eq!(watched.take("here"), Some("STOP"), "the second time");
        assert_eq!(watched.take("here"), None, "it is not armed any more");
        watched.pass("here");
        assert_eq!(std::fs::read_to_string(directory.path().join("passed")).expect("a list"), "here\n");
    }
}
