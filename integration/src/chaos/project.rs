//! A Git project with a known history, which is published bit by bit.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// When the first commit was made: fixed, so that the revisions are the same in every run.
const EPOCH: u64 = 1_700_000_000;

/// All of the history, and the repository that pollers see.
#[derive(Debug)]
pub struct Project {
    source: PathBuf,
    public: PathBuf,
    revisions: Vec<String>,
}

impl Project {
    /// Makes `changes` commits behind a first one, of which only that is public.
    ///
    /// # Errors
    /// If `git` fails.
    pub fn create(directory: &Path, changes: usize) -> Result<Self> {
        let (source, public) = (directory.join("source.git"), directory.join("public.git"));
        for repository in [&source, &public] {
            git(repository, &["init", "--quiet", "--bare", "--initial-branch=main", "."])?;
        }
        let mut import = Command::new("git")
            .arg("-C")
            .arg(&source)
            .args(["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .context("git is not installed")?;
        import.stdin.take().context("it is piped")?.write_all(history(changes).as_bytes())?;
        ensure!(import.wait()?.success(), "git fast-import failed");
        let list = git(&source, &["rev-list", "--reverse", "main"])?;
        let revisions: Vec<String> = list.lines().map(str::to_owned).collect();
        ensure!(revisions.len() == changes + 1, "{} revisions", revisions.len());
        let project = Self { source, public, revisions };
        project.publish(0)?;
        Ok(project)
    }

    /// Where pollers find it.
    pub fn url(&self) -> String {
        self.public.display().to_string()
    }

    /// The revisions behind the first one.
    pub fn changes(&self) -> &[String] {
        &self.revisions[1..]
    }

    /// Publishes the history up to this change; 0 is the first commit, which was there before.
    ///
    /// # Errors
    /// If `git` fails.
    pub fn publish(&self, change: usize) -> Result<()> {
        let revision = self.revisions.get(change).context("no such change")?;
        let refspec = format!("{revision}:refs/heads/main");
        git(&self.source, &["push", "--quiet", &self.url(), &refspec]).map(drop)
    }
}

/// What `git fast-import` reads.
fn history(changes: usize) -> String {
    let mut stream = String::new();
    for number in 0..=changes {
        let when = EPOCH + u64::try_from(number).unwrap_or(0);
        let message = format!("Change {number}");
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter Tester <tester@example.org> {when} +0000\ndata {}\n{message}\n\
             M 100644 inline number\ndata {}\n{number}\n",
            message.len(),
            number.to_string().len(),
        );
    }
    stream
}

fn git(repository: &Path, arguments: &[&str]) -> Result<String> {
    std::fs::create_dir_all(repository)?;
    let output = Command::new("git").arg("-C").arg(repository).args(arguments).output()?;
    ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
