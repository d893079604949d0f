//! A master of a cluster without workers, that reads its own event log.

use std::sync::Arc;
use std::time::Duration;

use broker_adapters::EventLog;
use broker_adapters::memory::MemoryLog;
use buildguild_data::relay::RelayBell;
use buildguild_data::{Data, DataParts, StartBuild};
use buildguild_db::buildsets::{NewBuildset, StampRef};
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_db::{Db, Owner, builders, masters, workers};
use buildguild_types::event::Event;
use buildguild_types::ids::{BuildId, BuildRequestId, BuilderId, StepId, WorkerId};
use buildguild_types::properties::Properties;
use buildguild_types::time::SystemClock;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A master. Its publisher ends with it.
pub(crate) struct Master {
    pub(crate) data: Data,
    pub(crate) owner: Owner,
    pub(crate) bell: RelayBell,
    pub(crate) builder: BuilderId,
    pub(crate) worker: WorkerId,
    events: tokio::sync::mpsc::Receiver<Arc<Event>>,
    stop: CancellationToken,
    _owner: watch::Sender<Option<Owner>>,
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Master {
    pub(crate) async fn new(db: &Db, name: &str) -> Self {
        Self::with_log(db, name, Arc::new(MemoryLog::new(10_000))).await
    }

    pub(crate) async fn with_log(db: &Db, name: &str, log: Arc<dyn EventLog>) -> Self {
        let owner = db
            .write(|tx| async move {
                let id = masters::find_id(&tx, name).await?;
                masters::register(&tx, id, "test", None).await
            })
            .await
            .unwrap();
        let builder = db.write(|tx| async move { builders::find_id(&tx, "compile", true).await }).await.unwrap();
        let worker = db.write(|tx| async move { workers::find_id(&tx, "w1").await }).await.unwrap();
        let (sender, owners) = watch::channel(Some(owner));
        let (bell, stop) = (RelayBell::default(), CancellationToken::new());
        let data = Data::new(DataParts {
            db: db.clone(),
            log: Arc::clone(&log),
            clock: Arc::new(SystemClock),
            owner: owners.clone(),
            bell: bell.clone(),
        });
        let (news, events) = tokio::sync::mpsc::channel(10_000);
        let mut subscription = log.subscribe(None).await.unwrap().events;
        tokio::spawn(async move {
            while let Some(Ok(batch)) = subscription.next().await {
                for received in batch {
                    if news.send(received.event).await.is_err() {
                        return;
                    }
                }
            }
        });
        tokio::spawn(buildguild_data::relay::run(db.clone(), log, owners, bell.clone(), stop.clone()));
        Self { data, owner, bell, builder, worker, events, stop, _owner: sender }
    }

    /// The main keys of the next events, up to and including `last`.
    pub(crate) async fn keys_until(&mut self, last: &str) -> Vec<String> {
        let mut keys = Vec::new();
        loop {
            let event = self.next_event(&keys, last).await;
            let key = event.keys[0].as_str().to_owned();
            keys.push(key.clone());
            if key == last {
                return keys;
            }
        }
    }

    /// The next event with this main key.
    pub(crate) async fn event(&mut self, key: &str) -> Arc<Event> {
        let mut seen = Vec::new();
        loop {
            let event = self.next_event(&seen, key).await;
            if event.keys[0].as_str() == key {
                return event;
            }
            seen.push(event.keys[0].as_str().to_owned());
        }
    }

    async fn next_event(&mut self, seen: &[String], waiting_for: &str) -> Arc<Event> {
        match tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await {
            Ok(Some(event)) => event,
            _ => panic!("no {waiting_for} after {seen:?}"),
        }
    }

    pub(crate) async fn request(&self) -> BuildRequestId {
        let mut properties = Properties::new();
        properties.set("scheduler", "force", "Scheduler");
        let new = &NewBuildset {
            sourcestamps: vec![StampRef::New(NewSourceStamp::default())],
            reason: "test".to_owned(),
            properties,
            builders: vec![self.builder],
            ..NewBuildset::default()
        };
        self.data.update(|u| async move { u.add_buildset(new).await }).await.unwrap().1[0].buildrequestid
    }

    /// A build with its first step.
    pub(crate) async fn running_build(&self) -> (BuildRequestId, BuildId, StepId) {
        let request = self.request().await;
        self.data.update(|u| async move { u.claim_build_requests(&[request]).await }).await.unwrap();
        let (builder, worker) = (self.builder, self.worker);
        let (build, step) = self
            .data
            .update(|u| async move {
                let start = StartBuild { builder, request, worker, state_string: "starting" };
                let build = u.add_build(&start).await?.buildid;
                u.announce_build(build).await?;
                let step = u.add_step(build, "shell", "pending").await?.stepid;
                u.start_step(step, true).await?;
                Ok((build, step))
            })
            .await
            .unwrap();
        (request, build, step)
    }
}
