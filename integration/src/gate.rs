//! A step that blocks until the test opens a gate.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::rest::Rest;
use crate::waiting::{DEADLINE, wait_for};

/// A file that a step waits for.
#[derive(Clone, Debug)]
pub struct Gate(PathBuf);

impl Gate {
    /// A closed gate in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self(directory.join("gate"))
    }

    /// The step, in the words of `master.cfg`. It writes `waiting` first and `passed` at the end.
    pub fn step(&self) -> String {
        format!(
            "steps.ShellCommand(name=\"gate\", command=\"echo waiting; while [ ! -e '{}' ]; do sleep 0.05; done; echo passed\")",
            self.0.display()
        )
    }

    /// Lets the step pass, now and later.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(&self) -> Result<()> {
        Ok(std::fs::write(&self.0, "")?)
    }

    /// Waits until a build of the request stands at the gate, that is, its command runs on the worker; gives the build.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn reached(&self, rest: &Rest, request: i64) -> Result<Value> {
        wait_for(&format!("a build of request {request} stands at the gate"), DEADLINE, async || {
            let builds = rest.list(&format!("buildrequests/{request}/builds?order=-buildid")).await?;
            let Some(build) = builds.first().filter(|build| build["complete"] == false) else { return Ok(None) };
            let log = rest.log(build["buildid"].as_i64().unwrap_or_default(), "gate", "stdio").await;
            Ok(log.is_ok_and(|text| text.contains("waiting\n")).then(|| build.clone()))
        })
        .await
    }
}
