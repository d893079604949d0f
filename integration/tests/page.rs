//! Web pages in a browser: our own as embedded in the binary, and Buildbot's, which any client's author could have written.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Database, Farm, Repository, TestCluster, stock_page, wait_for};

/// Whether pages are tested; `cargo xtask test --no-page` leaves them out.
fn is_wanted() -> bool {
    std::env::var("BUILDGUILD_TEST_PAGE").map_or(true, |value| value != "0")
}

/// Runs a script of `www/package.json` against the first master.
async fn npm(cluster: &TestCluster, script: &str, environment: &[(&str, &Path)]) -> Result<()> {
    // Read at run time, so that a test program that was built in another checkout tests this one's page.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).context("not run by cargo")?;
    let mut command = Command::new("npm");
    command
        .args(["run", "--silent", script])
        .current_dir(manifest.parent().context("the workspace")?.join("www"))
        .env("BUILDGUILD_URL", cluster.masters[0].url())
        .env("BUILDGUILD_BUILDER", "hello")
        .env("NO_COLOR", "1")
        .envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("npm")?;
    ensure!(
        output.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        cluster.all_logs()
    );
    Ok(())
}

/// The page's own end-to-end tests: force a build, watch it live, read its log; accessibility of every page.
///
/// One master: a page is connected to one replica, and the memory broker tells it of that one only.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_forced_and_watched_in_a_browser() -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let outside = tempfile::tempdir()?;
    let gate = outside.path().join("go-on");
    let gated = format!("echo one; while [ ! -e \"{}\" ]; do sleep 0.05; done; echo two", gate.display());
    let farm = Farm::new()
        .worker_declared("worker.LocalWorker('local')")
        .builder(
            "hello",
            "local",
            &["steps.ShellCommand(name='greet', command=['sh', '-c', 'for i in 1 2 3 4 5; do echo hello $i; sleep 0.2; done'])"],
        )
        .builder("gated", "local", &[&format!("steps.ShellCommand(name='wait', command=['sh', '-c', '{gated}'])")]);
    let cluster = TestCluster::builder().masters(1).start(|_| Ok(farm.text())).await?;
    npm(&cluster, "e2e", &[("BUILDGUILD_GATE", &gate)]).await
}

/// Logging in and out, what is said to who may not do something, and to who is not logged in any more.
// One master: a session is good on every replica, which tests of the API show.
#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_and_learn_what_they_may_not_do() -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let farm = Farm::new().worker("w").builder("hello", "w", &["steps.ShellCommand(command='true')"]).extra(
        "c['www'] = dict(port=8010,\n    \
             auth=util.UserPasswordAuth({'ann@example.org': 'secret', 'bob@example.org': 'secret'}),\n    \
             authz=util.Authz(allowRules=[util.AnyControlEndpointMatcher(role='admins')],\n        \
             roleMatchers=[util.RolesFromEmails(admins=['ann@example.org'])]))\n\
             c['buildbotURL'] = 'http://' + env('BUILDGUILD__WEB__LISTEN') + '/'",
    );
    let cluster = TestCluster::builder().masters(1).start(|_| Ok(farm.text())).await?;
    npm(&cluster, "e2e:login", &[]).await
}

/// Masters whose farm configs differ are marked on the page, and one of them is drained from there.
///
/// The masters of a test have different worker ports in their `master.cfg`: that is a difference.
#[tokio::test(flavor = "multi_thread")]
async fn masters_that_differ_are_marked_and_one_is_drained_from_the_page() -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let farm = Farm::new().worker("w").builder("b", "w", &["steps.ShellCommand(command='true')"]);
    let cluster = TestCluster::builder()
        .masters(2)
        .setting("CLUSTER__CHECK_IN_INTERVAL", "500ms")
        .setting("CLUSTER__RESCAN_INTERVAL", "1s")
        .start(|_| Ok(farm.text()))
        .await?;
    npm(&cluster, "e2e:cluster", &[]).await
}

