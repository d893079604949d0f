//! A master from its start to its end.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use broker_adapters::{EventHub, HubOptions};
use buildguild_config::{Evaluators, LoadedFarm, Settings, StoredVersions};
use buildguild_data::event_streams::EventStreams;
use buildguild_data::forwarder::{self, ForwarderFigures};
use buildguild_data::membership::{self, Membership, Timing};
use buildguild_data::relay::{self, RelayBell};
use buildguild_data::{Data, DataParts, Reader, housekeeping};
use buildguild_db::{Db, Owner, state};
use buildguild_engine::{Engine, EngineParts};
use buildguild_types::farm::FarmConfig;
use buildguild_types::listen;
use buildguild_types::time::SystemClock;
use buildguild_web::{DataBackend, WebOptions, WebParts, WebServer};
use nix::fcntl::Flock;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::{database_options, database_url, lock_sqlite, once_it_answers, open_database};
use super::reload::Reloader;
use super::versions::Versions;
use super::{broker, evaluators, farm_source, load_farm, say};
use crate::basedir::Basedir;

/// How long the parts that publish and listen may take to end, each, and signing off.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Signals that a master obeys.
struct Signals {
    reload: Signal,
    stop: Signal,
    interrupt: Signal,
    clean_stop: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            clean_stop: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for a signal. Cancel safe: yes, signals that were not received stay pending.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.reload.recv() => Asked::Reload,
            _ = self.stop.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.clean_stop.recv() => Asked::CleanStop,
        }
    }

    /// Waits for a signal to stop; others are ignored meanwhile. Cancel safe, as [`Signals::next`].
    async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Reload,
    Stop,
    CleanStop,
}

/// Why the main loop ended.
enum End {
    /// SIGTERM: running builds get the configured time.
    Stop,
    /// SIGUSR1: running builds get all the time they need.
    CleanStop,
    /// A part of the master ended although nobody asked it to.
    Failed(String),
}

/// Runs a master until a signal ends it.
///
/// # Errors
/// Why it could not start, or which part failed.
pub(super) async fn run(basedir: &Basedir, settings: &Settings) -> Result<()> {
    // From the first moment on, so that no signal hits the default action.
    let mut signals = Signals::listen()?;
    let parts = tokio::select! {
        parts = Parts::start(basedir, settings) => parts?,
        () = signals.stop() => return Ok(()),
    };
    parts.serve(basedir, settings, signals).await
}

/// The running parts, in the order in which they were started.
struct Parts {
    db: Db,
    reading: Db,
    tasks: JoinSet<&'static str>,
    /// Ends the publisher, the check-in and the housekeeping: last.
    base: CancellationToken,
    /// Ends the web server and the hub.
    front: CancellationToken,
    membership: Arc<Membership>,
    engine: Engine,
    web: Option<WebServer>,
    reloader: Reloader,
    _sqlite: Option<Flock<std::fs::File>>,
}

