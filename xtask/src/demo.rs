//! `cargo xtask demo`: a complete Buildguild in one command.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tempfile::TempDir;
use test_servers::{Postgres, free_port};

use crate::command::{self, cargo, root, run_quietly};
use crate::setup;

/// How to run the demo.
#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Push a commit, wait for its build, print its log, and end: with success only if the build succeeded.
    #[arg(long)]
    once: bool,
    /// Where the state is kept.
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,
    /// The port of the page; a free one if not said.
    #[arg(long)]
    port: Option<u16>,
    /// Do not build the page (it needs Node.js).
    #[arg(long)]
    no_page: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

/// A demo that is set up: directories, servers, and the master once it runs.
struct Demo {
    binary: PathBuf,
    directory: TempDir,
    port: u16,
    worker_port: u16,
    // Declared last: the master is stopped (by `Drop` of `Master`) before its database goes.
    postgres: Option<Postgres>,
}

/// The running master; stopped by its process id when dropped.
struct Master(Child);

impl Drop for Master {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", &self.0.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            match self.0.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the demo.
pub(crate) fn run(arguments: &DemoArguments) -> Result<()> {
    let demo = Demo::set_up(arguments)?;
    let mut master = demo.start()?;
    if arguments.once {
        return demo.once();
    }
    demo.explain();
    let status = master.0.wait()?;
    ensure_ended_well(status)
}

fn ensure_ended_well(status: ExitStatus) -> Result<()> {
    ensure!(status.success(), "buildguild ended: {status}");
    Ok(())
}

impl Demo {
    fn set_up(arguments: &DemoArguments) -> Result<Self> {
        if arguments.no_page {
            eprintln!("The page is left out, as asked for.");
        } else if setup::has_npm() {
            setup::page()?;
        } else {
            eprintln!(
                "Node.js and npm are not installed: the demo runs without the page. REST and the command line work."
            );
        }
        command::run(cargo().args(["build", "--quiet", "--bin", "buildguild"]))?;
        let postgres = match arguments.database {
            Database::Sqlite => None,
            Database::Postgres => {
                setup::postgresql()?;
                Some(Postgres::start()?)
            }
        };
        let demo = Self {
            binary: debug_binary()?,
            directory: tempfile::Builder::new().prefix("buildguild-demo-").tempdir()?,
            port: arguments.port.map_or_else(free_port, Ok)?,
            worker_port: free_port()?,
            postgres,
        };
        demo.make_repository()?;
        demo.make_master()?;
        Ok(demo)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// A bare repository and a clone of it with a first commit, pushed.
    fn make_repository(&self) -> Result<()> {
        let bare = self.path("project.git");
        let clone = self.path("project");
        run_quietly(Command::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&bare))?;
        run_quietly(Command::new("git").args(["clone", "--quiet"]).arg(&bare).arg(&clone))?;
        for (key, value) in [("user.name", "Demo"), ("user.email", "demo@example.org"), ("push.default", "current")] {
            run_quietly(git(&clone).args(["config", key, value]))?;
        }
        run_quietly(git(&clone).args(["checkout", "--quiet", "-B", "main"]))?;
        std::fs::create_dir(clone.join("greetings"))?;
        std::fs::write(clone.join("check.sh"), include_str!("../demo/check.sh"))?;
        std::fs::write(clone.join("greetings/first"), "hello world\n")?;
        run_quietly(git(&clone).args(["add", "--all"]))?;
        run_quietly(git(&clone).args(["commit", "--quiet", "--message", "Greet the world"]))?;
        run_quietly(git(&clone).args(["push", "--quiet", "--set-upstream", "origin", "main"]))?;
        Ok(())
    }

    fn make_master(&self) -> Result<()> {
        let master = self.path("master");
        run_quietly(self.buildguild("create-master").arg(&master))?;
        std::fs::write(master.join("master.cfg"), include_str!("../demo/master.cfg"))?;
        run_quietly(self.buildguild("upgrade-master").arg(&master))?;
        Ok(())
    }

    fn buildguild(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(subcommand)
            .current_dir(self.directory.path())
            .env("DEMO_REPOSITORY", self.path("project.git"))
            .env("DEMO_URL", self.url())
            .env("DEMO_PORT", self.port.to_string())
            .env("DEMO_WORKER_PORT", self.worker_port.to_string())
            .env("BUILDGUILD_URL", self.url());
        // The settings that make the difference between the laptop and the cluster.
        if let Some(postgres) = &self.postgres {
            command.env("BUILDGUILD__DATABASE__URL", postgres.url("postgres"));
        }
        command
    }

