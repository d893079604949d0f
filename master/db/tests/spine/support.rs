//! A small farm to play with.

use buildguild_db::builds::{self, NewBuild};
use buildguild_db::buildsets::{self, NewBuildset, StampRef};
use buildguild_db::masters::Pulse;
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_db::{Db, Owner, builders, buildrequests, masters, workers};
use buildguild_types::ids::{BuildRequestId, BuilderId, WorkerId};
use buildguild_types::resources::{Build, BuildRequest};
use buildguild_types::time::Timestamp;

/// A point in time that tests write.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// One active master with a builder and a worker.
pub(crate) struct Farm {
    pub(crate) db: Db,
    pub(crate) owner: Owner,
    pub(crate) builder: BuilderId,
    pub(crate) worker: WorkerId,
}

impl Farm {
    pub(crate) async fn new(db: &Db) -> Self {
        let owner = register(db, "one").await;
        let builder = db.write(|tx| async move { builders::find_id(&tx, "compile", true).await }).await.unwrap();
        let worker = db.write(|tx| async move { workers::find_id(&tx, "w1").await }).await.unwrap();
        Self { db: db.clone(), owner, builder, worker }
    }

    /// A buildset with `count` requests for the builder.
    pub(crate) async fn requests(&self, count: usize) -> Vec<BuildRequest> {
        let new = NewBuildset {
            sourcestamps: vec![StampRef::New(NewSourceStamp::default())],
            reason: "test".to_owned(),
            builders: vec![self.builder; count],
            ..NewBuildset::default()
        };
        let new = &new;
        self.db.write(|tx| async move { buildsets::add(&tx, new, NOW).await }).await.unwrap().1
    }

    pub(crate) async fn claimed_request(&self) -> BuildRequestId {
        let id = self.requests(1).await[0].buildrequestid;
        let owner = self.owner;
        self.db.write(|tx| async move { buildrequests::claim(&tx, &[id], owner, NOW).await }).await.unwrap();
        id
    }

    pub(crate) async fn build(&self, request: BuildRequestId) -> Build {
        let new = NewBuild { builder: self.builder, request, worker: self.worker, state_string: "starting" };
        let (new, owner) = (&new, self.owner);
        self.db.write(|tx| async move { builds::add(&tx, new, owner, NOW).await }).await.unwrap()
    }

    pub(crate) async fn running_build(&self) -> Build {
        let request = self.claimed_request().await;
        self.build(request).await
    }
}

/// Registers a process of a master that was not active.
pub(crate) async fn register(db: &Db, name: &str) -> Owner {
    db.write(|tx| async move {
        let id = masters::find_id(&tx, name).await?;
        masters::register(&tx, id, "instance", None).await
    })
    .await
    .unwrap()
}

pub(crate) async fn pulse(db: &Db, owner: Owner) -> Pulse {
    let pulses = masters::pulses(db.read()).await.unwrap();
    pulses.into_iter().find(|pulse| pulse.owner.master_id == owner.master_id).unwrap()
}

/// Declares an owner dead.
pub(crate) async fn kill(db: &Db, owner: Owner) {
    let killed = db.write(|tx| async move { masters::deactivate(&tx, owner, None).await }).await.unwrap();
    assert!(killed.is_some());
}
