//! Who takes part in a run: the cluster with its links, the workers behind a balancer, the project, the outsiders.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::farm::following;
use super::project::Project;
use crate::balancer::Balancer;
use crate::broker::{Broker, TestBroker};
use crate::cluster::TestCluster;
use crate::database::Database;
use crate::farm::Farm;
use crate::link::Link;
use crate::master::MasterProcess;
use crate::native_worker::NativeWorker;
use crate::rest::Rest;
use crate::subscriber::Subscriber;
use crate::waiting::{DEADLINE, wait_for};

/// What builders there are; each change is built on all of them.
pub(super) const BUILDERS: [&str; 2] = ["quick", "slow"];

/// How many masters, workers and changes, and how they hear of each other.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Masters.
    pub masters: usize,
    /// Workers.
    pub workers: usize,
    /// Changes.
    pub changes: usize,
    /// The broker between the masters.
    pub broker: Broker,
    /// When a master is declared dead.
    pub expire: Duration,
}

/// A running cluster with all that belongs to it.
#[derive(Debug)]
pub struct Cast {
    /// What can be published.
    pub project: Project,
    /// Outsiders: one at each master; and with a broker one that goes to whichever answers, which is the last.
    pub subscribers: Vec<Subscriber>,
    /// Native workers behind the balancer.
    pub workers: Vec<NativeWorker>,
    /// Between each master and the database.
    pub database_links: Vec<Link>,
    /// Between each master and the broker.
    pub broker_links: Vec<Link>,
    /// How often a master had to be started that had ended by itself.
    pub revived: usize,
    /// How often a master that was asked to leave had to be killed.
    pub stayed: usize,
    /// Masters that are to be down for now.
    down: BTreeSet<usize>,
    /// The broker, while it is ended and started again.
    broker_at_work: Option<JoinHandle<Result<TestBroker>>>,
    _balancer: Balancer,
    /// The cluster.
    pub cluster: TestCluster,
}

impl Cast {
    /// Starts all of it.
    ///
    /// # Errors
    /// If something cannot be started.
    pub async fn start(size: Size) -> Result<Self> {
        let mut project = None;
        let expire = format!("{}ms", size.expire.as_millis());
        let mut cluster = TestCluster::builder()
            .masters(size.masters)
            .database(Database::OwnPostgres)
            .broker(size.broker)
            .linked()
            .one_farm()
            // A master from which the database is taken in the midst of its start says so and ends.
            .expect_error("the database is unavailable")
            .setting("CLUSTER__CHECK_IN_INTERVAL", &format!("{}ms", size.expire.as_millis() / 6))
            .setting("CLUSTER__EXPIRE_AFTER", &expire)
            .setting("CLUSTER__RESCAN_INTERVAL", "1s")
            .setting("SHUTDOWN__DRAIN_TIMEOUT", "1s")
            .start(|directory| {
                // One more than the storm is about, to see whether the cluster works after it.
                let made = project.insert(Project::create(directory, size.changes + 1)?);
                Ok(farm(&made.url(), size.workers))
            })
            .await?;
        let project = project.context("made above")?;
        let ports: Vec<(u16, u16)> = cluster.masters.iter().map(|m| (m.web_port(), m.worker_port())).collect();
        let (web, worker): (Vec<u16>, Vec<u16>) = ports.into_iter().unzip();
        let balancer = Balancer::taking_turns(&worker).await?;
        let workers = (0..size.workers)
            .map(|index| cluster.add_native_worker(balancer.port(), &format!("w{index}"), "secret"))
            .collect::<Result<_>>()?;
        let mut subscribers: Vec<Subscriber> = web.iter().map(|port| Subscriber::start(&[*port])).collect();
        if size.broker != Broker::Memory {
            subscribers.push(Subscriber::start(&web));
        }
        let (database_links, broker_links) = cluster.take_links();
        wait_for("the first poll", DEADLINE, async || {
            Ok(cluster.masters.iter().any(|master| master.log().contains("first poll")).then_some(()))
        })
        .await?;
        // Nobody promises them what happened before they came.
        wait_for("the outsiders listen", DEADLINE, async || {
            Ok(subscribers.iter().all(|outsider| outsider.connections() > 0).then_some(()))
        })
        .await?;
        Ok(Self {
            project,
            subscribers,
            workers,
            database_links,
            broker_links,
            revived: 0,
            stayed: 0,
            down: BTreeSet::new(),
            broker_at_work: None,
            _balancer: balancer,
            cluster,
        })
    }

