//! Whatever moment a master dies or pauses in: the build is done, once, completely, and everybody hears of it.
//!
//! The moments are found, not listed by hand: one build is run calmly while the masters write down each commit and
//! publish that they pass; then, for each of these points, a build is run during which whichever master passes it is
//! killed (or stopped for longer than the expiry and continued).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Database, HookPoints, NativeWorker, Rest, Strike, Subscriber, TestCluster, wait_for};
use serde_json::{Value, json};

/// What the build prints; the log of a finished build is exactly this.
const OUTPUT: &str = "one\ntwo\nthree\n";

const FARM: &str = r#"
from buildbot.plugins import *
c = BuildmasterConfig = {}
c['collapseRequests'] = False
c['protocols'] = {'msgpack_experimental_v7': {'port': 9989}}
c['www'] = dict(port=8010)
c['change_source'] = []
c['workers'] = [worker.Worker("w0", "secret"), worker.Worker("w1", "secret")]
c['builders'] = [util.BuilderConfig(name="b", workernames=["w0", "w1"], factory=util.BuildFactory([
    steps.ShellCommand(name="print", command="echo one; echo two; echo three"),
    steps.SetPropertyFromCommand(name="answer", command=["echo", "42"], property="answer"),
]))]
c['schedulers'] = [schedulers.ForceScheduler(name='force', builderNames=["b"])]
"#;

/// What is passed again and again, whether anybody builds or not.
const BACKGROUND: [&str; 2] = ["Membership::check_in", "housekeeping"];

/// Transitions that wait for the next commit.
const IN_MEMORY: [&str; 2] = ["build.prepared", "step.finished"];

/// How long after the end of a build what belongs to it may still come. It takes half a second on an idle machine.
const LATE: Duration = Duration::from_secs(10);

/// Each sweep is a load of its own, and all of them measure time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Scene {
    _turn: tokio::sync::MutexGuard<'static, ()>,
    hooks: HookPoints,
    subscribers: Vec<Subscriber>,
    _workers: Vec<NativeWorker>,
    _place: tempfile::TempDir,
    // Last: whoever fails sees the logs of a cluster that still has its workers.
    cluster: TestCluster,
}

