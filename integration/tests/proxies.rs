//! The load balancers of `deploy/`, as the real programs, in front of two masters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::{Broker, DEADLINE, EventStream, Farm, NativeWorker, Rest, Subscriber, TestCluster, wait_for};
use serde_json::json;
use test_servers::{Proxy, ProxyKind};

struct Scene {
    proxy: Proxy,
    rest: Rest,
    worker: NativeWorker,
    cluster: TestCluster,
}

impl Scene {
    async fn start(kind: ProxyKind) -> Result<Self> {
        Self::start_with(kind, |text| text, Broker::Memory).await
    }

    async fn start_with(kind: ProxyKind, change: fn(String) -> String, broker: Broker) -> Result<Self> {
        let cluster = TestCluster::builder()
            .broker(broker)
            .one_farm()
            .quick_to_notice()
            .start(|_| {
                let hello = "steps.ShellCommand(name='hello', command=['echo', 'hello'])";
                Ok(Farm::new().worker("w").builder("hello", "w", &[hello]).text())
            })
            .await?;
        let replicas = [cluster.masters[0].web_port(), cluster.masters[1].web_port()];
        let proxy = Proxy::start_with(kind, replicas, change)?;
        let rest = Rest::new(&format!("http://127.0.0.1:{}/", proxy.port()))?;
        let address = format!("ws://127.0.0.1:{}/worker", proxy.port());
        let mut worker = NativeWorker::create_at(&cluster.directory().join("w"), &address, "w", "secret")?;
        worker.start()?;
        let scene = Self { proxy, rest, worker, cluster };
        scene.cluster.worker_connected(&scene.rest, "w").await.with_context(|| scene.worker.log())?;
        Ok(scene)
    }

    /// A build is asked for, run and read, all through the balancer.
    async fn builds(&self) -> Result<()> {
        let request =
            wait_for("a force is taken", DEADLINE, async || Ok(self.rest.force("hello", json!({})).await.ok())).await?;
        // A question may meet a replica that has just gone; a POST is not repeated by the balancer, a GET is.
        // On a busy machine even both may be out of service for a moment.
        let mut why = None;
        let builds = wait_for("it is built", DEADLINE, async || {
            Ok(self.rest.builds_of_completed(request).await.map_err(|error| why = Some(error)).ok())
        });
        let builds = builds.await.map_err(|error| error.context(format!("{why:?}\n{}", self.all_logs())))?;
        let last = builds.last().context("a build")?;
        ensure!(last["results"] == json!(0), "{builds:?}");
        let log = self.rest.log(last["buildid"].as_i64().context("an id")?, "hello", "stdio").await?;
        ensure!(log.contains("hello"), "{log}");
        Ok(())
    }

    fn all_logs(&self) -> String {
        format!("{}\n--- proxy\n{}\n--- worker\n{}", self.cluster.all_logs(), self.proxy.log(), self.worker.log())
    }

    /// The handshake of an event stream, which comes although more is to follow, and with it the stream's id.
    async fn stream(&self) -> Result<(String, reqwest::Response)> {
        let url = format!("{}/sse/listen/builds/*/*", self.rest.base());
        let mut answer = reqwest::get(&url).await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        let kind = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        ensure!(kind.starts_with("text/event-stream"), "{kind}");
        let first = tokio::time::timeout(DEADLINE, answer.chunk()).await??.context("a handshake")?;
        let text = String::from_utf8_lossy(&first).into_owned();
        let id = text.lines().find_map(|line| line.strip_prefix("data: ")).context("an id")?.to_owned();
        Ok((id, answer))
    }

    /// Commands for a stream, each over a connection of its own, as from a browser's pool; which of them were refused.
    async fn commands(&self, stream: &str) -> Result<usize> {
        let mut refused = 0;
        for index in 0..8 {
            let client = reqwest::Client::new();
            let url = format!("{}/sse/add/{stream}/builders/{index}/*", self.rest.base());
            refused += usize::from(!client.get(&url).send().await?.status().is_success());
        }
        Ok(refused)
    }

    /// For a while every request is answered.
    async fn answers_all(&self, what: &str) -> Result<()> {
        for round in 0..40 {
            let answer = self.rest.text("api/v2/builders").await;
            answer.with_context(|| format!("{what}: request {round}\n{}", self.all_logs()))?;
        }
        Ok(())
    }
}

async fn carries_everything(kind: ProxyKind) -> Result<()> {
    let mut scene = Scene::start(kind).await?;
    ensure!(scene.rest.text("").await?.contains("<html"), "a page");
    let subscriber = Subscriber::start(&[scene.proxy.port()]);
    wait_for("a WebSocket", DEADLINE, async || Ok((subscriber.connections() > 0).then_some(()))).await?;
    scene.builds().await?;
    let (stream, open) = scene.stream().await?;
    ensure!(scene.commands(&stream).await? == 0, "a client's commands reach the replica that has its stream");
    drop(open);
    let inner = reqwest::get(format!("{}/health/ready", scene.rest.base())).await?.status();
    ensure!(inner.as_u16() == 403, "health checks are not for the world: {inner}");

    // A replica that is killed is taken out, whichever has the worker and the WebSocket.
    let before = subscriber.connections();
    scene.cluster.masters[0].kill()?;
    settled(&scene, "one replica was killed").await?;
    scene.answers_all("one replica was killed").await?;
    scene.builds().await?;
    scene.cluster.masters[0].start()?;
    scene.cluster.masters[0].ready().await?;
    scene.cluster.masters[1].kill()?;
    settled(&scene, "the other was killed").await?;
    scene.answers_all("the other was killed").await?;
    scene.builds().await?;
    wait_for("the WebSocket is back", DEADLINE, async || Ok((subscriber.connections() > before).then_some(()))).await?;
    Ok(())
}

