//! Git repositories made by tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A bare repository that pollers look at, with a clone to commit in.
#[derive(Debug)]
pub struct Repository {
    bare: PathBuf,
    clone: PathBuf,
}

impl Repository {
    /// A repository below `directory`, with one commit on `main`.
    ///
    /// # Errors
    /// If `git` fails.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        let bare = directory.join(format!("{name}.git"));
        let clone = directory.join(name);
        run(Command::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&bare))?;
        run(Command::new("git").args(["clone", "--quiet"]).arg(&bare).arg(&clone))?;
        let repository = Self { bare, clone };
        for (key, value) in [("user.name", "Tester"), ("user.email", "tester@example.org"), ("push.default", "current")]
        {
            repository.git(&["config", key, value])?;
        }
        repository.git(&["checkout", "--quiet", "-B", "main"])?;
        repository.commit("README", "first\n", "First commit")?;
        Ok(repository)
    }

    /// Where pollers and source steps find it.
    pub fn url(&self) -> String {
        self.bare.display().to_string()
    }

    /// Where files can be put before a commit.
    pub fn directory(&self) -> &Path {
        &self.clone
    }

    /// Writes a file, commits and pushes; gives the revision.
    ///
    /// # Errors
    /// If `git` fails.
    pub fn commit(&self, file: &str, content: &str, message: &str) -> Result<String> {
        let path = self.clone.join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
        self.commit_all(message)
    }

    /// Commits all that is in the directory and pushes; gives the revision.
    ///
    /// # Errors
    /// If `git` fails.
    pub fn commit_all(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])?;
        self.git(&["push", "--quiet", "--force", "--set-upstream", "origin", "HEAD"])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Runs `git` in the clone.
    ///
    /// # Errors
    /// If it fails.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("git").arg("-C").arg(&self.clone).args(arguments))
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().context("git is not installed")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
