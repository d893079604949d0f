//! Projects, code bases, branches, commits.

use buildguild_db::codebase_commits::NewCommit;
use buildguild_db::projects::ProjectInfo;
use buildguild_db::test_support::TestDb;
use buildguild_db::{DbError, Tx, codebase_branches, codebase_commits, codebases, on_both_databases, projects};
use buildguild_types::ids::{CodebaseId, CommitId, ProjectId};

use super::fixtures::{NOW, farm};

on_both_databases!(
    projects_are_found_and_updated,
    codebases_belong_to_projects,
    a_branch_follows_its_head,
    commits_are_added_once,
    the_last_common_commit_is_found,
);

async fn projects_are_found_and_updated(test: &TestDb) {
    let db = &test.db;
    let missing = db.write(|tx| async move { projects::find_id(&tx, "alpha", false).await }).await;
    assert!(matches!(missing, Err(DbError::NotFound(_))), "{missing:?}");
    let (id, changed) = db
        .write(|tx| async move {
            let id = projects::find_id(&tx, "alpha", true).await?;
            assert_eq!(projects::find_id(&tx, "alpha", true).await?, id);
            projects::find_id(&tx, "empty", true).await?;
            let info = ProjectInfo {
                slug: "alpha-slug".to_owned(),
                description: Some("The *first*".to_owned()),
                description_format: Some("markdown".to_owned()),
                description_html: Some("<p>The <em>first</em></p>".to_owned()),
            };
            let changed = [projects::update_info(&tx, id, &info).await?, projects::update_info(&tx, id, &info).await?];
            Ok((id, changed))
        })
        .await
        .expect("updates");
    assert_eq!(changed, [true, false]);
    let project = projects::get(db.read(), id).await.expect("reads").expect("exists");
    assert_eq!((project.name.as_str(), project.slug.as_str(), project.active), ("alpha", "alpha-slug", None));
    assert_eq!(project.description_html.as_deref(), Some("<p>The <em>first</em></p>"));
    assert_eq!(projects::list(db.read()).await.expect("lists").len(), 2);
    assert!(projects::list_active(db.read()).await.expect("lists").is_empty());

    let builder = farm(test).await.builder;
    db.write(|tx| async move {
        let info = buildguild_db::builders::BuilderInfo {
            name: "linux".to_owned(),
            project: Some(id),
            ..buildguild_db::builders::BuilderInfo::default()
        };
        buildguild_db::builders::update_info(&tx, builder, &info).await
    })
    .await
    .expect("updates");
    let active = projects::list_active(db.read()).await.expect("lists");
    assert_eq!(active.iter().map(|project| project.projectid).collect::<Vec<_>>(), [id]);
}

/// A project with one code base.
async fn codebase(tx: &Tx) -> Result<(ProjectId, CodebaseId), DbError> {
    let project = projects::find_id(tx, "alpha", true).await?;
    Ok((project, codebases::find_id(tx, project, "repo", true).await?))
}

async fn codebases_belong_to_projects(test: &TestDb) {
    let db = &test.db;
    let (project, id, other) = db
        .write(|tx| async move {
            let (project, id) = codebase(&tx).await?;
            let beta = projects::find_id(&tx, "beta", true).await?;
            let other = codebases::find_id(&tx, beta, "repo", true).await?;
            assert_ne!(id, other);
            assert!(codebases::update_info(&tx, id, project, "slug").await?);
            assert!(!codebases::update_info(&tx, id, project, "slug").await?);
            Ok((project, id, other))
        })
        .await
        .expect("updates");
    let found = codebases::get(db.read(), id).await.expect("reads").expect("exists");
    assert_eq!((found.projectid, found.name.as_str(), found.slug.as_str()), (project, "repo", "slug"));
    assert_eq!(codebases::list(db.read(), Some(project)).await.expect("lists").len(), 1);
    assert_eq!(codebases::list(db.read(), None).await.expect("lists").len(), 2);
    let missing = db.write(|tx| async move { codebases::find_id(&tx, project, "none", false).await }).await;
    assert!(matches!(missing, Err(DbError::NotFound(_))), "{missing:?}");
    let orphan = db.write(|tx| async move { codebases::find_id(&tx, ProjectId(99), "x", true).await }).await;
    assert!(matches!(orphan, Err(DbError::Conflict(_))), "{orphan:?}");
    let clash = db.write(|tx| async move { codebases::update_info(&tx, other, project, "slug").await }).await;
    assert!(matches!(clash, Err(DbError::Conflict(_))), "{clash:?}");
}

async fn commit(tx: &Tx, codebase: CodebaseId, revision: &str, parent: Option<CommitId>) -> Result<CommitId, DbError> {
    let commit = NewCommit {
        codebase,
        author: "ann".to_owned(),
        committer: None,
        comments: format!("commit {revision}"),
        when: NOW,
        revision: revision.to_owned(),
        parent,
    };
    Ok(codebase_commits::add(tx, &commit).await?.0)
}