impl Scene {
    async fn start(database: Database, masters: usize) -> Result<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let place = tempfile::tempdir()?;
        let hooks = HookPoints::create(place.path())?;
        let mut cluster = TestCluster::builder()
            .masters(masters)
            .database(database)
            .setting("CLUSTER__CHECK_IN_INTERVAL", "300ms")
            // A single master has nobody who would wait for its death.
            .setting("CLUSTER__EXPIRE_AFTER", if masters > 1 { "3s" } else { "20s" })
            .setting("CLUSTER__RESCAN_INTERVAL", "500ms")
            .environment(HookPoints::VARIABLE, &hooks.directory().display().to_string())
            .start(|_| Ok(FARM.to_owned()))
            .await?;
        let rest = cluster.rest()?;
        let ports: Vec<(u16, u16)> = cluster.masters.iter().map(|m| (m.web_port(), m.worker_port())).collect();
        let mut workers = Vec::new();
        for (index, (_, port)) in ports.iter().enumerate() {
            let name = format!("w{index}");
            workers.push(cluster.add_native_worker(*port, &name, "secret")?);
            cluster.worker_connected(&rest, &name).await?;
        }
        // Each master hears only itself here, so each has a subscriber.
        let subscribers: Vec<Subscriber> = ports.iter().map(|(port, _)| Subscriber::start(&[*port])).collect();
        wait_for("all subscribers listen", DEADLINE, async || {
            Ok(subscribers.iter().all(|subscriber| subscriber.connections() > 0).then_some(()))
        })
        .await?;
        Ok(Self { _turn: turn, _place: place, hooks, subscribers, _workers: workers, cluster })
    }

    /// Asks for a build under a reason of its own, at any master that answers. A master that dies over the answer may
    /// or may not have kept the request: then the next one is asked, too, as a client would.
    async fn force(&self, reason: &str) -> Result<()> {
        wait_for(&format!("a master takes {reason}"), DEADLINE, async || {
            for master in &self.cluster.masters {
                let rest = master.rest()?.within(Duration::from_secs(1))?;
                if rest.force("b", json!({"reason": reason})).await.is_ok() {
                    return Ok(Some(()));
                }
            }
            // Nobody is left who could be asked.
            Ok(self.hooks.has_struck()?.then_some(()))
        })
        .await
    }

    /// Asks again if nobody kept what was asked for.
    async fn force_if_lost(&self, reason: &str) -> Result<()> {
        let rest = self.rest().await?;
        if self.buildsets(&rest, reason).await?.is_empty() { self.force(reason).await } else { Ok(()) }
    }

    /// A client of a master that answers.
    async fn rest(&self) -> Result<Rest> {
        wait_for("a master answers", DEADLINE, async || {
            for master in &self.cluster.masters {
                // One that is paused does not answer; the next one does.
                if master.rest()?.within(Duration::from_millis(500))?.text("health/ready").await.is_ok() {
                    return Ok(Some(master.rest()?.within(Duration::from_secs(30))?));
                }
            }
            Ok(None)
        })
        .await
    }

    /// The buildsets that were added under a reason.
    async fn buildsets(&self, rest: &Rest, reason: &str) -> Result<Vec<Value>> {
        let sets = rest.list(&format!("buildsets?reason__contains={reason}")).await?;
        Ok(sets.into_iter().filter(|set| set["reason"].as_str().is_some_and(|r| r.ends_with(reason))).collect())
    }

    /// Waits until all that was asked for under a reason is complete; gives the requests.
    async fn completed(&self, reason: &str) -> Result<Vec<Value>> {
        let outcome = wait_for(&format!("{reason} is complete"), DEADLINE, async || {
            // A master may be paused over any of these.
            let Ok(rest) = self.rest().await.and_then(|rest| rest.within(Duration::from_secs(5))) else {
                return Ok(None);
            };
            // A master may die over any of these.
            let Ok(sets) = self.buildsets(&rest, reason).await else { return Ok(None) };
            if sets.is_empty() || sets.iter().any(|set| set["complete"] != json!(true)) {
                return Ok(None);
            }
            let mut requests = Vec::new();
            for set in sets {
                let Ok(of_set) = rest.list(&format!("buildrequests?buildsetid={}", set["bsid"])).await else {
                    return Ok(None);
                };
                requests.extend(of_set);
            }
            Ok(Some(requests))
        })
        .await;
        outcome.map_err(|error| error.context(self.cluster.all_logs()))
    }

    /// What must be true of everything that was asked for, whoever died.
    async fn check(&self, reason: &str) -> Result<()> {
        let requests = self.completed(reason).await?;
        let rest = self.rest().await?;
        for request in &requests {
            ensure!(request["complete"] == json!(true) && request["results"] == json!(0), "{reason}: {request}");
            let id = &request["buildrequestid"];
            let builds = rest.list(&format!("buildrequests/{id}/builds?order=buildid")).await?;
            let results: Vec<&Value> = builds.iter().map(|build| &build["results"]).collect();
            let (last, before) = results.split_last().context("a build")?;
            ensure!(**last == json!(0), "{reason}: the last build counts: {results:?}");
            ensure!(before.iter().all(|r| **r == json!(5)), "{reason}: the others were to be retried: {results:?}");
            for build in &builds {
                self.check_build(&rest, reason, build).await?;
            }
        }
        Ok(())
    }

    /// A build has ended with all its parts; a successful one has its whole log.
    async fn check_build(&self, rest: &Rest, reason: &str, build: &Value) -> Result<()> {
        let id = &build["buildid"];
        ensure!(build["complete"] == json!(true), "{reason}: a zombie: {build}");
        for step in rest.list(&format!("builds/{id}/steps")).await? {
            ensure!(step["complete"] == json!(true), "{reason}: a step without an end: {step}");
            for log in rest.list(&format!("steps/{}/logs", step["stepid"])).await? {
                ensure!(log["complete"] == json!(true), "{reason}: a log without an end: {log}");
            }
        }
        if build["results"] == json!(0) {
            let text = rest.log(id.as_i64().unwrap_or_default(), "print", "stdio").await?;
            let printed: String =
                text.lines().filter(|line| OUTPUT.lines().any(|o| o == *line)).flat_map(|l| [l, "\n"]).collect();
            ensure!(printed == OUTPUT, "{reason}: the log of build {id}: {text}");
        }
        Ok(())
    }

    /// Every event of what was asked for under a reason was heard by somebody outside.
    async fn check_heard(&self, reason: &str) -> Result<()> {
        let rest = self.rest().await?;
        let mut keys = Vec::new();
        for set in self.buildsets(&rest, reason).await? {
            let id = &set["bsid"];
            keys.extend(["new", "complete"].map(|what| format!("buildsets/{id}/{what}")));
            for request in rest.list(&format!("buildrequests?buildsetid={id}")).await? {
                let id = &request["buildrequestid"];
                keys.extend(["new", "claimed", "complete"].map(|what| format!("buildrequests/{id}/{what}")));
                for build in rest.list(&format!("buildrequests/{id}/builds")).await? {
                    let id = &build["buildid"];
                    keys.extend(["new", "finished"].map(|what| format!("builds/{id}/{what}")));
                    let steps = rest.list(&format!("builds/{id}/steps")).await?;
                    keys.extend(steps.iter().map(|step| format!("steps/{}/finished", step["stepid"])));
                }
            }
        }
        ensure!(keys.len() > 8, "{reason}: {keys:?}");
        let missing = || -> Vec<&String> {
            keys.iter().filter(|key| self.subscribers.iter().all(|s| s.count(key) == 0)).collect()
        };
        wait_for("all events are heard", DEADLINE, async || Ok(missing().is_empty().then_some(())))
            .await
            .with_context(|| format!("{reason}: never heard: {:?}", missing()))
    }

    /// The points that a build passes, each with the number of times.
    async fn points(&self) -> Result<Vec<(String, usize)>> {
        // Once for the caches, so that the list holds what every build does.
        self.force("calm-0").await?;
        self.check("calm-0").await?;
        self.hooks.start_list()?;
        self.force("calm-1").await?;
        self.check("calm-1").await?;
        // What was published is removed a moment later.
        let points = wait_for("a build's life is listed", DEADLINE, async || {
            let points = self.hooks.listed()?;
            let all = ["Recorder::start_build:after", "relay::publish:after", "remove_published:after"];
            Ok(all.iter().all(|wanted| points.keys().any(|point| point.contains(wanted))).then_some(points))
        })
        .await
        .with_context(|| format!("{:?}", self.hooks.listed()))?;
        self.hooks.end_list()?;
        Ok(points.into_iter().collect())
    }

    /// Waits until a master was struck; gives its index. Nothing if the work went on without passing the point.
    async fn struck(&self, reason: &str) -> Result<Option<usize>> {
        let hit = wait_for("a master is struck", DEADLINE, async || self.hooks.struck());
        tokio::pin!(hit);
        let pid = tokio::select! {
            pid = &mut hit => Some(pid?),
            done = self.completed(reason) => {
                done?;
                match tokio::time::timeout(LATE, hit).await {
                    Ok(pid) => Some(pid?),
                    Err(_) => {
                        self.hooks.disarm();
                        self.hooks.struck()?
                    }
                }
            }
        };
        Ok(pid.and_then(|pid| self.cluster.masters.iter().position(|master| master.pid() == Some(pid))))
    }

    /// Waits until the process of the killed is gone, and starts it; waits for its subscriber, too, who is to hear what comes
    /// next.
    async fn start_again(&mut self, index: usize) -> Result<()> {
        let master = &mut self.cluster.masters[index];
        wait_for("the killed master is gone", DEADLINE, async || Ok(master.has_ended()?.then_some(()))).await?;
        let before = self.subscribers[index].connections();
        master.start()?;
        let is_back = async || Ok((self.subscribers[index].connections() > before).then_some(()));
        wait_for("its subscriber is back", DEADLINE, is_back).await
    }

    async fn all_ready(&mut self) -> Result<()> {
        for master in &mut self.cluster.masters {
            master.ready().await?;
        }
        Ok(())
    }
}

