//! A small farm with one running build.

use buildguild_db::builders::BuilderInfo;
use buildguild_db::builds::NewBuild;
use buildguild_db::buildsets::{NewBuildset, StampRef};
use buildguild_db::changes::NewChange;
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_db::test_support::TestDb;
use buildguild_db::{Owner, builders, buildrequests, builds, buildsets, changes, masters, steps, workers};
use buildguild_types::ids::{BuildId, BuilderId, ChangeId, StepId};
use buildguild_types::time::Timestamp;

/// What the farm has.
pub(crate) struct Farm {
    /// A living master.
    pub(crate) owner: Owner,
    /// Its builder.
    pub(crate) builder: BuilderId,
    /// The builder's build.
    pub(crate) build: BuildId,
    /// The build's step.
    pub(crate) step: StepId,
}

/// Some time.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A living master.
pub(crate) async fn master(test: &TestDb, name: &'static str) -> Owner {
    test.db
        .write(|tx| async move {
            let id = masters::find_id(&tx, name).await?;
            masters::register(&tx, id, "instance", None).await
        })
        .await
        .expect("registers")
}

/// A change on a branch.
pub(crate) async fn change(test: &TestDb, branch: Option<&'static str>, revision: &'static str) -> ChangeId {
    test.db
        .write(|tx| async move {
            let change = NewChange {
                author: "ann".to_owned(),
                branch: branch.map(str::to_owned),
                revision: Some(revision.to_owned()),
                repository: "https://example.org/repo".to_owned(),
                project: "alpha".to_owned(),
                ..NewChange::default()
            };
            Ok(changes::add(&tx, &change, NOW).await?.changeid)
        })
        .await
        .expect("adds a change")
}

/// A farm whose build checks out revision `cafe`.
pub(crate) async fn farm(test: &TestDb) -> Farm {
    let owner = master(test, "host:/master").await;
    test.db
        .write(|tx| async move {
            let info = BuilderInfo { name: "linux".to_owned(), ..BuilderInfo::default() };
            let builder = builders::sync(&tx, owner.master_id, &[info]).await?.ids["linux"];
            let worker = workers::find_id(&tx, "w1").await?;
            let stamp = NewSourceStamp { revision: Some("cafe".to_owned()), ..NewSourceStamp::default() };
            let buildset = NewBuildset {
                sourcestamps: vec![StampRef::New(stamp)],
                reason: "test".to_owned(),
                builders: vec![builder],
                ..NewBuildset::default()
            };
            let (_, requests) = buildsets::add(&tx, &buildset, NOW).await?;
            let request = requests[0].buildrequestid;
            buildrequests::claim(&tx, &[request], owner, NOW).await?;
            let new = NewBuild { builder, request, worker, state_string: "starting" };
            let build = builds::add(&tx, &new, owner, NOW).await?.buildid;
            let step = steps::add(&tx, build, "compile", "pending").await?.stepid;
            Ok(Farm { owner, builder, build, step })
        })
        .await
        .expect("a farm")
}
