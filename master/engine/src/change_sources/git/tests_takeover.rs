//! The poller on real databases: many commits at once, and a master that dies while it adds them.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use buildguild_db::{
    changes, changesources,
    leases::{self, Lease},
    test_support::TestDb,
};
use buildguild_types::{
    farm::{ChangeSourceKind, FarmConfig},
    ids::ChangeId,
};
use serde_json::json;

use super::tests::Remote;
use crate::{
    singletons::Singletons,
    testing::{TestMaster, eventually, farm},
};

fn polling(remote: &Remote) -> FarmConfig {
    let source = json!({"name": "poller", "kind": {
        "kind": "git", "repourl": {"kind": "literal", "value": remote.url()}, "branches": "all", "only_tags": false,
        "workdir": null, "gitbin": "git", "use_timestamps": true, "category": {"value": "c"}, "project": "p",
        "codebase": null, "encoding": "utf-8", "build_pushes_with_no_commits": false, "poll_interval_secs": 1,
        "poll_at_launch": true, "poll_random_delay_min_secs": 0, "poll_random_delay_max_secs": 0,
    }});
    FarmConfig {
        change_sources: vec![serde_json::from_value(source).expect("a change source")],
        ..farm(&["b"], &[("w", None)])
    }
}

fn run(master: &TestMaster) {
    let singletons = Singletons::new(Arc::clone(&master.parts), master.tasks.clone());
    let cancel = master.cancel.clone();
    master.spawn(async move { singletons.run(&cancel).await });
}

async fn no_commit_is_lost_or_doubled_when_the_pollers_master_dies(test: &TestDb) {
    const COMMITS: usize = 1000;
    let remote = Remote::new();
    remote.sh("c a first; git push -q origin main");
    let a = TestMaster::start(test, "a", polling(&remote)).await;
    run(&a);
    let key = buildguild_data::StateKey {
        object: "poller".to_owned(),
        class_name: "GitPoller".to_owned(),
        name: "lastRev".to_owned(),
    };
    eventually("the first poll", || async { a.store.state(&key).await.expect("the database answers") }).await;
    // As `git fast-import` reads it: a thousand commits in one push.
    remote.sh(&format!(
        "for i in $(seq 1 {COMMITS}); do echo commit refs/heads/main; echo 'committer C <c@x> 1700000000 +0000'; \
         echo 'data <<E'; echo $i; echo E; [ $i -gt 1 ] || echo 'from refs/heads/main^0'; \
         echo 'M 644 inline f'; echo 'data <<E'; echo $i; echo E; done | git fast-import --quiet --force; \
         git push -q origin main"
    ));
    let count = || async { usize::try_from(changes::count(test.db.read()).await.expect("it answers")).expect("small") };
    eventually("the first batch", || async { (count().await > 0).then_some(()) }).await;
    a.die(test).await;
    let b = TestMaster::start(test, "b", polling(&remote)).await;
    run(&b);
    eventually("all changes", || async { (count().await >= COMMITS).then_some(()) }).await;
    // One more poll must not bring any of them again.
    remote.sh("git reset -q --hard; c f last; git push -q origin main");
    eventually("the last change", || async { (count().await > COMMITS).then_some(()) }).await;
    let all = changes::list_after(test.db.read(), ChangeId(0), 10_000).await.expect("the database answers");
    let comments: Vec<&str> = all.iter().map(|c| c.comments.as_str()).collect();
    let mut expected: Vec<String> = (1..=COMMITS).map(|n| n.to_string()).collect();
    expected.push("last".to_owned());
    assert_eq!(comments, expected);
    let change = &all[0];
    assert_eq!(
        (change.project.as_str(), change.category.as_deref(), change.branch.as_deref()),
        ("p", Some("c"), Some("main"))
    );
    assert_eq!((change.when_timestamp.secs(), change.files.as_slice()), (1_700_000_000, ["f".to_owned()].as_slice()));
    assert_eq!(all[1].parent_changeids, [change.changeid]);
}

async fn a_poller_that_fails_on_its_master_moves_to_another_if_there_is_one(test: &TestDb) {
    let remote = Remote::new();
    remote.sh("c a first; git push -q origin main");
    let a = TestMaster::start(test, "a", polling(&remote)).await;
    // Nothing can be kept here.
    std::fs::write(a.parts.basedir.join("gitpoller-work"), "in the way").expect("it is written");
    run(&a);
    let failed = || async { (a.parts.figures.polls.with_label_values(&["failed"]).get() > 4).then_some(()) };
    eventually("it failed more often than it may among others", failed).await;
    let sources = changesources::list(test.db.read(), None, None).await.expect("the database answers");
    let lease = Lease::ChangeSource(sources[0].changesourceid);
    let holder = || async { leases::holder(test.db.read(), lease).await.expect("the database answers") };
    assert_eq!(holder().await, Some(a.owner), "the only master goes on");

    let b = TestMaster::start(test, "b", polling(&remote)).await;
    run(&b);
    eventually("the other one has it", || async { (holder().await == Some(b.owner)).then_some(()) }).await;
    let key = buildguild_data::StateKey {
        object: "poller".to_owned(),
        class_name: "GitPoller".to_owned(),
        name: "lastRev".to_owned(),
    };
    eventually("it polls", || async { b.store.state(&key).await.expect("the database answers") }).await;
    assert_eq!(holder().await, Some(b.owner), "it keeps it");
    // Alone again, the first one does not wait.
    let failures = a.parts.figures.polls.with_label_values(&["failed"]).get();
    b.die(test).await;
    let again = || async { (a.parts.figures.polls.with_label_values(&["failed"]).get() > failures).then_some(()) };
    eventually("it tries again", again).await;
}

/// A git whose `ls-remote` fails twice of three times, as if a server were restarted again and again.
fn flaky_git(directory: &Path) -> String {
    let (program, count) = (directory.join("git"), directory.join("count"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *ls-remote*) echo >> {count}; [ $(($(wc -l < {count}) % 3)) = 0 ] || exit 1;; esac\n\
         exec git \"$@\"\n",
        count = count.display()
    );
    std::fs::write(&program, script).expect("it is written");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it may be run");
    program.display().to_string()
}

async fn a_poller_that_fails_now_and_then_stays_on_its_master(test: &TestDb) {
    let remote = Remote::new();
    remote.sh("c a first; git push -q origin main");
    let directory = tempfile::tempdir().expect("a directory");
    let mut farm = polling(&remote);
    let ChangeSourceKind::Git(config) = &mut farm.change_sources[0].kind;
    config.gitbin = flaky_git(directory.path());
    let a = TestMaster::start(test, "a", farm.clone()).await;
    run(&a);
    let polls = |master: &TestMaster, outcome: &str| master.parts.figures.polls.with_label_values(&[outcome]).get();
    eventually("it polls", || async { (polls(&a, "failed") > 0).then_some(()) }).await;
    let b = TestMaster::start(test, "b", farm).await;
    run(&b);
    let before = polls(&a, "ok");
    // Four failures at the least, and never three in a row.
    eventually("it goes on", || async { (polls(&a, "ok") >= before + 2).then_some(()) }).await;
    assert!(polls(&a, "failed") >= 4);
    assert_eq!(polls(&b, "ok") + polls(&b, "failed"), 0, "the other one never had it");
}

buildguild_db::on_both_databases!(
    no_commit_is_lost_or_doubled_when_the_pollers_master_dies,
    a_poller_that_fails_on_its_master_moves_to_another_if_there_is_one,
    a_poller_that_fails_now_and_then_stays_on_its_master,
);
