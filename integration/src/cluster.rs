//! A cluster for one test.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;
use test_servers::free_port;

use crate::broker::{Broker, TestBroker};
use crate::database::{Database, TestDatabase};
use crate::link::Link;
use crate::master::MasterProcess;
use crate::native_worker::NativeWorker;
use crate::rest::Rest;
use crate::stock_worker::StockWorker;
use crate::waiting::{DEADLINE, wait_for};

/// The worker port in the farms of tests, which becomes one that is free.
const FARM_PORT: &str = "'port': 9989";

/// What a cluster is made of.
#[derive(Debug)]
pub struct TestClusterBuilder {
    masters: usize,
    database: Database,
    broker: Broker,
    linked: bool,
    stopped: bool,
    environment: Vec<(String, String)>,
    expected_errors: Vec<String>,
    one_farm: bool,
}

impl TestClusterBuilder {
    /// So many masters; two if not said.
    #[must_use]
    pub fn masters(mut self, masters: usize) -> Self {
        self.masters = masters;
        self
    }

    /// On this database; PostgreSQL if not said.
    #[must_use]
    pub fn database(mut self, database: Database) -> Self {
        self.database = database;
        self
    }

    /// With this broker, a server of the test's own; each master's memory if not said.
    #[must_use]
    pub fn broker(mut self, broker: Broker) -> Self {
        self.broker = broker;
        self
    }

    /// Between each master and the servers are links that can be cut, see [`TestCluster::take_links`].
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// The masters are made, but not started.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.stopped = true;
        self
    }

    /// With this setting for all masters, for example `("CLUSTER__EXPIRE_AFTER", "3s")`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.environment.push((format!("BUILDGUILD__{name}"), value.to_owned()));
        self
    }

    /// A master that is gone is noticed, and its work done elsewhere, within seconds; one that a busy machine keeps waiting
    /// for some of them goes on.
    #[must_use]
    pub fn quick_to_notice(self) -> Self {
        self.setting("CLUSTER__CHECK_IN_INTERVAL", "2s")
            .setting("CLUSTER__EXPIRE_AFTER", "9s")
            .setting("CLUSTER__RESCAN_INTERVAL", "1s")
    }

    /// With this environment variable for all masters.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same `master.cfg`, byte for byte, for all masters: their worker ports then come from a setting. Otherwise
    /// they come, as on most machines, from `c['protocols']`, and each master has its own there.
    #[must_use]
    pub fn one_farm(mut self) -> Self {
        self.one_farm = true;
        self
    }

    /// Error lines that contain this text belong to what the test does.
    #[must_use]
    pub fn expect_error(mut self, text: &str) -> Self {
        self.expected_errors.push(text.to_owned());
        self
    }

    /// Makes the cluster and starts all masters. `farm` gets the cluster's directory and gives the `master.cfg`.
    ///
    /// # Errors
    /// If anything of it cannot be made or started.
    pub async fn start(self, farm: impl FnOnce(&Path) -> Result<String>) -> Result<TestCluster> {
        let directory = tempfile::Builder::new().prefix("buildguild-test-").tempdir()?;
        let database = TestDatabase::create(self.database, directory.path())?;
        let broker = TestBroker::start(self.broker)?;
        let farm = farm(directory.path())?;
        let environment = self.environment.clone();
        let says_broker = environment.iter().any(|(name, _)| name == "BUILDGUILD__BROKER__URL");
        let broker_url = broker.url().filter(|_| !says_broker);
        let (mut database_links, mut broker_links) = (Vec::new(), Vec::new());
        let mut masters = Vec::new();
        for index in 0..self.masters {
            let name = format!("m{index}");
            let ports = (free_port()?, free_port()?);
            let path = directory.path().join(&name);
            let (mut farm, mut environment) = (farm.clone(), environment.clone());
            let url = self.reach(database.url(), &mut database_links).await?;
            environment.push(("BUILDGUILD__DATABASE__URL".to_owned(), url));
            if let Some(url) = &broker_url {
                let url = self.reach(url, &mut broker_links).await?;
                environment.push(("BUILDGUILD__BROKER__URL".to_owned(), url));
            }
            if !self.one_farm && farm.contains(FARM_PORT) {
                farm = farm.replace(FARM_PORT, &format!("'port': 'tcp:{}:interface=127.0.0.1'", ports.1));
            } else {
                environment.push(("BUILDGUILD__WORKER__LISTEN".to_owned(), format!("127.0.0.1:{}", ports.1)));
            }
            masters.push(MasterProcess::create(path, &name, &farm, environment, ports)?);
        }
        let mut cluster = TestCluster {
            masters,
            workers: Vec::new(),
            expected_errors: self.expected_errors.clone(),
            links: (database_links, broker_links),
            database,
            broker,
            directory,
        };
        if let Some(first) = cluster.masters.first() {
            let output = first.command("upgrade-master")?.arg(first.directory()).output()?;
            anyhow::ensure!(output.status.success(), "upgrade-master: {}", String::from_utf8_lossy(&output.stderr));
        }
        if self.stopped {
            return Ok(cluster);
        }
        for master in &mut cluster.masters {
            master.start()?;
        }
        for master in &mut cluster.masters {
            master.ready().await?;
        }
        Ok(cluster)
    }

    /// The URL by which a master reaches a server: a link's, if there is to be one.
    async fn reach(&self, url: &str, links: &mut Vec<Link>) -> Result<String> {
        if !self.linked {
            return Ok(url.to_owned());
        }
        let server = port(url)?;
        let link = Link::to(server).await?;
        let url = url.replace(&format!("127.0.0.1:{server}"), &format!("127.0.0.1:{}", link.port()));
        links.push(link);
        Ok(url)
    }
}

