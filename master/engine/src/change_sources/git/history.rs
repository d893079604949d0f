//! What is new in a repository, and what its commits say.

use std::collections::BTreeSet;

use buildguild_types::limits::{LONG_TEXT_BYTES, TEXT_BYTES, cut};

use super::{
    command::GitError,
    mirror::{Mirror, is_revision},
};

/// A commit, as read from the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its full name.
    pub(crate) revision: String,
    /// `Name <address>` of the author.
    pub(crate) author: String,
    /// `Name <address>` of the committer.
    pub(crate) committer: String,
    /// The committer's time, seconds since the epoch.
    pub(crate) committed_at: i64,
    /// The message, without trailing white space.
    pub(crate) comments: String,
    /// What it changed, relative to its first parent.
    pub(crate) files: Vec<String>,
}

/// How the bytes of names and messages are understood.
pub(crate) type Decode<'a> = &'a (dyn Fn(&[u8]) -> String + Send + Sync);

impl Mirror {
    /// The commits that `head` has and none of `known` has, oldest first, along first parents: a merge is one change,
    /// that of the merge commit. Known commits that are not here are ignored.
    ///
    /// # Errors
    /// If git fails.
    pub(crate) async fn new_commits(&self, head: &str, known: &BTreeSet<String>) -> Result<Vec<String>, GitError> {
        let mut input = format!("{head}\n");
        for revision in known.iter().filter(|r| is_revision(r)) {
            input.push_str(&format!("^{revision}\n"));
        }
        let out = self
            .git()
            .run_with_input(
                &["rev-list", "--ignore-missing", "--first-parent", "--reverse", "--stdin"],
                input.into_bytes(),
            )
            .await?;
        Ok(String::from_utf8_lossy(&out).lines().map(str::to_owned).collect())
    }

    /// The details of these commits, in this order.
    ///
    /// # Errors
    /// If one of them is missing or git fails.
    pub(crate) async fn commits(&self, revisions: &[String], decode: Decode<'_>) -> Result<Vec<Commit>, GitError> {
        if revisions.is_empty() {
            return Ok(Vec::new());
        }
        let mut input = revisions.join("\n");
        input.push('\n');
        let out = self
            .git()
            .run_with_input(
                &[
                    "log",
                    "--stdin",
                    "--no-walk=unsorted",
                    "-z",
                    "--name-only",
                    "--no-renames",
                    "--diff-merges=first-parent",
                    "--encoding=UTF-8",
                    "--format=%x01%H%x00%aN <%aE>%x00%cN <%cE>%x00%ct%x00%B%x00",
                ],
                input.into_bytes(),
            )
            .await?;
        parse_log(&out, revisions, decode)
    }
}

/// Takes apart what `git log -z` printed for these revisions. The end of a list of files is known by the start of the
/// next record, which is `\x01` and the revision that must come next.
fn parse_log(out: &[u8], revisions: &[String], decode: Decode<'_>) -> Result<Vec<Commit>, GitError> {
    let malformed = |detail: &str| GitError::Malformed { command: "log".to_owned(), detail: detail.to_owned() };
    let mut tokens = out.split(|b| *b == 0).peekable();
    let mut commits = Vec::with_capacity(revisions.len());
    for (i, revision) in revisions.iter().enumerate() {
        let start = tokens.next().ok_or_else(|| malformed("it ends early"))?;
        if start.strip_prefix(&[1]) != Some(revision.as_bytes()) {
            return Err(malformed("another commit was expected"));
        }
        let mut field = || tokens.next().ok_or_else(|| malformed("a commit without its fields"));
        // Whoever wrote too much is not here to be told.
        let author = cut(decode(field()?), TEXT_BYTES);
        let committer = cut(decode(field()?), TEXT_BYTES);
        let committed_at = std::str::from_utf8(field()?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| malformed("a commit without a time"))?;
        let comments = cut(decode(field()?).trim_end().to_owned(), LONG_TEXT_BYTES);
        let next = revisions.get(i + 1);
        let mut files = Vec::new();
        while let Some(token) = tokens.peek() {
            if next.is_some_and(|next| token.strip_prefix(&[1]) == Some(next.as_bytes())) {
                break;
            }
            let token = token.strip_prefix(b"\n").unwrap_or(token);
            if !token.is_empty() {
                files.push(decode(token));
            }
            tokens.next();
        }
        commits.push(Commit { revision: revision.clone(), author, committer, committed_at, comments, files });
    }
    Ok(commits)
}