impl Parts {
    async fn start(basedir: &Basedir, settings: &Settings) -> Result<Self> {
        let evaluators = evaluators(settings)?;
        let source = farm_source(basedir, settings)?;
        let loaded = Arc::new(load_farm(&evaluators, &source).await?);
        let url = database_url(settings, Some(&loaded));
        let sqlite = lock_sqlite(basedir, &url)?;
        let options = database_options(basedir, settings, url);
        let db = open_database(&options, basedir).await?;
        let versions = Arc::new(Versions::new(db.clone(), settings)?);
        versions.keep(&loaded).await;
        evaluators.look_up_versions_in(Arc::clone(&versions) as Arc<dyn StoredVersions>);
        // People read through connections of their own: a crawler must not keep the engine waiting for one. There is a
        // web thread for each core.
        let mut options = options;
        options.reading_threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let reading = Db::connect(&options).await.context("cannot connect to the database")?;

        let broker::Broker { log, outside, kind } = broker::open(settings, &db)?;
        let base = CancellationToken::new();
        let front = base.child_token();
        let mut tasks = JoinSet::new();
        let (hub, hub_task) = EventHub::start(Arc::clone(&log), HubOptions::default(), base.clone()).await;
        tasks.spawn(async move {
            let _ = hub_task.await;
            "event hub"
        });
        let bell = RelayBell::default();
        let timing = Timing {
            check_in_interval: settings.cluster.check_in_interval,
            expire_after: settings.cluster.expire_after,
        };
        let join = async || {
            let name = &settings.master.name;
            membership::check_broker(&db, name, kind, timing).await?;
            Membership::join(db.clone(), name, timing, bell.clone()).await
        };
        let membership = Arc::new(once_it_answers(join).await?);
        membership.tell_broker(kind);
        membership.tell_version(env!("CARGO_PKG_VERSION"));
        membership.tell_config(&loaded.hash.0);
        let data = Data::new(DataParts {
            db: db.clone(),
            log: Arc::clone(&log),
            clock: Arc::new(SystemClock),
            owner: membership.owner(),
            bell: bell.clone(),
        });
        let metrics = prometheus::Registry::new();
        let forwarded = Arc::<ForwarderFigures>::default();
        broker::Figures::register(&metrics, &hub, &bell, &forwarded, &membership)?;
        let (publisher, stop) = (relay::run(db.clone(), log, membership.owner(), bell, base.clone()), base.clone());
        tasks.spawn(async move {
            publisher.await;
            debug_assert!(stop.is_cancelled(), "the publisher only ends when told to");
            "event publisher"
        });
        if kind != broker_adapters::MEMORY {
            let (watch, stop) = (broker::LogWatch::register(&metrics, &db, &hub)?, base.clone());
            tasks.spawn(async move {
                watch.run(stop).await;
                "watch over the event log"
            });
        }
        if let Some(outside) = outside {
            let (interval, stop) = (settings.cluster.rescan_interval, base.clone());
            let forwarding = forwarder::run(data.clone(), outside, forwarded, interval, stop);
            tasks.spawn(async move {
                forwarding.await;
                "event forwarder"
            });
        }
        let due = Arc::new(Notify::new());
        let (member, expired, stop) = (Arc::clone(&membership), Arc::clone(&due), base.clone());
        tasks.spawn(async move {
            if let Err(error) = member.run(stop, move || expired.notify_one()).await {
                tracing::error!("this master has no place in the cluster any more: {error}");
            }
            "check-in"
        });
        let (keeper, stop, interval) = (data.clone(), base.clone(), settings.cluster.rescan_interval);
        tasks.spawn(async move {
            housekeeping::run(keeper, due, interval, stop).await;
            "housekeeping"
        });

        let (farm, farm_receiver) = watch::channel(Arc::clone(&loaded));
        let engine = start_engine(basedir, settings, &data, &hub, &farm_receiver, &evaluators, &metrics).await?;
        let addresses = web_addresses(settings, &loaded)?;
        let (web_farm, web_farm_receiver) = watch::channel(Arc::new(loaded.farm.clone()));
        let web = if addresses.is_empty() {
            tracing::info!("no web server: neither web.listen nor c['www']['port'] is set");
            None
        } else {
            Some(start_web(WebStart {
                addresses,
                reader: Reader::new(reading.clone(), Some(farm_receiver.clone())),
                engine: &engine,
                hub,
                // People's writes have connections of their own, too; SQLite has but one writer.
                streams: EventStreams::new(
                    if sqlite.is_some() { db.clone() } else { reading.clone() },
                    Arc::clone(data.log()),
                ),
                farm: web_farm_receiver,
                metrics,
                session_key: session_key(&db).await?,
                owner: membership.owner(),
                options: web_options(basedir, settings)?,
                shutdown: front.clone(),
            })?)
        };
        let reloader = Reloader::new(evaluators, source, versions, farm, web_farm);
        Ok(Self { db, reading, tasks, base, front, membership, engine, web, reloader, _sqlite: sqlite })
    }

