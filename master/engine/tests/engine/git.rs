//! The `Git` step on real git: every mode, on one checkout that goes through several builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Scene, shell, step, value};
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_types::farm::{GitConfig, GitMode, StepConfig, StepKind};
use buildguild_types::properties::Properties;
use buildguild_types::render::Renderable;
use buildguild_types::resources::Build;
use buildguild_types::results::Results;

struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { directory: tempfile::tempdir().expect("a directory") };
        repository.git(&["init", "-q", "-b", "main"]);
        repository.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        repository
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=dev", "-c", "user.email=dev@example.org"])
            .args(args)
            .current_dir(self.path())
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, file: &str, content: &str) -> String {
        std::fs::write(self.path().join(file), content).expect("writes");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", content]);
        self.git(&["rev-parse", "HEAD"])
    }
}

fn git(repository: &Repository, mode: GitMode, change: impl FnOnce(&mut GitConfig)) -> StepConfig {
    let mut config = GitConfig {
        repourl: Renderable::literal(format!("file://{}", repository.path().display())),
        branch: Renderable::literal("HEAD"),
        mode,
        codebase: String::new(),
        reference: None,
        origin: None,
        submodules: false,
        remote_submodules: false,
        tags: false,
        shallow_depth: None,
        filters: Vec::new(),
        progress: true,
        retry_fetch: false,
        clobber_on_failure: false,
        get_description: None,
        config: None,
        always_use_latest: false,
        retry: None,
        timeout_secs: Some(1200),
        env: None,
        log_environ: false,
    };
    change(&mut config);
    let mut step = step("git", "Git", StepKind::Git(Box::new(config)));
    step.flags.halt_on_failure = true;
    step
}

fn at(revision: &str) -> NewSourceStamp {
    NewSourceStamp { branch: Some("main".to_owned()), revision: Some(revision.to_owned()), ..NewSourceStamp::default() }
}

fn workdir(scene: &Scene) -> PathBuf {
    scene.directory.path().join("workers/w/b/build")
}

async fn succeeds(scene: &Scene, source: NewSourceStamp) -> Build {
    let build = scene.build(Properties::new(), source).await;
    let log = scene.log(build.buildid, "git", "stdio").await;
    assert_eq!(build.results, Some(Results::Success), "{log}");
    build
}

