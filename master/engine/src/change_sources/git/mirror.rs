//! The local copy of the polled repository: a bare repository that holds the polled references under names of ours.
//!
//! The remote `refs/heads/x` is kept as `refs/buildguild/<hash of its name>`, so that no two names can clash as a
//! file and a directory (`a` was deleted, `a/b` came), and nothing in the name can be an option or a pattern.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::command::{Git, GitError};

/// A reference of the remote repository and the commit that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteRef {
    /// The full name, for example `refs/heads/main`.
    pub(crate) name: String,
    /// The object; for an annotated tag the tag itself until [`Mirror::heads`] has peeled it.
    pub(crate) revision: String,
}

/// The name of a reference as it appears in changes.
pub(crate) fn branch_name(reference: &str) -> &str {
    reference.strip_prefix("refs/heads/").unwrap_or(reference)
}

/// Which references to ask the remote for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Branches.
    Heads,
    /// Tags.
    Tags,
    /// Everything, also `refs/pull/…` and its kind.
    All,
}

/// The bare repository of one poller.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    git: Git,
    url: String,
}

const PREFIX: &str = "refs/buildguild/";

impl Mirror {
    /// Prepares the directory `git.dir`, making the repository if it is not there, and clearing lock files that a
    /// killed process left (the poller is the only user of its directory).
    ///
    /// # Errors
    /// If the directory or the repository cannot be made.
    pub(crate) async fn open(git: Git, url: String) -> Result<Self, GitError> {
        let dir = git.dir.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&dir)
                .and_then(|()| remove_locks(&dir))
                .map_err(|source| GitError::Directory { path: dir, source })
        });
        prepared.await.unwrap_or_else(|_| {
            Err(GitError::Directory { path: git.dir.clone(), source: std::io::Error::other("the task was cancelled") })
        })?;
        if !git.dir.join("HEAD").exists() {
            git.run(&["init", "--quiet", "--bare", "--template=", "."]).await?;
        }
        Ok(Self { git, url })
    }

    /// The name of the branch that the remote's HEAD points to, if it has one.
    ///
    /// # Errors
    /// If the remote cannot be asked.
    pub(crate) async fn default_branch(&self) -> Result<Option<String>, GitError> {
        let out = self.git.run(&["ls-remote", "--symref", "--", &self.url, "HEAD"]).await?;
        Ok(String::from_utf8_lossy(&out).lines().find_map(|line| {
            let (target, name) = line.strip_prefix("ref: ")?.split_once('\t')?;
            (name == "HEAD").then(|| target.to_owned())
        }))
    }

    /// The references of the remote now, ordered by name.
    ///
    /// # Errors
    /// If the remote cannot be asked.
    pub(crate) async fn ls_remote(&self, listing: Listing) -> Result<Vec<RemoteRef>, GitError> {
        let mut args = vec!["ls-remote", "--refs"];
        match listing {
            Listing::Heads => args.push("--heads"),
            Listing::Tags => args.push("--tags"),
            Listing::All => {}
        }
        args.extend(["--", &self.url]);
        let out = self.git.run(&args).await?;
        let mut refs: Vec<RemoteRef> = String::from_utf8_lossy(&out)
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(revision, name)| is_revision(revision) && name.starts_with("refs/"))
            .map(|(revision, name)| RemoteRef { name: name.to_owned(), revision: revision.to_owned() })
            .collect();
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(refs)
    }

    /// Fetches these references and forgets all others, then gives each one's commit. References that do not lead to
    /// a commit (a tag of a file) are left out.
    ///
    /// # Errors
    /// If one of them is not there any more or the transfer fails; the next poll asks again.
    pub(crate) async fn fetch(&self, refs: &[RemoteRef]) -> Result<Vec<RemoteRef>, GitError> {
        let local: BTreeMap<String, &RemoteRef> = refs.iter().map(|r| (local_name(&r.name), r)).collect();
        if !refs.is_empty() {
            let mut specs = String::new();
            for (local, remote) in &local {
                specs.push_str(&format!("+{}:{local}\n", remote.name));
            }
            self.git
                .run_with_input(
                    &[
                        "-c",
                        "gc.autoDetach=false",
                        "-c",
                        "maintenance.autoDetach=false",
                        "fetch",
                        "--quiet",
                        "--no-tags",
                        "--no-write-fetch-head",
                        "--no-recurse-submodules",
                        "--stdin",
                        "--",
                        &self.url,
                    ],
                    specs.into_bytes(),
                )
                .await?;
        }
        let (heads, stale) = self.heads(&local).await?;
        if !stale.is_empty() {
            let deletes: String = stale.iter().map(|name| format!("delete {name}\n")).collect();
            self.git.run_with_input(&["update-ref", "--stdin"], deletes.into_bytes()).await?;
        }
        Ok(heads)
    }

    /// The commits of our references, and the names of those that are not wanted any more.
    async fn heads(
        &self,
        wanted: &BTreeMap<String, &RemoteRef>,
    ) -> Result<(Vec<RemoteRef>, BTreeSet<String>), GitError> {
        let out = self
            .git
            .run(&[
                "for-each-ref",
                "--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)",
                PREFIX,
            ])
            .await?;
        let mut heads = Vec::new();
        let mut stale = BTreeSet::new();
        for line in String::from_utf8_lossy(&out).lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let Some(name) = fields.first() else { continue };
            let Some(remote) = wanted.get(*name) else {
                stale.insert((*name).to_owned());
                continue;
            };
            let commit = match fields.as_slice() {
                [_, "commit", revision, ..] => revision,
                [_, "tag", _, "commit", revision] => revision,
                _ => continue,
            };
            heads.push(RemoteRef { name: remote.name.clone(), revision: (*commit).to_owned() });
        }
        heads.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((heads, stale))
    }

    /// Makes sure that a commit is here, asking the remote for it by its name if need be. False if it is nowhere, as
    /// after a forced push that orphaned it.
    pub(crate) async fn ensure_commit(&self, revision: &str) -> bool {
        if !is_revision(revision) {
            return false;
        }
        let object = format!("{revision}^{{commit}}");
        if self.git.run(&["cat-file", "-e", &object]).await.is_ok() {
            return true;
        }
        // Most servers refuse that for what no reference reaches; then it is an orphan for us too.
        self.git
            .run(&["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", &self.url, revision])
            .await
            .is_ok()
    }

    /// The way to run git in it.
    pub(crate) fn git(&self) -> &Git {
        &self.git
    }
}

/// Whether it is a full object name (SHA-1 or SHA-256).
pub(crate) fn is_revision(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn local_name(remote: &str) -> String {
    let mut name = String::from(PREFIX);
    for byte in &Sha256::digest(remote.as_bytes())[..16] {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// Removes `*.lock` below `dir`, except among the objects, where git does that itself.
fn remove_locks(dir: &Path) -> std::io::Result<()> {
    let mut todo: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if entry.file_name() != "objects" {
                    todo.push(entry.path());
                }
            } else if kind.is_file() && entry.path().extension().is_some_and(|e| e == "lock") {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}
