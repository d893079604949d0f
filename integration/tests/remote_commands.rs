//! `buildguild force`, `wait` and `log`, against our masters and against a real Buildbot: the commands use the public
//! API only.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use integration::{Farm, StockMaster, TestCluster, buildguild};
use test_servers::free_port;

/// Exit code of a command that had trouble itself.
const TROUBLE: i32 = 3;

fn farm() -> Farm {
    Farm::new()
        .worker_declared("worker.LocalWorker('local')")
        .builder(
            "good",
            "local",
            &[
                "steps.ShellCommand(name='greet', command=['sh', '-c', 'echo hello; echo oops >&2'])",
                "steps.ShellCommand(name='two words', command=['echo', 'named with a space'])",
            ],
        )
        .builder("bad", "local", &["steps.ShellCommand(name='fail', command=['sh', '-c', 'exit 7'])"])
        .builder(
            "slow",
            "local",
            &["steps.ShellCommand(name='count', command=['sh', '-c', \
               'i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; sleep 0.1; done'])"],
        )
}

/// The commands, as typed against one master.
struct Typed {
    url: String,
}

impl Typed {
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command: Command = buildguild()?;
        Ok(command.args(arguments).env("BUILDGUILD_URL", &self.url).output()?)
    }

    /// Runs a command that must exit with `code`; answers what it printed.
    fn exits(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{arguments:?}: {:?}\n{text}\n{errors}", output.status);
        Ok(if code == TROUBLE { errors.into_owned() } else { text })
    }
}

fn everything_works(url: String) -> Result<()> {
    let typed = Typed { url };

    let lines = typed.exits(0, &["force", "good", "--reason", "a test", "--wait"])?;
    for expected in ["request ", "good #1", "greet: success", "two words: success", "#1: success"] {
        ensure!(lines.contains(expected), "{expected:?} in:\n{lines}");
    }
    ensure!(!lines.contains('\u{1b}'), "plain lines in a pipe:\n{lines}");
    typed.exits(0, &["wait", "good/1"])?;

    let log = typed.exits(0, &["log", "good/1", "greet"])?;
    ensure!(log.lines().any(|line| line == "hello") && log.lines().any(|line| line == "oops"), "{log}");
    let log = typed.exits(0, &["log", "good/1", "two words", "--log", "stdio"])?;
    ensure!(log.contains("named with a space"), "{log}");

    let lines = typed.exits(1, &["force", "bad", "--wait"])?;
    ensure!(lines.contains("fail: failure"), "{lines}");

    // A log can be followed before there is a build; every line comes once and in order.
    let lines = typed.exits(0, &["force", "slow"])?;
    let request = lines.split_whitespace().nth(1).context("request <id>")?;
    let log = typed.exits(0, &["log", &format!("request:{request}"), "count", "--follow"])?;
    let counted: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=20).map(|number| format!("line {number}")).collect();
    ensure!(counted == expected, "{log}");
    typed.exits(0, &["wait", &format!("request:{request}")])?;

    for (arguments, expected) in [
        (&["force", "nobody"][..], "builders/nobody not found"),
        (&["force", "good", "--property", "nothing=1"], "no field `nothing`"),
        (&["force", "good", "--scheduler", "other"], "force scheduler other not found"),
        (&["wait", "99999"], "builds/99999 not found"),
        (&["log", "good/1", "build"], "greet, two words"),
        (&["log", "good/1", "greet", "--log", "other"], "its logs are: stdio"),
    ] {
        let errors = typed.exits(TROUBLE, arguments)?;
        ensure!(errors.contains(expected), "{expected:?} in:\n{errors}");
    }
    typed.exits(2, &["wait", "no build"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_work_with_buildguild() -> Result<()> {
    let cluster = TestCluster::builder().start(|_| Ok(farm().text())).await?;
    // Any master of a cluster answers for all.
    everything_works(cluster.masters[1].url())?;
    // A local worker's commands have the master's environment, but not its settings: these may hold passwords.
    let log = cluster.masters[0].rest()?.text("api/v2/logs/1/raw").await?;
    ensure!(log.contains(" environment:") && log.contains("PATH=") && !log.contains("BUILDGUILD__"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_work_with_buildbot() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let master = StockMaster::start(directory.path(), &farm()).await?;
    everything_works(master.url()).with_context(|| master.log())
}

#[test]
fn a_master_that_is_not_there_is_said_so() -> Result<()> {
    let typed = Typed { url: format!("http://127.0.0.1:{}", free_port()?) };
    let errors = typed.exits(TROUBLE, &["force", "good"])?;
    ensure!(errors.contains("cannot reach") && errors.contains("BUILDGUILD_URL"), "{errors}");
    Ok(())
}