/// The port of a server's URL.
fn port(url: &str) -> Result<u16> {
    let (_, behind) = url.rsplit_once("127.0.0.1:").context("a server of this machine")?;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// Masters, workers, a database and a directory, all for one test and all gone with it.
#[derive(Debug)]
pub struct TestCluster {
    /// The masters, in the order of their names `m0`, `m1`, ...
    pub masters: Vec<MasterProcess>,
    /// The stock workers, in the order in which they were added.
    pub workers: Vec<StockWorker>,
    expected_errors: Vec<String>,
    /// The database.
    pub database: TestDatabase,
    /// The broker.
    pub broker: TestBroker,
    links: (Vec<Link>, Vec<Link>),
    directory: TempDir,
}

impl TestCluster {
    /// Two masters on PostgreSQL, unless said otherwise.
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder {
            masters: 2,
            database: Database::Postgres,
            broker: Broker::Memory,
            linked: false,
            stopped: false,
            environment: Vec::new(),
            expected_errors: Vec::new(),
            one_farm: false,
        }
    }

    /// A client of the first master.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn rest(&self) -> Result<Rest> {
        self.masters[0].rest()
    }

    /// The links between each master and the database, and the broker, in the order of the masters; nothing unless the
    /// cluster is [`TestClusterBuilder::linked`].
    pub fn take_links(&mut self) -> (Vec<Link>, Vec<Link>) {
        std::mem::take(&mut self.links)
    }

    /// The directory for all that the test makes.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_path_buf()
    }

    /// Starts a stock worker that connects to `port`; does not wait for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add_stock_worker(&mut self, port: u16, name: &str, password: &str) -> Result<usize> {
        let directory = self.directory.path().join(format!("worker-{}-{name}", self.workers.len()));
        let mut worker = StockWorker::create(&directory, port, name, password)?;
        worker.start()?;
        self.workers.push(worker);
        Ok(self.workers.len() - 1)
    }

    /// Starts a native worker that connects to `port`; does not wait for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add_native_worker(&mut self, port: u16, name: &str, password: &str) -> Result<NativeWorker> {
        let mut worker =
            NativeWorker::create(&self.directory.path().join(format!("native-{name}")), port, name, password)?;
        worker.start()?;
        Ok(worker)
    }

    /// Waits until REST shows the worker as connected.
    ///
    /// # Errors
    /// If that takes too long; the logs are in the message.
    pub async fn worker_connected(&self, rest: &Rest, name: &str) -> Result<()> {
        let connected = wait_for(&format!("worker {name} is connected"), DEADLINE, async || {
            let worker = rest.one(&format!("workers/{name}")).await?;
            Ok(worker["connected_to"].as_array().filter(|masters| !masters.is_empty()).map(|_| ()))
        })
        .await;
        connected.map_err(|error| error.context(self.all_logs()))
    }

    /// The logs of all masters and workers, for messages.
    pub fn all_logs(&self) -> String {
        let masters =
            self.masters.iter().map(|master| format!("--- {}\n{}", master.name, master.all_logs().join("\n---\n")));
        let workers = self.workers.iter().map(|worker| format!("--- worker\n{}", worker.log()));
        masters.chain(workers).collect::<Vec<_>>().join("\n")
    }

    /// Error lines and panics in the masters' logs that no test expected.
    fn unexpected_errors(&self) -> Vec<String> {
        let is_bad = |line: &str| line.contains(" ERROR ") || line.contains("panicked at");
        let expected = |line: &str| self.expected_errors.iter().any(|text| line.contains(text.as_str()));
        self.masters
            .iter()
            .flat_map(|master| master.all_logs().into_iter().map(|log| (master.name.clone(), log)))
            .flat_map(|(name, log)| {
                log.lines()
                    .filter(|line| is_bad(line) && !expected(line))
                    .map(|line| format!("{name}: {line}"))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.all_logs());
            return;
        }
        let errors = self.unexpected_errors();
        assert!(errors.is_empty(), "unexpected errors in the logs:\n{}", errors.join("\n"));
    }
}