    /// Obeys signals until one of them, or the failure of a part, ends the master; then ends it in order.
    async fn serve(mut self, basedir: &Basedir, settings: &Settings, mut signals: Signals) -> Result<()> {
        let mut sequence = 1;
        let hash = self.reloader.current();
        tokio::select! {
            () = self.engine.in_force(&hash) => {}
            () = signals.stop() => return self.end(settings, End::Stop, signals).await,
        }
        say(basedir, sequence, None);
        tracing::info!("Buildguild {} is running as {}", env!("CARGO_PKG_VERSION"), settings.master.name);
        let end = loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Reload => {
                        sequence += 1;
                        let problem = self.reloader.reload(&self.engine).await.err().map(|error| format!("{error:#}"));
                        match &problem {
                            None => {
                                self.membership.tell_config(&self.reloader.current().0);
                                tracing::info!("the new configuration is in force");
                            }
                            Some(problem) => tracing::warn!("the configuration before stays in force: {problem}"),
                        }
                        say(basedir, sequence, problem);
                    }
                    Asked::Stop => break End::Stop,
                    Asked::CleanStop => break End::CleanStop,
                },
                () = self.engine.drain_asked() => break End::Stop,
                failed = self.engine.failed() => break End::Failed(format!("the engine's {failed}")),
                ended = self.tasks.join_next() => {
                    let name = match ended {
                        Some(Ok(name)) => name.to_owned(),
                        Some(Err(error)) => error.to_string(),
                        None => "everything".to_owned(),
                    };
                    break End::Failed(name);
                }
            }
        };
        self.end(settings, end, signals).await
    }

    /// Ends all parts: first what starts work, then what serves, then what tells of it.
    async fn end(mut self, settings: &Settings, end: End, mut signals: Signals) -> Result<()> {
        let drain = match &end {
            End::Stop => settings.drain_timeout,
            End::CleanStop => Duration::MAX,
            End::Failed(_) => Duration::ZERO,
        };
        tracing::info!("stopping");
        let control = self.engine.control();
        let tell = async {
            if self.engine.running_builds() > 0 && drain > Duration::ZERO {
                control.tell_leaving("its process was asked to end").await;
            }
            std::future::pending::<()>().await;
        };
        let mut owner = self.membership.owner();
        // What it gives is a lock.
        let fenced = async { drop(owner.wait_for(Option::is_none).await) };
        tokio::select! {
            () = self.engine.drain(drain) => {}
            () = tell => {}
            // The others do its builds again, so there is nothing to wait for.
            () = fenced => {
                tracing::info!("this master may not write any more: stopping at once");
                self.engine.drain(Duration::ZERO).await;
            }
            () = signals.stop() => {
                tracing::info!("stopping at once");
                self.engine.drain(Duration::ZERO).await;
            }
        }
        self.front.cancel();
        if let Some(web) = self.web.take()
            && tokio::time::timeout(END_TIMEOUT, web.stopped()).await.is_err()
        {
            tracing::warn!("the web server took too long to stop");
        }
        match tokio::time::timeout(END_TIMEOUT, self.membership.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot sign off; the others will notice"),
            Err(_) => tracing::warn!("the database is away, so this master cannot sign off; the others will notice"),
        }
        self.base.cancel();
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_TIMEOUT, rest).await.is_err() {
            tracing::warn!("some services took too long to stop");
        }
        let close = async {
            self.reading.close().await;
            self.db.close().await;
        };
        if tokio::time::timeout(END_TIMEOUT, close).await.is_err() {
            tracing::warn!("the connections to the database took too long to close");
        }
        match end {
            End::Stop | End::CleanStop => Ok(()),
            End::Failed(what) => bail!("{what} ended unexpectedly"),
        }
    }
}

async fn start_engine(
    basedir: &Basedir,
    settings: &Settings,
    data: &Data,
    hub: &EventHub,
    farm: &watch::Receiver<Arc<LoadedFarm>>,
    evaluators: &Evaluators,
    metrics: &prometheus::Registry,
) -> Result<Engine> {
    let worker_listener = match worker_address(settings, &farm.borrow().farm)? {
        Some(address) => {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("cannot listen for workers on {address}"))?;
            tracing::info!("workers may connect to {address}");
            Some(listener)
        }
        None => None,
    };
    Ok(Engine::start(EngineParts {
        data: data.clone(),
        hub: hub.clone(),
        farm: farm.clone(),
        evaluators: evaluators.clone(),
        worker_listener,
        basedir: basedir.path().to_path_buf(),
        rescan_interval: settings.cluster.rescan_interval,
        hooks: data.db().hooks().clone(),
        metrics: metrics.clone(),
    })?)
}