/// Waits until the balancer has noticed: a few requests in a row succeed.
async fn settled(scene: &Scene, what: &str) -> Result<()> {
    let mut row = 0;
    wait_for(&format!("{what}, and the balancer noticed"), DEADLINE, async || {
        row = if scene.rest.text("api/v2/builders").await.is_ok() { row + 1 } else { 0 };
        Ok((row >= 10).then_some(()))
    })
    .await
    .with_context(|| scene.all_logs())
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_carries_pages_sockets_streams_and_workers_and_leaves_out_the_dead() -> Result<()> {
    carries_everything(ProxyKind::Nginx).await
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_carries_pages_sockets_streams_and_workers_and_leaves_out_the_dead() -> Result<()> {
    carries_everything(ProxyKind::HaProxy).await
}

// Pinning is an optimisation: any replica takes commands for a stream that another one has.
#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_served_without_pinning() -> Result<()> {
    let unpinned = |text: String| text.replace("hash $remote_addr consistent;", "");
    let scene = Scene::start_with(ProxyKind::Nginx, unpinned, Broker::Memory).await?;
    // Whichever replica has a stream, the other one gets half of the commands.
    for _ in 0..2 {
        let (stream, _open) = scene.stream().await?;
        ensure!(scene.commands(&stream).await? == 0, "commands for {stream} were refused");
    }
    Ok(())
}

/// Somebody who reads and asks for builds all the time through the balancer; what went wrong.
struct Visitor {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Visits>,
}

#[derive(Debug, Default)]
struct Visits {
    answers: usize,
    failures: Vec<String>,
}

impl Visitor {
    fn start(base: String) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let task = tokio::spawn(visit(base, Arc::clone(&stop)));
        Self { stop, task }
    }

    async fn stop(self) -> Result<Visits> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

async fn visit(base: String, stop: Arc<AtomicBool>) -> Visits {
    let client = reqwest::Client::new();
    let mut visits = Visits::default();
    let force = json!({"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"builderid": 1}});
    while !stop.load(Ordering::Relaxed) {
        // Mostly questions, which a balancer may ask twice; now and then something that must be done once.
        let (what, request) = match visits.answers % 25 {
            24 => ("POST", client.post(format!("{base}/api/v2/forceschedulers/force")).json(&force)),
            _ => ("GET", client.get(format!("{base}/api/v2/builders"))),
        };
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => visits.failures.push(format!("{what} {}: {}", visits.answers, answer.status())),
            Err(error) => visits.failures.push(format!("{what} {}: {error:?}", visits.answers)),
        }
        visits.answers += 1;
        tokio::time::sleep(Duration::from_millis(10)).await; // polls, as a page would
    }
    visits
}

/// How many questions of clients a replica answered.
async fn served(replica: &Rest) -> Result<u64> {
    let metrics = replica.text("metrics").await?;
    let counts = metrics.lines().filter(|line| line.starts_with("buildguild_http_requests_total{route=\"api\""));
    counts.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<f64>()? as u64)).sum()
}

/// Both replicas are drained, one after the other, while somebody works.
async fn drains_unnoticed(kind: ProxyKind) -> Result<()> {
    // With a broker, so that a stream can go on at the other one.
    let mut scene = Scene::start_with(kind, |text| text, Broker::Redis).await?;
    let base = scene.rest.base().to_owned();
    let mut stream = EventStream::start(base.clone());
    stream.until("the stream is open", |seen| seen.connections > 0).await?;
    let visitor = Visitor::start(base);
    for leaving in 0..2 {
        let (name, other) = (format!("m{leaving}"), 1 - leaving);
        let url = scene.cluster.masters[other].url();
        let drained =
            scene.cluster.masters[other].command("cluster")?.args(["drain", &name, "--url", &url]).output()?;
        ensure!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        let master = &mut scene.cluster.masters[leaving];
        wait_for("it has left", DEADLINE, async || Ok(master.has_ended()?.then_some(()))).await?;
        // What it was busy with goes on at the other one.
        scene.cluster.worker_connected(&scene.rest, "w").await?;
        scene.builds().await?;
        scene.cluster.masters[leaving].start()?;
        scene.cluster.masters[leaving].ready().await?;
        let back = scene.cluster.masters[leaving].rest()?;
        wait_for("the balancer uses it again", DEADLINE, async || Ok((served(&back).await? > 0).then_some(()))).await?;
    }
    let visits = visitor.stop().await?;
    ensure!(visits.failures.is_empty() && visits.answers > 100, "{visits:?}\n{}", scene.all_logs());
    let seen = stream.seen();
    ensure!(seen.connections <= 3, "one connection more for each replica that left: {seen:?}");
    ensure!(seen.refused == 0 && seen.resets == 0, "{seen:?}");
    // Nothing was asked for twice, and all of it was done.
    wait_for("all requests are complete", DEADLINE, async || {
        Ok(scene.rest.list("buildrequests?complete=false").await?.is_empty().then_some(()))
    })
    .await?;
    let asked = visits.answers / 25 + 2;
    let done = scene.rest.list("buildrequests?limit=100000&field=buildrequestid").await?.len();
    ensure!(asked.abs_diff(done) <= 1, "asked for {asked}, done {done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_lets_nobody_notice_that_a_replica_is_drained() -> Result<()> {
    drains_unnoticed(ProxyKind::Nginx).await
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_lets_nobody_notice_that_a_replica_is_drained() -> Result<()> {
    drains_unnoticed(ProxyKind::HaProxy).await
}