async fn a_branch_follows_its_head(test: &TestDb) {
    let db = &test.db;
    let (id, first, second) = db
        .write(|tx| async move {
            let (_, codebase) = codebase(&tx).await?;
            let one = commit(&tx, codebase, "r1", None).await?;
            let two = commit(&tx, codebase, "r2", Some(one)).await?;
            let first = codebase_branches::update(&tx, codebase, "main", Some(one), NOW).await?;
            let later = NOW.plus(std::time::Duration::from_secs(5));
            let second = codebase_branches::update(&tx, codebase, "main", Some(two), later).await?;
            assert_eq!((second.commitid, second.last_timestamp), (Some(two), later));
            Ok((codebase, first, second))
        })
        .await
        .expect("updates");
    assert_eq!(first.branchid, second.branchid);
    assert_eq!(codebase_branches::get(db.read(), first.branchid).await.expect("reads").as_ref(), Some(&second));
    let by_name = codebase_branches::get_by_name(db.read(), id, "main").await.expect("reads");
    assert_eq!(by_name.as_ref(), Some(&second));
    assert_eq!(codebase_branches::get_by_name(db.read(), id, "none").await.expect("reads"), None);
    assert_eq!(codebase_branches::list(db.read(), id).await.expect("lists"), [second]);
}

async fn commits_are_added_once(test: &TestDb) {
    let db = &test.db;
    let (codebase, one, two) = db
        .write(|tx| async move {
            let (_, codebase) = codebase(&tx).await?;
            let one = commit(&tx, codebase, "r1", None).await?;
            assert_eq!(commit(&tx, codebase, "r1", None).await?, one);
            let two = commit(&tx, codebase, "r2", Some(one)).await?;
            Ok((codebase, one, two))
        })
        .await
        .expect("adds");
    let found = codebase_commits::get(db.read(), two).await.expect("reads").expect("exists");
    assert_eq!((found.revision.as_str(), found.parent_commitid, found.when_timestamp), ("r2", Some(one), NOW));
    let by_revision = codebase_commits::get_by_revision(db.read(), codebase, "r2").await.expect("reads");
    assert_eq!(by_revision, Some(found));
    let many = codebase_commits::get_many(db.read(), &[two, CommitId(99), one]).await.expect("reads");
    assert_eq!(many.iter().map(|commit| commit.commitid).collect::<Vec<_>>(), [one, two]);
    assert_eq!(codebase_commits::list(db.read(), codebase).await.expect("lists").len(), 2);
    let orphan = db.write(|tx| async move { commit(&tx, CodebaseId(99), "r", None).await }).await;
    assert!(matches!(orphan, Err(DbError::Conflict(_))), "{orphan:?}");
}

async fn the_last_common_commit_is_found(test: &TestDb) {
    // 1 - 2 - 3 - 4
    //      \- 5 - 6      7 - 8 ... (a hundred and more)
    let db = &test.db;
    let (codebase, ids, far) = db
        .write(|tx| async move {
            let (_, codebase) = codebase(&tx).await?;
            let mut ids = vec![CommitId(0)];
            for (revision, parent) in [("1", 0), ("2", 1), ("3", 2), ("4", 3), ("5", 2), ("6", 5), ("7", 0)] {
                let parent = (parent > 0).then(|| ids[parent]);
                ids.push(commit(&tx, codebase, revision, parent).await?);
            }
            let mut far = ids[7];
            for number in 0..120 {
                far = commit(&tx, codebase, &format!("far-{number}"), Some(far)).await?;
            }
            Ok((codebase, ids, far))
        })
        .await
        .expect("adds");
    let graph = async |one, two| {
        codebase_commits::common_parent(db.read(), codebase, one, two).await.expect("reads").expect("both exist")
    };
    let found = graph(ids[4], ids[6]).await;
    assert_eq!(found.common, Some(ids[2]));
    assert_eq!(found.to1, [ids[2], ids[3], ids[4]]);
    assert_eq!(found.to2, [ids[2], ids[5], ids[6]]);
    let found = graph(ids[1], ids[3]).await;
    assert_eq!((found.common, found.to1, found.to2), (Some(ids[1]), vec![ids[1]], vec![ids[1], ids[2], ids[3]]));
    let found = graph(ids[4], ids[7]).await;
    assert_eq!((found.common, found.to1, found.to2), (None, vec![], vec![]));
    // Beyond the depth to which it looks.
    assert_eq!(graph(ids[7], far).await.common, None);
    let missing = codebase_commits::common_parent(db.read(), codebase, ids[1], CommitId(999)).await.expect("reads");
    assert_eq!(missing, None);
}
