//! Who takes part in a run: the cluster with its links, the workers behind a balancer, the project, the outsiders.

use std::time::Duration;

use anyhow::{Context, Result};

use super::project::Project;
use crate::balancer::Balancer;
use crate::broker::Broker;
use crate::cluster::TestCluster;
use crate::database::Database;
use crate::link::Link;
use crate::master::MasterProcess;
use crate::native_worker::NativeWorker;
use crate::rest::Rest;
use crate::subscriber::Subscriber;
use crate::waiting::{DEADLINE, wait_for};

/// What builders there are; each change is built on all of them.
const BUILDERS: [&str; 2] = ["quick", "slow"];

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
    /// Outsiders: one, or with the memory broker one for each master.
    pub subscribers: Vec<Subscriber>,
    /// Native workers behind the balancer.
    pub workers: Vec<NativeWorker>,
    /// Between each master and the database.
    pub database_links: Vec<Link>,
    /// Between each master and the broker.
    pub broker_links: Vec<Link>,
    /// How often a master had to be started that had ended by itself.
    pub revived: usize,
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
            // A master that is started while the database is away says so and ends.
            .expect_error("the master ended: cannot")
            .setting("CLUSTER__CHECK_IN_INTERVAL", &format!("{}ms", size.expire.as_millis() / 6))
            .setting("CLUSTER__EXPIRE_AFTER", &expire)
            .setting("CLUSTER__RESCAN_INTERVAL", "1s")
            .setting("SHUTDOWN__DRAIN_TIMEOUT", "1s")
            .start(|directory| {
                let made = project.insert(Project::create(directory, size.changes)?);
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
        let subscribers = match size.broker {
            // Each master hears only itself, so somebody has to listen at each.
            Broker::Memory => web.iter().map(|port| Subscriber::start(&[*port])).collect(),
            Broker::Redis | Broker::RabbitMq => vec![Subscriber::start(&web)],
        };
        let (database_links, broker_links) = cluster.take_links();
        wait_for("the first poll", DEADLINE, async || {
            Ok(cluster.masters.iter().any(|master| master.log().contains("first poll")).then_some(()))
        })
        .await?;
        Ok(Self {
            project,
            subscribers,
            workers,
            database_links,
            broker_links,
            revived: 0,
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

    /// Starts masters again that could not start because the database was away just then, as a service manager would.
    ///
    /// # Errors
    /// If that fails.
    pub fn revive(&mut self) -> Result<()> {
        for master in &mut self.cluster.masters {
            if master.has_ended()? {
                master.start()?;
                self.revived += 1;
            }
        }
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

/// Every change is built twice; the result depends on the revision alone.
fn farm(project: &str, workers: usize) -> String {
    let names: Vec<String> = (0..workers).map(|index| format!("w{index}")).collect();
    let declared: Vec<String> = names.iter().map(|name| format!("worker.Worker({name:?}, 'secret')")).collect();
    format!(
        r#"
from buildbot.plugins import *
c = BuildmasterConfig = {{}}
c['collapseRequests'] = False
c['protocols'] = {{'msgpack_experimental_v7': {{'port': 9989}}}}
c['www'] = dict(port=8010)
c['workers'] = [{declared}]
c['change_source'] = [changes.GitPoller(repourl={project:?}, branches=['main'], pollInterval=1, pollAtLaunch=True)]
c['schedulers'] = [
    schedulers.SingleBranchScheduler(name='each', branch='main', treeStableTimer=None, builderNames={BUILDERS:?}),
]
def factory(command):
    return util.BuildFactory([
        steps.ShellCommand(name='print', command=['sh', '-c', util.Interpolate('echo %(prop:revision)s; ' + command)]),
        steps.ShellCommand(name='verdict', command=['sh', '-c', util.Interpolate(
            'case %(prop:revision)s in [0-3]*) exit 1;; *) exit 0;; esac')]),
    ])
c['builders'] = [
    util.BuilderConfig(name='quick', workernames={names:?}, factory=factory('true')),
    util.BuilderConfig(name='slow', workernames={names:?}, factory=factory('sleep 0.5')),
]
"#,
        declared = declared.join(", "),
    )
}
