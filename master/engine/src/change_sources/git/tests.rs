//! The poller's git work on real repositories.

use std::{path::Path, process::Command, time::Duration};

use super::{
    command::Git,
    mirror::{Listing, Mirror},
    poll::{Findings, Heads, poll},
};

/// A bare repository to poll, and a working copy to push to it from.
pub(super) struct Remote {
    dir: tempfile::TempDir,
}

impl Remote {
    pub(super) fn new() -> Self {
        let remote = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        sh(
            remote.dir.path(),
            "git init -q --bare -b main repo.git && git init -q -b main wc && cd wc && git remote add origin ../repo.git",
        );
        remote
    }

    /// Runs a script in the working copy, with `c FILE MESSAGE` as a short way to commit.
    pub(super) fn sh(&self, script: &str) {
        let c = r#"c() { echo "$RANDOM$2" >> "$1"; git add -A; git commit -qm "$2"; };"#;
        sh(&self.dir.path().join("wc"), &format!("{c} {script}"));
    }

    /// Where it is polled.
    pub(super) fn url(&self) -> String {
        format!("file://{}", self.dir.path().join("repo.git").display())
    }

    async fn mirror(&self, name: &str) -> Mirror {
        let git = Git {
            program: "git".into(),
            dir: self.dir.path().join(name),
            env: Vec::new(),
            limit: Duration::from_secs(60),
        };
        Mirror::open(git, self.url()).await.expect("the mirror opens")
    }
}

fn sh(dir: &Path, script: &str) {
    let status = Command::new("bash")
        .args(["-ec", script])
        .current_dir(dir)
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Ann Author")
        .env("GIT_AUTHOR_EMAIL", "ann@example.org")
        .env("GIT_COMMITTER_NAME", "Carl Committer")
        .env("GIT_COMMITTER_EMAIL", "carl@example.org")
        .status()
        .expect("bash runs");
    assert!(status.success(), "the script failed: {script}");
}

async fn look(mirror: &Mirror, listing: Listing, before: Option<&Heads>, empty: bool) -> Findings {
    let refs = mirror.ls_remote(listing).await.expect("ls-remote");
    poll(mirror, &refs, before, empty).await.expect("poll")
}

/// The messages of what was found, as `branch: message`.
async fn messages(mirror: &Mirror, findings: &Findings) -> Vec<String> {
    let mut messages = Vec::new();
    for push in &findings.pushes {
        let commits = mirror
            .commits(&push.revisions, &|b| String::from_utf8_lossy(b).into_owned())
            .await
            .expect("the commits are there");
        for commit in commits {
            messages.push(format!("{}: {}", super::mirror::branch_name(&push.reference), commit.comments));
        }
    }
    messages
}

#[tokio::test]
async fn the_first_poll_only_records_and_later_ones_report_in_order() {
    let remote = Remote::new();
    remote.sh("c a one; c b two; git push -q origin main");
    let mirror = remote.mirror("m").await;
    assert_eq!(mirror.default_branch().await.expect("a default branch").as_deref(), Some("refs/heads/main"));
    let first = look(&mirror, Listing::Heads, None, true).await;
    assert!(first.pushes.is_empty());
    assert_eq!(first.heads.len(), 1);

    remote.sh("c c three; c d four; git push -q origin main");
    let second = look(&mirror, Listing::Heads, Some(&first.heads), false).await;
    assert_eq!(messages(&mirror, &second).await, ["main: three", "main: four"]);

    remote.sh("git checkout -q -b topic; c e t1; git push -q origin topic main:same");
    let third = look(&mirror, Listing::Heads, Some(&second.heads), false).await;
    assert_eq!(messages(&mirror, &third).await, ["topic: t1"]);
    let third = look(&mirror, Listing::Heads, Some(&second.heads), true).await;
    assert_eq!(messages(&mirror, &third).await, ["same: four", "topic: t1"]);
}

#[tokio::test]
async fn merges_forced_pushes_and_deleted_branches() {
    let remote = Remote::new();
    remote.sh("c a one; git push -q origin main");
    let mirror = remote.mirror("m").await;
    let heads = look(&mirror, Listing::Heads, None, false).await.heads;

    remote.sh("git checkout -q -b side; c s s1; c s s2; git checkout -q main; c m m1; git merge -q --no-ff -m merged side; git push -q origin main");
    let found = look(&mirror, Listing::Heads, Some(&heads), false).await;
    assert_eq!(messages(&mirror, &found).await, ["main: m1", "main: merged"]);
    let merge = mirror
        .commits(&found.pushes[0].revisions[1..], &|b| String::from_utf8_lossy(b).into_owned())
        .await
        .expect("the commit");
    assert_eq!(merge[0].files, ["s"]);
    assert_eq!(merge[0].author, "Ann Author <ann@example.org>");
    assert_eq!(merge[0].committer, "Carl Committer <carl@example.org>");

    remote.sh("git commit -q --amend -m again; git push -qf origin main");
    let amended = look(&mirror, Listing::Heads, Some(&found.heads), false).await;
    assert_eq!(messages(&mirror, &amended).await, ["main: again"]);

    remote.sh("git reset -q --hard HEAD~1; git push -qf origin main; git push -q origin main:refs/heads/gone");
    let rewound = look(&mirror, Listing::Heads, Some(&amended.heads), false).await;
    assert!(rewound.pushes.is_empty());
    assert_eq!(rewound.heads.len(), 2);
    // A name that becomes a directory.
    remote.sh("git push -q origin :gone; git checkout -q -b gone/sub; c x sub; git push -q origin gone/sub");
    let found = look(&mirror, Listing::Heads, Some(&rewound.heads), false).await;
    assert_eq!(messages(&mirror, &found).await, ["gone/sub: sub"]);
}