/// The moments to strike at: a point that is passed several times in one build is several moments.
fn moments(points: &[(String, usize)]) -> Vec<(String, usize)> {
    let repeats = |point: &str| match point {
        point if BACKGROUND.iter().any(|name| point.contains(name)) => 1,
        // How what a build tells is cut into batches depends on the load.
        point if point.contains("relay::") => 2,
        _ => 4,
    };
    points
        .iter()
        // The others are just before or after a commit, which has its own.
        .filter(|(point, _)| point.contains(':') || IN_MEMORY.contains(&point.as_str()))
        .flat_map(|(point, count)| (1..=(*count).min(repeats(point))).map(move |nth| (point.clone(), nth)))
        .collect()
}

/// Kills at each moment; how many of the moments came.
async fn kill_at_each(scene: &mut Scene, moments: &[(String, usize)]) -> Result<usize> {
    let mut struck = 0;
    for (index, (point, nth)) in moments.iter().enumerate() {
        let started = Instant::now();
        let reason = format!("kill-{index}");
        scene.hooks.arm(point, *nth, Strike::Kill)?;
        scene.force(&reason).await.with_context(|| format!("{point} {nth}"))?;
        if let Some(master) = scene.struck(&reason).await? {
            struck += 1;
            // Every other time the rest of the cluster has to do it alone, if there is one.
            if scene.cluster.masters.len() == 1 || index % 2 == 0 {
                scene.start_again(master).await?;
            } else {
                let moment = || format!("killed at {point}, time {nth}, and not started again");
                scene.completed(&reason).await.with_context(moment)?;
                // The survivor publishes what the dead one could not, and its subscriber is there all the time. (One that
                // is started again publishes before anybody has subscribed again: they are told of a reset then.)
                check_outbox(scene).await.with_context(moment)?;
                scene.check_heard(&reason).await.with_context(moment)?;
                scene.start_again(master).await?;
            }
        }
        scene.all_ready().await?;
        scene.force_if_lost(&reason).await?;
        scene.check(&reason).await.with_context(|| format!("killed at {point}, time {nth}"))?;
        eprintln!("{point} {nth}: {:?}", started.elapsed());
    }
    Ok(struck)
}