/// The resource types that the page is written with are generated from the OpenAPI document of this very binary.
// One master: all serve the same document.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_types_are_those_of_the_served_document() -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let farm = Farm::new().worker("w").builder("b", "w", &["steps.ShellCommand(command='true')"]);
    let cluster = TestCluster::builder().masters(1).database(Database::Sqlite).start(|_| Ok(farm.text())).await?;
    npm(&cluster, "api:check", &[]).await
}

/// What the stock interface is shown: builders in every state, a project, a change that was built, two kinds of
/// schedulers, a worker that never comes.
const FARM: &str = r#"
from buildbot.plugins import *
c = BuildmasterConfig = {}
c['title'] = 'Compatibility'
c['buildbotURL'] = 'http://' + env('BUILDGUILD__WEB__LISTEN') + '/'
c['collapseRequests'] = False
c['protocols'] = {'msgpack_experimental_v7': {'port': 9989}}
c['www'] = dict(port=8010, plugins=dict(waterfall_view={}, console_view={}, grid_view={}))
c['workers'] = [worker.LocalWorker('local'), worker.Worker('absent', 'secret')]
c['projects'] = [util.Project(name='compat', slug='compat', description='A project')]

def builder(name, script, **kwargs):
    step = steps.ShellCommand(name='greet', command=['sh', '-c', script], env={'GREETING': util.Property('greeting')}, logEnviron=False)
    return util.BuilderConfig(name=name, factory=util.BuildFactory([step]), **kwargs)

c['builders'] = [
    # A forced build stops half-way, until the test has seen its log grow.
    builder('hello', '''for i in 1 2 3 4 5 6; do
        echo $GREETING $i
        while [ -n "$GREETING" ] && [ $i = 3 ] && [ ! -e '@GATE@' ]; do sleep 0.05; done
    done''', workernames=['local'], tags=['quick'], project='compat', description='says hello'),
    builder('slow', 'sleep 300', workernames=['local'], tags=['slow']),
    builder('fails', 'echo broken; exit 1', workernames=['local']),
    builder('waits', 'true', workernames=['absent']),
]
c['change_source'] = [changes.GitPoller(repourl='@REPOSITORY@', branches=['main'], pollInterval=1, pollAtLaunch=True)]
c['schedulers'] = [
    schedulers.SingleBranchScheduler(name='on-commit', change_filter=util.ChangeFilter(branch='main'),
        builderNames=['hello', 'fails'], treeStableTimer=None),
    schedulers.ForceScheduler(name='force', builderNames=['hello', 'slow', 'fails', 'waits'], properties=[
        util.StringParameter(name='greeting', label='Greeting', default='hello'),
        util.BooleanParameter(name='loud', label='Loud', default=False),
        util.ChoiceStringParameter(name='colour', label='Colour', choices=['red', 'green'], default='red'),
        util.IntParameter(name='count', label='Count', default=3),
    ]),
]
"#;

/// Buildbot 4.3's web interface with its waterfall, console and grid, served by Buildguild.
#[tokio::test(flavor = "multi_thread")]
async fn buildbots_own_interface_works() -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let interface = tempfile::tempdir()?;
    stock_page(interface.path())?;
    let gate = interface.path().join("go-on");
    let mut made = None;
    let cluster = TestCluster::builder()
        .masters(1)
        .setting("WEB__STATIC_DIR", &interface.path().display().to_string())
        .start(|directory| {
            let repository = made.insert(Repository::create(directory, "source")?);
            Ok(FARM.replace("@REPOSITORY@", &repository.url()).replace("@GATE@", &gate.display().to_string()))
        })
        .await?;
    let repository = made.context("made above")?;
    let rest = cluster.rest()?;
    repository.git(&["config", "user.name", "Ann Author"])?;
    // The first look only notes where the branch is: a commit after it is a change.
    wait_for("the first poll", DEADLINE, async || Ok(cluster.masters[0].log().contains("first poll").then_some(())))
        .await?;
    repository.commit_all("A change to look at")?;
    wait_for("its builds are finished", DEADLINE, async || {
        let builds = rest.list("builds?complete=true&builderid__eq=1&builderid__eq=3").await?;
        Ok((builds.len() >= 2).then_some(()))
    })
    .await?;
    npm(&cluster, "e2e:stock", &[("BUILDGUILD_GATE", &gate)]).await
}