#[tokio::test]
async fn a_new_working_directory_goes_on_where_the_old_one_stopped() {
    let remote = Remote::new();
    remote.sh("c a one; c a two; git push -q origin main");
    let heads = look(&remote.mirror("m").await, Listing::Heads, None, false).await.heads;
    remote.sh("c a three; git push -q origin main");
    let other = remote.mirror("other").await;
    let found = look(&other, Listing::Heads, Some(&heads), false).await;
    assert_eq!(messages(&other, &found).await, ["main: three"]);

    // The known head is orphaned, and a fresh copy cannot get it: the head alone is reported, not all of the history.
    remote.sh("git reset -q --hard HEAD~2; c a new1; c a new2; git push -qf origin main; cd ../repo.git; git reflog expire --expire=now --all; git gc -q --prune=now");
    let third = remote.mirror("third").await;
    let found = look(&third, Listing::Heads, Some(&found.heads), false).await;
    assert_eq!(messages(&third, &found).await, ["main: new2"]);
}

#[tokio::test]
async fn tags_are_peeled_to_commits() {
    let remote = Remote::new();
    remote.sh("c a one; git tag v0; git push -q origin main v0");
    let mirror = remote.mirror("m").await;
    let first = look(&mirror, Listing::Tags, None, false).await;
    remote.sh("c a two; git tag -a -m note v1; git tag blob HEAD:a; git push -q origin v1 blob");
    let found = look(&mirror, Listing::Tags, Some(&first.heads), false).await;
    assert_eq!(messages(&mirror, &found).await, ["refs/tags/v1: two"]);
}

#[tokio::test]
async fn odd_file_names_and_messages_survive() {
    let remote = Remote::new();
    remote.sh(r#"c a one; git push -q origin main; mkdir "d 1"; echo > "d 1/$(printf 'x\ny')"; echo > ü; echo > -rf; git add -A; git commit -q -m "$(printf 'two\n\nwith a body\nand ü')"; git commit -q --allow-empty --allow-empty-message -m ""; c z last; git push -q origin main"#);
    let mirror = remote.mirror("m").await;
    let all = mirror.ls_remote(Listing::All).await.expect("ls-remote");
    mirror.fetch(&all).await.expect("fetch");
    let revisions = mirror.new_commits(&all[0].revision, &Default::default()).await.expect("rev-list");
    let commits = mirror.commits(&revisions, &|b| String::from_utf8_lossy(b).into_owned()).await.expect("the commits");
    assert_eq!(commits.len(), 4);
    assert_eq!(commits[1].comments, "two\n\nwith a body\nand ü");
    let mut files = commits[1].files.clone();
    files.sort();
    assert_eq!(files, ["-rf", "d 1/x\ny", "ü"]);
    assert_eq!((commits[2].comments.as_str(), commits[2].files.len()), ("", 0));
    assert_eq!(commits[3].files, ["z"]);
}

#[tokio::test]
async fn a_url_that_looks_like_an_option_is_only_a_bad_url() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let git = Git { program: "git".into(), dir: dir.path().join("m"), env: Vec::new(), limit: Duration::from_secs(60) };
    let touched = dir.path().join("touched");
    let url = format!("--upload-pack=touch {};", touched.display());
    let mirror = Mirror::open(git, url).await.expect("the mirror opens");
    assert!(mirror.ls_remote(Listing::Heads).await.is_err());
    assert!(!touched.exists());
}

#[tokio::test]
async fn progress_within_a_push_is_remembered() {
    let remote = Remote::new();
    remote.sh("c a one; git push -q origin main");
    let mirror = remote.mirror("m").await;
    let before = look(&mirror, Listing::Heads, None, false).await.heads;
    remote.sh("for i in 1 2 3 4 5; do c a m$i; done; git checkout -q -b z; c a z1; git push -q origin main z");
    let found = look(&mirror, Listing::Heads, Some(&before), false).await;
    let partial = found.heads_after(&before, 0, 3);
    let rest = look(&mirror, Listing::Heads, Some(&partial), false).await;
    assert_eq!(messages(&mirror, &rest).await, ["main: m4", "main: m5", "z: z1"]);
    let partial = found.heads_after(&before, 0, 5);
    let rest = look(&mirror, Listing::Heads, Some(&partial), false).await;
    assert_eq!(messages(&mirror, &rest).await, ["z: z1"]);
    assert_eq!(found.heads_after(&before, 1, 1), found.heads);
}