    fn start(&self) -> Result<Master> {
        let log = std::fs::File::create(self.path("master.log"))?;
        let child = self
            .buildguild("start")
            .arg("--nodaemon")
            .arg(self.path("master"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut master = Master(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_ready(self.port) {
            if let Some(status) = master.0.try_wait()? {
                bail!("buildguild ended at once ({status}):\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("buildguild was not ready within a minute:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(master)
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.path("master.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn explain(&self) {
        let clone = self.path("project");
        println!("\nBuildguild is ready: {}\n", self.url());
        println!("Push a commit and watch it being built:\n");
        println!("  cd {}", clone.display());
        println!("  echo 'hello you' > greetings/second && git add . && git commit -m 'Greet you' && git push\n");
        println!("Or from the command line (also in {}):\n", clone.display());
        println!("  export BUILDGUILD_URL={}", self.url());
        println!("  {} force check --wait", self.binary.display());
        println!("  {} log 1 check", self.binary.display());
        println!("  curl -s {}api/v2/builds\n", self.url());
        println!("The master's log is {}. Ctrl-C ends the demo and removes it.", self.path("master.log").display());
        let _ = std::io::stdout().flush();
    }

    /// Pushes a commit and follows its build to the end.
    fn once(&self) -> Result<()> {
        let clone = self.path("project");
        self.wait_for_first_poll()?;
        std::fs::write(clone.join("greetings/second"), "hello you\n")?;
        run_quietly(git(&clone).args(["add", "--all"]))?;
        run_quietly(git(&clone).args(["commit", "--quiet", "--message", "Greet you"]))?;
        run_quietly(git(&clone).args(["push", "--quiet"]))?;
        let pushed = Instant::now();
        let revision = run_quietly(git(&clone).args(["rev-parse", "HEAD"]))?;
        println!("pushed {}", revision.trim());
        let build = self.wait_for_build(pushed)?;
        println!("build  {}#/builders/{}/builds/{}", self.url(), build.builder, build.number);
        let waited = self.buildguild("wait").arg(build.id.to_string()).status()?;
        println!("took   {:.2} s from push to the end of the build", pushed.elapsed().as_secs_f64());
        let mut shown = self.buildguild("log").args([&build.id.to_string(), "check"]).stdout(Stdio::piped()).spawn()?;
        if let Some(output) = shown.stdout.take() {
            for line in BufReader::new(output).lines() {
                println!("log    {}", line?);
            }
        }
        ensure_ended_well(shown.wait()?)?;
        ensure!(waited.success(), "the build did not succeed:\n{}", self.log_tail());
        Ok(())
    }

    /// The first poll only notes where the branches are; a commit pushed before it would be part of that.
    fn wait_for_first_poll(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let needle = "first poll";
        loop {
            if std::fs::read_to_string(self.path("master.log"))?.contains(needle) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the poller did not look at the repository:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_build(&self, pushed: Instant) -> Result<BuildRef> {
        loop {
            let answer = get(self.port, "/api/v2/builds?order=-buildid&limit=1")?;
            if let Some(build) = answer["builds"].get(0) {
                let field = |name: &str| build[name].as_i64().with_context(|| format!("a build without {name}"));
                return Ok(BuildRef { id: field("buildid")?, builder: field("builderid")?, number: field("number")? });
            }
            ensure!(
                pushed.elapsed() < Duration::from_secs(30),
                "no build started within 30 s of the push:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What names a build.
struct BuildRef {
    id: i64,
    builder: i64,
    number: i64,
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory);
    command
}

fn is_ready(port: u16) -> bool {
    request(port, "/health/ready").is_ok_and(|(status, _)| status == 200)
}

fn get(port: u16, path: &str) -> Result<serde_json::Value> {
    let (status, body) = request(port, path)?;
    ensure!(status == 200, "GET {path} answered {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

/// One GET over HTTP/1.0, which closes the connection at the end: all that the demo needs of a client.
fn request(port: u16, path: &str) -> Result<(u16, String)> {
    use std::io::Read;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("not an HTTP status line")?;
    Ok((status, body.to_owned()))
}

fn debug_binary() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf().join("debug/buildguild"))
}