/// Nothing is left over when all is done.
async fn check_left_over(scene: &Scene) -> Result<()> {
    let rest = scene.rest().await?;
    // What a client gave up waiting for may have been taken all the same, and be done last.
    wait_for("no requests that nobody does, and no zombies", DEADLINE, async || {
        let requests = rest.list("buildrequests?complete=false").await?;
        let builds = rest.list("builds?complete=false").await?;
        Ok((requests.is_empty() && builds.is_empty()).then_some(()))
    })
    .await
}

/// In PostgreSQL everything can be looked at from outside.
async fn check_outbox(scene: &Scene) -> Result<()> {
    wait_for("the outbox is empty", DEADLINE, async || {
        Ok((scene.cluster.database.sql("SELECT count(*) FROM outbox")?.trim() == "0").then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_two_is_killed_at_every_commit_and_publish_of_a_build() -> Result<()> {
    let mut scene = Scene::start(Database::Postgres, 2).await?;
    let moments = moments(&scene.points().await?);
    let struck = kill_at_each(&mut scene, &moments).await?;
    eprintln!("{struck} of {} moments came", moments.len());
    ensure!(struck * 10 >= moments.len() * 9, "{struck} of {} moments came", moments.len());
    check_left_over(&scene).await?;
    check_outbox(&scene).await
}

// One master: on SQLite there can be no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_master_is_killed_at_every_commit_and_publish_of_a_build() -> Result<()> {
    let mut scene = Scene::start(Database::Sqlite, 1).await?;
    let moments = moments(&scene.points().await?);
    let struck = kill_at_each(&mut scene, &moments).await?;
    eprintln!("{struck} of {} moments came", moments.len());
    ensure!(struck * 10 >= moments.len() * 9, "{struck} of {} moments came", moments.len());
    check_left_over(&scene).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_two_is_paused_beyond_its_expiry_at_commits_and_publishes_of_a_build() -> Result<()> {
    let mut scene = Scene::start(Database::Postgres, 2).await?;
    // A pause right after a commit or publish is a pause right before the next one; the moment of interest is when the
    // process wakes up in the middle of a transaction of which others know nothing.
    let points = scene.points().await?;
    let moments: Vec<_> = points.into_iter().filter(|(point, _)| point.ends_with(":before")).collect();
    let mut struck = 0;
    for (index, (point, _)) in moments.iter().enumerate() {
        let reason = format!("pause-{index}");
        scene.hooks.arm(point, 1, Strike::Stop)?;
        scene.force(&reason).await.with_context(|| point.clone())?;
        let Some(master) = scene.struck(&reason).await? else { continue };
        struck += 1;
        scene.completed(&reason).await.with_context(|| format!("paused at {point}"))?;
        let name = scene.cluster.masters[master].name.clone();
        let rest = scene.rest().await?;
        let active = async || -> Result<bool> {
            let masters = rest.list("masters").await?;
            Ok(masters.iter().any(|m| m["name"] == json!(name) && m["active"] == json!(true)))
        };
        wait_for("it is declared dead", DEADLINE, async || Ok((!active().await?).then_some(()))).await?;
        check_outbox(&scene).await.with_context(|| format!("paused at {point}"))?;
        scene.check_heard(&reason).await.with_context(|| format!("paused at {point}"))?;
        scene.cluster.masters[master].signal("CONT")?;
        wait_for("it is back", DEADLINE, async || Ok(active().await?.then_some(()))).await?;
        scene.all_ready().await?;
        scene.check(&reason).await.with_context(|| format!("paused at {point}"))?;
    }
    ensure!(struck * 10 >= moments.len() * 8, "{struck} of {} moments came", moments.len());
    check_left_over(&scene).await?;
    check_outbox(&scene).await
}