    /// A master.
    ///
    /// # Errors
    /// If there is none with this index.
    pub fn master(&mut self, index: usize) -> Result<&mut MasterProcess> {
        self.cluster.masters.get_mut(index).context("a master")
    }

    /// Starts masters again that could not start because the database went away just then, as a service manager would.
    ///
    /// # Errors
    /// If that fails.
    pub fn revive(&mut self) -> Result<()> {
        for (index, master) in self.cluster.masters.iter_mut().enumerate() {
            if !self.down.contains(&index) && master.has_ended()? {
                master.start()?;
                self.revived += 1;
            }
        }
        Ok(())
    }

    /// This master is not to be revived.
    pub(super) fn leave_down(&mut self, index: usize) {
        self.down.insert(index);
    }

    /// Starts a master that was left down.
    pub(super) fn start_again(&mut self, index: usize) -> Result<()> {
        self.down.remove(&index);
        self.master(index)?.start()
    }

    /// Lets something that takes long be done with the broker, while all else goes on.
    pub(super) fn work_on_broker(&mut self, work: impl FnOnce(&mut TestBroker) -> Result<()> + Send + 'static) {
        let mut broker = std::mem::replace(&mut self.cluster.broker, TestBroker::Memory);
        self.broker_at_work = Some(spawn_blocking(move || work(&mut broker).map(|()| broker)));
    }

    /// Whether that is done.
    pub(super) fn is_broker_back(&self) -> bool {
        self.broker_at_work.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until that is done.
    pub(super) async fn take_broker_back(&mut self) -> Result<()> {
        if let Some(work) = self.broker_at_work.take() {
            self.cluster.broker = work.await??;
        }
        Ok(())
    }

    /// The running broker loses the log that is in force.
    pub(super) fn lose_log(&mut self) -> Result<()> {
        let generation = self.cluster.database.sql("SELECT generation FROM event_log")?;
        let runtime = Handle::current();
        self.work_on_broker(move |broker| {
            let (generation, mut refused) = (generation.trim(), None);
            // A RabbitMQ that was just started does not know for some seconds where its streams are.
            let lost = runtime.block_on(wait_for("the broker loses the log", DEADLINE, async || {
                refused = broker.lose_log(generation).await.err();
                Ok(refused.is_none().then_some(()))
            }));
            lost.with_context(|| format!("{refused:?}"))
        });
        Ok(())
    }

    /// A client of a master that answers.
    ///
    /// # Errors
    /// If none does.
    pub async fn rest(&self) -> Result<Rest> {
        wait_for("a master answers", DEADLINE, async || {
            for master in &self.cluster.masters {
                if master.rest()?.within(Duration::from_secs(1))?.text("health/ready").await.is_ok() {
                    return Ok(Some(master.rest()?));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Waits until the changes are built, `deadline` at most.
    ///
    /// # Errors
    /// What is missing.
    pub async fn all_built(&mut self, changes: usize, deadline: Duration) -> Result<()> {
        let expected = changes * BUILDERS.len();
        let mut found = String::new();
        let waited = wait_for("all changes are built", deadline, async || {
            let sql = "SELECT count(*) FILTER (WHERE complete), count(*) FROM buildrequests";
            self.revive()?;
            // The database may be away for a moment.
            found = self.cluster.database.sql(sql).unwrap_or_default().trim().to_owned();
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok((found == format!("{expected}|{expected}")).then_some(()))
        })
        .await;
        waited.with_context(|| format!("of {expected} requests, {found} (complete|all)"))
    }
}

/// The masters' farm: the result of a build depends on the revision alone.
fn farm(project: &str, workers: usize) -> String {
    let mut farm = Farm::new();
    for index in 0..workers {
        farm = farm.worker(&format!("w{index}"));
    }
    let shell = |name: &str, script: &str| {
        format!("steps.ShellCommand(name={name:?}, command=['sh', '-c', util.Interpolate({script:?})])")
    };
    let verdict = shell("verdict", "case %(prop:revision)s in [0-3]*) exit 1;; *) exit 0;; esac");
    for (builder, command) in BUILDERS.into_iter().zip(["true", "sleep 0.5"]) {
        let print = shell("print", &format!("echo %(prop:revision)s; {command}"));
        farm = farm.builder_on_any(builder, &[&print, &verdict]);
    }
    following(farm, project, &BUILDERS)
}
