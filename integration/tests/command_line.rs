//! The commands of a master's life, as an admin types them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use integration::{Database, Farm, Rest, TestDatabase, buildbot_environment, buildguild};
use tempfile::TempDir;
use test_servers::free_port;

/// A master's directory made by `create-master`, with ports of its own.
struct Home {
    directory: TempDir,
    web_port: u16,
    worker_port: u16,
}

impl Home {
    fn create() -> Result<Self> {
        let home = Self { directory: tempfile::tempdir()?, web_port: free_port()?, worker_port: free_port()? };
        let output = home.run(&["create-master", "ci"])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(home)
    }

    fn master(&self) -> PathBuf {
        self.directory.path().join("ci")
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = buildguild()?;
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("BUILDGUILD__WEB__LISTEN", format!("127.0.0.1:{}", self.web_port))
            .env("BUILDGUILD__WORKER__LISTEN", format!("127.0.0.1:{}", self.worker_port));
        Ok(command)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
        Ok(text(&output))
    }

    fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(output.status.code() == Some(1), "{arguments:?}: {:?} {}", output.status, text(&output));
        Ok(text(&output))
    }

    fn rest(&self) -> Result<Rest> {
        Rest::new(&format!("http://127.0.0.1:{}/", self.web_port))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed half way leaves no master behind.
        let _ = self.run(&["stop", "ci"]);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_database_that_refuses_is_not_waited_for() -> Result<()> {
    let database = TestDatabase::create(Database::Postgres, Path::new(""))?;
    let home = Home::create()?;
    let refused = |url: &str| -> Result<String> {
        let output = home.command(&["start", "--nodaemon", "ci"])?.env("BUILDGUILD__DATABASE__URL", url).output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(text(&output))
    };
    let said = refused(&format!("{}_of_nobody", database.url()))?;
    ensure!(said.contains("cannot connect to the database") && said.contains("does not exist"), "{said}");
    let (user, rest) = (database.url().find("://").context("a URL")? + 3, database.url().find('@').context("a user")?);
    let said = refused(&format!("{}nobody{}", &database.url()[..user], &database.url()[rest..]))?;
    ensure!(said.contains("cannot connect to the database") && said.contains("nobody"), "{said}");
    // SQLite's files do not come back by themselves.
    std::fs::create_dir(home.master().join("no_file"))?;
    let said = refused("sqlite:///no_file")?;
    ensure!(said.contains("cannot connect to the database") && said.contains("unable to open"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_created_started_reconfigured_and_stopped() -> Result<()> {
    let home = Home::create()?;
    let refused = home.fails(&["start", "ci"])?;
    ensure!(refused.contains("buildguild upgrade-master"), "says which command helps: {refused}");
    home.succeeds(&["upgrade-master", "ci"])?;
    home.succeeds(&["checkconfig", "ci"])?;
    home.succeeds(&["start", "ci"])?;
    let rest = home.rest()?;
    ensure!(!rest.list("builders").await?.is_empty(), "the sample has a builder");
    let twice = home.fails(&["start", "ci"])?;
    ensure!(twice.contains("runs in"), "{twice}");

    let config = home.master().join("master.cfg");
    std::fs::write(&config, Farm::new().worker("w").builder("fresh", "w", &[]).text())?;
    home.succeeds(&["reconfig", "ci"])?;
    let names = |builders: Vec<serde_json::Value>| -> Vec<String> {
        builders.iter().filter(|b| b["masterids"] != serde_json::json!([])).map(|b| b["name"].to_string()).collect()
    };
    ensure!(names(rest.list("builders").await?) == ["\"fresh\""]);

    // A bad configuration is refused whole, and the one before stays.
    std::fs::write(&config, Farm::new().worker("w").builder("worse", "nobody", &[]).text() + "\nc['buidlers'] = []\n")?;
    let refused = home.fails(&["reconfig", "ci"])?;
    ensure!(refused.contains("nobody") && refused.contains("buidlers"), "all errors at once: {refused}");
    ensure!(names(rest.list("builders").await?) == ["\"fresh\""]);
    home.succeeds(&["stop", "ci"])?;
    let stopped = home.fails(&["stop", "ci"])?;
    ensure!(stopped.contains("no master runs"), "{stopped}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_the_farm_config_are_listened_on() -> Result<()> {
    let home = Home::create()?;
    let endpoint = |port: u16| format!("'tcp:{port}:interface=127.0.0.1'");
    let farm = Farm::new()
        .worker("w")
        .builder("b", "w", &[])
        .text()
        .replace("9989", &endpoint(home.worker_port))
        .replace("8010", &endpoint(home.web_port));
    std::fs::write(home.master().join("master.cfg"), farm)?;
    home.succeeds(&["upgrade-master", "ci"])?;
    let mut start = home.command(&["start", "ci"])?;
    start.env_remove("BUILDGUILD__WEB__LISTEN").env_remove("BUILDGUILD__WORKER__LISTEN");
    let output = start.output()?;
    ensure!(output.status.success(), "{}", text(&output));
    ensure!(home.rest()?.list("builders").await?.len() == 1, "the web port of c['www']");
    tokio::net::TcpStream::connect(("127.0.0.1", home.worker_port)).await.context("the port of c['protocols']")?;
    home.succeeds(&["stop", "ci"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn buildbots_own_sample_configuration_loads_and_runs_as_it_is() -> Result<()> {
    let home = Home::create()?;
    let stock = home.directory.path().join("stock");
    let output = Command::new(buildbot_environment()?.join("bin/buildbot"))
        .args(["create-master", "-q"])
        .arg(&stock)
        .output()?;
    ensure!(output.status.success(), "{}", text(&output));
    std::fs::copy(stock.join("master.cfg.sample"), home.master().join("master.cfg"))?;
    home.succeeds(&["checkconfig", "ci"])?;
    home.succeeds(&["upgrade-master", "ci"])?;
    home.succeeds(&["start", "ci"])?;
    let rest = home.rest()?;
    let builder = rest.one("builders/runtests").await?;
    ensure!(builder["masterids"].as_array().is_some_and(|masters| masters.len() == 1), "{builder}");
    let schedulers = rest.list("schedulers").await?;
    ensure!(schedulers.iter().any(|scheduler| scheduler["name"] == "force"), "{schedulers:?}");
    home.succeeds(&["stop", "ci"])?;
    Ok(())
}

#[test]
fn checkconfig_reports_every_mistake_with_its_place() -> Result<()> {
    let home = Home::create()?;
    let config = home.master().join("master.cfg");
    std::fs::write(
        &config,
        "from buildbot.plugins import *\n\
         c = BuildmasterConfig = {}\n\
         c['workers'] = [worker.Worker('w', 'pass', max_build=3)]\n\
         c['builders'] = [\n\
         \x20   util.BuilderConfig(name='b', workernames=['nobody'], factory=util.BuildFactory()),\n\
         \x20   util.BuilderConfig(name='b', workernames=['w'], factory=util.BuildFactory()),\n\
         ]\n\
         c['schedulers'] = [schedulers.SingleBranchScheduler(name='s', builderNames=['missing'])]\n\
         c['titel'] = 'x'\n",
    )?;
    let report = home.fails(&["checkconfig", "ci"])?;
    for expected in ["max_build", "nobody", "missing", "titel", "master.cfg:3", "master.cfg:9"] {
        ensure!(report.contains(expected), "{expected} is not in:\n{report}");
    }
    ensure!(report.contains("c['titel'] = 'x'"), "the source line is shown:\n{report}");
    Ok(())
}

#[test]
fn settings_are_shown_with_their_origin_and_without_secrets() -> Result<()> {
    let home = Home::create()?;
    let output = home
        .command(&["config", "show", "ci"])?
        .env("BUILDGUILD__DATABASE__URL", "postgresql://user:hunter2@db.example/ci")
        .output()?;
    let shown = text(&output);
    ensure!(output.status.success(), "{shown}");
    ensure!(!shown.contains("hunter2"), "{shown}");
    ensure!(shown.contains("BUILDGUILD__DATABASE__URL"), "the origin: {shown}");
    let output = home.command(&["config", "show", "ci"])?.env("BUILDGUILD__DATABASE__ULR", "x").output()?;
    let refused = text(&output);
    ensure!(output.status.code() == Some(1) && refused.contains("database.url"), "a suggestion: {refused}");
    Ok(())
}

#[test]
fn a_database_of_another_version_is_refused() -> Result<()> {
    let home = Home::create()?;
    home.succeeds(&["upgrade-master", "ci"])?;
    let database = find_sqlite(&home.master()).context("the sample uses SQLite")?;
    let run = |sql: &str| -> Result<()> {
        let python = format!(
            "import sqlite3; c = sqlite3.connect({:?}); c.execute({sql:?}); c.commit()",
            database.display().to_string()
        );
        let output = Command::new("python3").args(["-c", &python]).output()?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(())
    };
    run("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_from_the_future', 0)")?;
    run("UPDATE schema_compatibility SET minimum = 9999")?;
    let refused = home.fails(&["start", "ci"])?;
    ensure!(refused.contains("newer"), "{refused}");
    Ok(())
}

fn find_sqlite(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "sqlite"))
}