async fn got_revision(scene: &Scene, build: &Build) -> String {
    let properties = scene.properties(build.buildid).await;
    assert_eq!(properties.get("got_revision").map(|property| property.source()), Some("Git"));
    value(&properties, "got_revision").as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_keeps_what_a_build_left_and_goes_where_it_is_told() {
    let repository = Repository::new();
    let first = repository.commit("a.txt", "one");
    let second = repository.commit("a.txt", "two");
    let scene = Scene::new(vec![git(&repository, GitMode::Incremental, |_| {}), shell("touch", "touch left")]).await;
    let build = succeeds(&scene, at(&first)).await;
    assert_eq!(got_revision(&scene, &build).await, first);
    let steps = scene.steps(build.buildid).await;
    assert_eq!(steps[1].state_string, "update");
    // Without a revision: the newest.
    let build = succeeds(&scene, NewSourceStamp { branch: Some("main".to_owned()), ..NewSourceStamp::default() }).await;
    assert_eq!(got_revision(&scene, &build).await, second);
    assert_eq!(std::fs::read_to_string(workdir(&scene).join("a.txt")).expect("reads"), "two");
    assert!(workdir(&scene).join("left").exists());
    // Fetched when it is not there yet, and back again.
    let third = repository.commit("b.txt", "three");
    let build = succeeds(&scene, at(&third)).await;
    assert_eq!(got_revision(&scene, &build).await, third);
    let build = succeeds(&scene, at(&first)).await;
    assert_eq!(got_revision(&scene, &build).await, first);
    assert!(!workdir(&scene).join("b.txt").exists());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_modes_remove_what_a_build_left() {
    let repository = Repository::new();
    repository.commit(".gitignore", "ignored\n");
    let head = repository.commit("a.txt", "one");
    for (mode, ignored_stays) in
        [(GitMode::Clobber, false), (GitMode::Fresh, false), (GitMode::Clean, true), (GitMode::Copy, false)]
    {
        let leave = shell("leave", "ls; touch left ignored");
        let scene = Scene::new(vec![git(&repository, mode, |_| {}), leave]).await;
        succeeds(&scene, at(&head)).await;
        let build = succeeds(&scene, at(&head)).await;
        assert_eq!(got_revision(&scene, &build).await, head);
        let seen = scene.log(build.buildid, "leave", "stdio").await;
        assert!(seen.contains("oa.txt\n") && !seen.contains("oleft\n"), "{mode:?}: {seen}");
        assert_eq!(seen.contains("oignored\n"), ignored_stays, "{mode:?}: {seen}");
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shallow_clones_find_old_revisions_and_descriptions() {
    let repository = Repository::new();
    let first = repository.commit("a.txt", "one");
    repository.git(&["tag", "v1"]);
    for n in 0..5 {
        repository.commit("a.txt", &format!("more {n}"));
    }
    let describe = |config: &mut GitConfig| {
        config.shallow_depth = Some(Renderable::literal(1));
        config.tags = true;
        config.get_description = Some([("tags".to_owned(), true.into())].into());
    };
    let scene = Scene::new(vec![git(&repository, GitMode::Incremental, describe)]).await;
    let build = succeeds(&scene, at(&first)).await;
    assert_eq!(got_revision(&scene, &build).await, first);
    let properties = scene.properties(build.buildid).await;
    assert_eq!(value(&properties, "commit-description"), "v1");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_fails_after_its_retries() {
    let repository = Repository::new();
    let gone = git(&repository, GitMode::Incremental, |config| {
        config.repourl = Renderable::literal("file:///nonexistent/repository");
        config.retry = Some((0, 1));
    });
    let scene = Scene::new(vec![gone, shell("never", "true")]).await;
    let build = scene.build(Properties::new(), NewSourceStamp::default()).await;
    assert_eq!((build.results, build.state_string.as_str()), (Some(Results::Failure), "failed update (failure)"));
    let log = scene.log(build.buildid, "git", "stdio").await;
    assert_eq!(log.matches("program finished with exit code 128").count(), 2, "{log}");
    assert_eq!(scene.steps(build.buildid).await.len(), 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_applied_and_gone_with_the_next_build() {
    let repository = Repository::new();
    let head = repository.commit("a.txt", "one\n");
    let scene = Scene::new(vec![git(&repository, GitMode::Incremental, |_| {}), shell("show", "cat a.txt")]).await;
    let patch = buildguild_db::sourcestamps::NewPatch {
        level: 1,
        subdir: None,
        author: "dev".to_owned(),
        comment: String::new(),
        body: "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+patched\n".to_owned(),
    };
    let build = succeeds(&scene, NewSourceStamp { patch: Some(patch), ..at(&head) }).await;
    assert!(scene.log(build.buildid, "show", "stdio").await.contains("opatched\n"));
    let build = succeeds(&scene, at(&head)).await;
    assert!(scene.log(build.buildid, "show", "stdio").await.contains("oone\n"));
    scene.end().await;
}

/// What the worker's checkout says to git.
fn ask(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git").args(args).current_dir(directory).output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_follow_the_revision_and_are_cleaned_with_it() {
    let library = Repository::new();
    library.commit("lib.txt", "one");
    let repository = Repository::new();
    let url = format!("file://{}", library.path().display());
    let local = ["-c", "protocol.file.allow=always"];
    repository.git(&[&local[..], &["submodule", "--quiet", "add", &url, "lib"]].concat());
    let first = repository.commit("a.txt", "one");
    let moved = library.commit("lib.txt", "two");
    ask(&repository.path().join("lib"), &[&local[..], &["fetch", "-q"]].concat());
    ask(&repository.path().join("lib"), &["checkout", "-q", &moved]);
    let second = repository.commit("a.txt", "two");
    for mode in [GitMode::Incremental, GitMode::Fresh, GitMode::Clobber, GitMode::Copy] {
        let with_submodules = git(&repository, mode, |config| {
            config.submodules = true;
            config.config = Some(Renderable::literal(serde_json::json!({"protocol.file.allow": "always"})));
        });
        let leave = shell("leave", "cat lib/lib.txt; echo; ls lib; touch lib/left");
        let scene = Scene::new(vec![with_submodules, leave]).await;
        for (revision, content) in [(&first, "oone\n"), (&second, "otwo\n"), (&first, "oone\n")] {
            let build = succeeds(&scene, at(revision)).await;
            let seen = scene.log(build.buildid, "leave", "stdio").await;
            assert!(seen.contains(content), "{mode:?}: {seen}");
            let stays = mode == GitMode::Incremental && build.number > 1;
            assert_eq!(seen.contains("oleft\n"), stays, "{mode:?}: {seen}");
        }
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_holds_no_history() {
    let repository = Repository::new();
    for n in 0..5 {
        repository.commit("a.txt", &format!("{n}"));
    }
    let shallow = |config: &mut GitConfig| config.shallow_depth = Some(Renderable::literal(2));
    let scene = Scene::new(vec![git(&repository, GitMode::Clobber, shallow)]).await;
    succeeds(&scene, NewSourceStamp { branch: Some("main".to_owned()), ..NewSourceStamp::default() }).await;
    assert_eq!(ask(&workdir(&scene), &["rev-list", "--count", "HEAD"]), "2");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_clone_fetches_old_files_when_they_are_needed() {
    let repository = Repository::new();
    repository.git(&["config", "uploadpack.allowFilter", "true"]);
    let first = repository.commit("a.txt", "one");
    let second = repository.commit("a.txt", "two");
    let partial = |config: &mut GitConfig| config.filters = vec![Renderable::literal("blob:none")];
    let scene = Scene::new(vec![git(&repository, GitMode::Incremental, partial)]).await;
    succeeds(&scene, at(&second)).await;
    let missing = |scene: &Scene| ask(&workdir(scene), &["rev-list", "--objects", "--missing=print", &second]);
    assert_eq!(missing(&scene).lines().filter(|line| line.starts_with('?')).count(), 1, "{}", missing(&scene));
    let build = succeeds(&scene, at(&first)).await;
    assert_eq!(got_revision(&scene, &build).await, first);
    assert_eq!(std::fs::read_to_string(workdir(&scene).join("a.txt")).expect("reads"), "one");
    assert!(!missing(&scene).contains('?'));
    scene.end().await;
}
