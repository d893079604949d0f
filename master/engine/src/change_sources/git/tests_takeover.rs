//! The poller on real databases: many commits at once, and a master that dies while it adds them.

use std::sync::Arc;

use buildguild_db::{changes, test_support::TestDb};
use buildguild_types::{farm::FarmConfig, ids::ChangeId};
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

buildguild_db::on_both_databases!(no_commit_is_lost_or_doubled_when_the_pollers_master_dies);
