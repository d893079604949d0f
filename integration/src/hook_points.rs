//! The points where masters of a test can be killed or paused: around every commit and every publish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A directory that all masters of a cluster look into, as `buildguild_db::hooks` says.
#[derive(Clone, Debug)]
pub struct HookPoints(PathBuf);

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
}

impl HookPoints {
    /// The environment variable that gives masters the directory.
    pub const VARIABLE: &str = "BUILDGUILD_TEST_HOOKS";

    /// In this directory, which is made if need be.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self(directory.to_path_buf()))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// From now on the points that are passed are listed.
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn start_list(&self) -> Result<()> {
        Ok(std::fs::write(self.0.join("passed"), "")?)
    }

    /// The points that were passed since the list was started, and how often.
    ///
    /// # Errors
    /// If there is no list.
    pub fn listed(&self) -> Result<BTreeMap<String, usize>> {
        let mut points = BTreeMap::new();
        for point in std::fs::read_to_string(self.0.join("passed"))?.lines() {
            *points.entry(point.to_owned()).or_default() += 1;
        }
        Ok(points)
    }

    /// Ends the list.
    ///
    /// # Errors
    /// If there is none.
    pub fn end_list(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("passed"))?)
    }

    /// Strikes the first master that passes the point for the n-th time from now on, and no other.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn arm(&self, point: &str, nth: usize, strike: Strike) -> Result<()> {
        let action = match strike {
            Strike::Kill => "kill",
            Strike::Stop => "stop",
        };
        let new = self.0.join("new");
        std::fs::write(&new, format!("{point} {nth} {action}"))?;
        Ok(std::fs::rename(new, self.0.join("armed"))?)
    }

    /// Takes back what was armed.
    pub fn disarm(&self) {
        let _ = std::fs::remove_file(self.0.join("armed"));
    }

    /// Whether a master was struck since [`HookPoints::struck`] last said so.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn has_struck(&self) -> Result<bool> {
        Ok(self.taken()?.is_some())
    }

    /// The process id of the master that was struck, once.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn struck(&self) -> Result<Option<u32>> {
        let Some(path) = self.taken()? else { return Ok(None) };
        let pid =
            path.extension().and_then(|pid| pid.to_str()).and_then(|pid| pid.parse().ok()).context("a process id")?;
        std::fs::remove_file(&path)?;
        Ok(Some(pid))
    }

    fn taken(&self) -> Result<Option<PathBuf>> {
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            let is_taken = path.file_stem().is_some_and(|name| name == "taken");
            // A file that counts down is written back as `armed` within a moment.
            if is_taken
                && !self.0.join("armed").exists()
                && std::fs::read_to_string(&path).is_ok_and(|text| text.contains(" 1 "))
            {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}