fn worker_address(settings: &Settings, farm: &FarmConfig) -> Result<Option<SocketAddr>> {
    if let Some(text) = &settings.worker_listen {
        let addresses = listen::from_setting(text).with_context(|| format!("worker.listen = {text:?}"))?;
        return Ok(addresses.first().copied());
    }
    let protocol = "msgpack_experimental_v7";
    if farm.protocols.contains_key("pb") {
        tracing::warn!("c['protocols']['pb'] is not served: workers connect with --protocol={protocol}");
    }
    match farm.protocols.get(protocol) {
        Some(port) => {
            let address = listen::from_farm(port).with_context(|| format!("c['protocols']['{protocol}']['port']"))?;
            Ok(Some(address))
        }
        None => Ok(None),
    }
}

fn web_addresses(settings: &Settings, loaded: &LoadedFarm) -> Result<Vec<SocketAddr>> {
    match (&settings.web_listen, &loaded.farm.www.port) {
        (Some(text), _) => listen::from_setting(text).with_context(|| format!("web.listen = {text:?}")),
        (None, Some(port)) => Ok(vec![listen::from_farm(port).context("c['www']['port']")?]),
        (None, None) => Ok(Vec::new()),
    }
}

/// What the web server is started with.
struct WebStart<'a> {
    addresses: Vec<SocketAddr>,
    reader: Reader,
    engine: &'a Engine,
    hub: EventHub,
    streams: EventStreams,
    farm: watch::Receiver<Arc<FarmConfig>>,
    metrics: prometheus::Registry,
    session_key: Vec<u8>,
    options: WebOptions,
    shutdown: CancellationToken,
    /// Who this process is to the database.
    owner: watch::Receiver<Option<Owner>>,
}

/// The user interface that the settings name. A wrong directory is found at start, not by the first visitor.
fn static_dir(basedir: &Basedir, settings: &Settings) -> Result<Option<PathBuf>> {
    let Some(directory) = &settings.web_static_dir else { return Ok(None) };
    let directory = basedir.path().join(directory);
    ensure!(
        directory.join("index.html").is_file(),
        "the setting web.static_dir names {}, where there is no index.html",
        directory.display()
    );
    Ok(Some(directory))
}

fn web_options(basedir: &Basedir, settings: &Settings) -> Result<WebOptions> {
    let mut options = WebOptions::default();
    options.max_body_bytes = settings.web.max_request_bytes;
    options.max_connections_per_address = settings.web.max_connections_per_address;
    options.requests_per_second = settings.web.requests_per_second;
    options.static_dir = static_dir(basedir, settings)?;
    for text in &settings.web.trusted_proxies {
        let range = text.parse().with_context(|| format!("web.trusted_proxies: {text:?}"))?;
        options.trusted_proxies.push(range);
    }
    Ok(options)
}

fn start_web(start: WebStart<'_>) -> Result<WebServer> {
    let web = WebServer::start(WebParts {
        listen: start.addresses,
        backend: Arc::new(DataBackend::new(start.reader, super::control::calls(start.engine.control(), start.owner))),
        hub: start.hub,
        streams: start.streams,
        farm: start.farm,
        workers: Some(start.engine.acceptor()),
        metrics: start.metrics,
        session_key: start.session_key,
        options: start.options,
        shutdown: start.shutdown,
    })
    .context("cannot start the web server")?;
    for address in web.addresses() {
        tracing::info!("the page and REST are on http://{address}/");
    }
    Ok(web)
}

/// The key that signs session cookies: made once, the same for all masters.
async fn session_key(db: &Db) -> Result<Vec<u8>> {
    let proposal = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|part| part.simple().to_string()).concat();
    let key = db
        .write(|tx| {
            let proposal = proposal.clone();
            async move {
                let object = state::object_id(&tx, "www", "buildguild.web").await?;
                state::atomic_create(&tx, object, "session_secret", &proposal.into()).await
            }
        })
        .await
        .context("cannot read the key of the sessions")?;
    match key.as_str() {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => bail!("the database's session secret is no text"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workers_are_served_where_the_farm_config_says() {
        let settings = Settings::load(std::path::Path::new("/m"), None, []).unwrap();
        let mut farm = FarmConfig::default();
        assert_eq!(worker_address(&settings, &farm).unwrap(), None);
        for (port, expected) in
            [(json!(9989), "0.0.0.0:9989"), (json!("tcp:9989:interface=127.0.0.1"), "127.0.0.1:9989")]
        {
            farm.protocols.insert("msgpack_experimental_v7".to_owned(), port);
            assert_eq!(worker_address(&settings, &farm).unwrap().map(|a| a.to_string()).as_deref(), Some(expected));
        }
    }
}
