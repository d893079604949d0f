//! Changes: lines of development, source stamps, users, pruning.

use buildguild_db::changes::{self, NewChange};
use buildguild_db::test_support::TestDb;
use buildguild_db::{on_both_databases, sourcestamps, users};
use buildguild_types::ids::{ChangeId, SourceStampId};

use super::fixtures::{NOW, change};

on_both_databases!(a_change_follows_the_last_of_its_line, changes_know_their_users, the_newest_changes_are_kept);

async fn a_change_follows_the_last_of_its_line(test: &TestDb) {
    let first = change(test, Some("main"), "r1").await;
    let other = change(test, Some("other"), "r2").await;
    let default = change(test, None, "r3").await;
    let second = change(test, Some("main"), "r4").await;
    let again = change(test, Some("main"), "r1").await;
    let db = test.db.read();
    let parents = async |id| changes::get(db, id).await.expect("reads").expect("exists").parent_changeids;
    assert_eq!(parents(first).await, []);
    assert_eq!(parents(other).await, []);
    assert_eq!(parents(default).await, []);
    assert_eq!(parents(second).await, [first]);
    assert_eq!(parents(again).await, [second]);
    let parent = async |branch, project| {
        changes::parent_of(db, branch, "https://example.org/repo", project, "").await.expect("reads")
    };
    assert_eq!(parent(Some("main"), "alpha").await, Some(again));
    assert_eq!(parent(None, "alpha").await, Some(default));
    assert_eq!(parent(Some("main"), "beta").await, None);

    // Equal source stamps are one, and the latest change that has it stands for it.
    let stamp = |change: &buildguild_types::resources::Change| change.sourcestamp.ssid;
    let all = changes::get_many(db, &[first, again]).await.expect("reads");
    assert_eq!(stamp(&all[0]), stamp(&all[1]));
    let latest = changes::from_sourcestamp(db, stamp(&all[0])).await.expect("reads").expect("exists");
    assert_eq!(latest.changeid, again);
    assert!(changes::from_sourcestamp(db, SourceStampId(99)).await.expect("reads").is_none());
    assert_eq!(sourcestamps::list(db).await.expect("lists").len(), 4);
    let after = changes::list_after(db, other, 2).await.expect("lists");
    assert_eq!(after.iter().map(|change| change.changeid).collect::<Vec<_>>(), [default, second]);
}

async fn changes_know_their_users(test: &TestDb) {
    let (id, ann) = test
        .db
        .write(|tx| async move {
            let ann = users::find_by_attribute(&tx, "ann", "email", "a@b").await?;
            let change = NewChange { author: "ann".to_owned(), user: Some(ann), ..NewChange::default() };
            Ok((changes::add(&tx, &change, NOW).await?.changeid, ann))
        })
        .await
        .expect("adds");
    assert_eq!(changes::users_of(test.db.read(), id).await.expect("reads"), [ann]);
    test.db.write(|tx| async move { users::remove(&tx, ann).await }).await.expect("removes");
    assert!(changes::users_of(test.db.read(), id).await.expect("reads").is_empty());
}

async fn the_newest_changes_are_kept(test: &TestDb) {
    let db = &test.db;
    assert_eq!(changes::latest_id(db.read()).await.expect("reads"), None);
    let mut ids: Vec<ChangeId> = Vec::new();
    for revision in ["r1", "r2", "r3", "r4", "r5"] {
        ids.push(change(test, Some("main"), revision).await);
    }
    assert_eq!(changes::count(db.read()).await.expect("counts"), 5);
    assert_eq!(changes::latest_id(db.read()).await.expect("reads"), Some(ids[4]));
    let pruned = db.write(|tx| async move { changes::prune(&tx, 2).await }).await.expect("prunes");
    assert_eq!(pruned, 3);
    let kept = changes::list_after(db.read(), ChangeId(0), 10).await.expect("lists");
    assert_eq!(kept.iter().map(|change| change.changeid).collect::<Vec<_>>(), [ids[3], ids[4]]);
    // The parent of the oldest is gone, and so is the link to it.
    assert_eq!(kept[0].parent_changeids, []);
    let pruned = db.write(|tx| async move { changes::prune(&tx, 2).await }).await.expect("prunes");
    assert_eq!(pruned, 0);
}
