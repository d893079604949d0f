//! The worker against a real Buildbot master from PyPI, used as it is.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;

/// Buildbot takes seconds to start, and more on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"
from buildbot.plugins import *
c = BuildmasterConfig = {}
c['buildbotNetUsageData'] = None
c['workers'] = [worker.Worker("w1", "pw:with:colons")]
c['protocols'] = {'msgpack_experimental_v7': {'port': WORKER_PORT}}
f = util.BuildFactory()
f.addStep(steps.ShellCommand(name="sh", command=["sh", "-c", "echo hi; echo err >&2; seq 1 3; printf partial"]))
f.addStep(steps.MakeDirectory(dir="build/a/b"))
f.addStep(steps.ShellCommand(name="pty", command="echo x > a/b/f.txt; tty; printf '1\\r2\\r3\\n'", usePTY=True))
f.addStep(steps.ShellCommand(name="env", command="echo $FOO; cat", env={'FOO': '${HOME}x'}, initialStdin="in put", logEnviron=False))
f.addStep(steps.ShellCommand(name="log", command="echo logged > l.log", logfiles={"mylog": "l.log"}))
f.addStep(steps.CopyDirectory(src="build/a", dest="build/c"))
f.addStep(steps.FileUpload(workersrc="a/b/f.txt", masterdest="up.txt"))
f.addStep(steps.DirectoryUpload(workersrc="a", masterdest="updir"))
f.addStep(steps.DirectoryUpload(name="gz", workersrc="a", masterdest="updirgz", compress='gz'))
f.addStep(steps.DirectoryUpload(name="bz2", workersrc="a", masterdest="updirbz2", compress='bz2'))
f.addStep(steps.MultipleFileUpload(workersrcs=["a/b/*.txt"], masterdest="multi", glob=True))
f.addStep(steps.FileExists(file="build/a/b/f.txt"))
f.addStep(steps.StringDownload("content", workerdest="s.txt"))
f.addStep(steps.RemoveDirectory(dir="build/c"))
f.addStep(steps.SetPropertyFromCommand(command="echo value", property="prop"))
f.addStep(steps.ShellCommand(name="fail", command=["sh", "-c", "exit 3"], flunkOnFailure=False))
f.addStep(steps.ShellCommand(name="timeout", command="echo a; sleep 600", timeout=1, flunkOnFailure=False))
f.addStep(steps.ShellCommand(name="lines", command="seq 100; sleep 600", max_lines=10, flunkOnFailure=False))
long = util.BuildFactory([steps.ShellCommand(name="sleep", command="echo $$ > pid; sleep 600")])
c['builders'] = [util.BuilderConfig(name="b", workernames=["w1"], factory=f),
                 util.BuilderConfig(name="long", workernames=["w1"], factory=long)]
c['schedulers'] = [schedulers.ForceScheduler(name="force", builderNames=["b", "long"])]
c['www'] = dict(port="tcp:WEB_PORT:interface=127.0.0.1", plugins={})
c['db'] = {'db_url': 'sqlite:///state.sqlite'}
"#;

fn venv() -> PathBuf {
    let cache = || {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home)
    };
    let venv = std::env::var_os("BUILDGUILD_BUILDBOT_VENV").map(PathBuf::from);
    let venv = venv.or_else(|| Some(cache()?.join("buildguild/venv"))).expect("HOME is not set");
    assert!(
        venv.join("bin/buildbot").exists(),
        "no stock Buildbot in {}: \"cargo xtask test\" installs it",
        venv.display()
    );
    venv
}

/// A Buildbot master in the foreground, ended by its process id.
struct Buildbot {
    dir: PathBuf,
    web: u16,
    child: Child,
}

impl Buildbot {
    fn create(dir: &Path, worker_port: u16, web: u16) -> Self {
        let made = Command::new(venv().join("bin/buildbot")).args(["create-master", "-q"]).arg(dir).status().unwrap();
        assert!(made.success());
        let config = CONFIG.replace("WORKER_PORT", &worker_port.to_string()).replace("WEB_PORT", &web.to_string());
        std::fs::write(dir.join("master.cfg"), config).unwrap();
        Self { child: Self::spawn(dir), dir: dir.to_path_buf(), web }
    }

    fn spawn(dir: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("output.log")).unwrap();
        Command::new(venv().join("bin/twistd"))
            .args(["--nodaemon", "--no_save", "--pidfile=", "--python=buildbot.tac"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.web)).ok()?;
        write!(
            stream,
            "{method} /api/v2/{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    fn get(&self, path: &str) -> Option<Json> {
        serde_json::from_str(&self.request("GET", path, "")?).ok()
    }

    fn call(&self, path: &str, method: &str, params: &str) -> Json {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        serde_json::from_str(&self.request("POST", path, &body).unwrap()).unwrap()
    }

    fn wait<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = found(self) {
                return value;
            }
            assert!(Instant::now() < end, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(50)); // polls
        }
    }

    fn wait_for_worker(&self) {
        self.wait("the worker's attachment", |master| {
            let answer = master.get("workers")?;
            (answer["workers"][0]["connected_to"].as_array()?.len() == 1).then_some(())
        });
    }

    fn force(&self, builder: &str) {
        let builders = self.get("builders").unwrap();
        let found = builders["builders"].as_array().unwrap().iter().find(|b| b["name"] == builder).unwrap();
        let answer =
            self.call("forceschedulers/force", "force", &format!(r#"{{"builderid":"{}"}}"#, found["builderid"]));
        assert!(answer.get("error").is_none(), "{answer}");
    }

    fn wait_for_build(&self, id: u32) -> Json {
        self.wait("the build's end", |master| {
            let build = master.get(&format!("builds/{id}"))?["builds"][0].clone();
            build["complete"].as_bool()?.then_some(build)
        })
    }

    fn log(&self, build: u32, step: &str, log: &str) -> String {
        let chunk = self.get(&format!("builds/{build}/steps/{step}/logs/{log}/contents")).unwrap();
        chunk["logchunks"][0]["content"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Buildbot {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The native worker in the foreground.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn start_worker(dir: &Path, port: u16) -> Worker {
    let program = env!("CARGO_BIN_EXE_buildguild-worker");
    let address = format!("127.0.0.1:{port}");
    let made = Command::new(program)
        .args(["create-worker", "-q", "--maxdelay=1"])
        .arg(dir)
        .args([address.as_str(), "w1", "pw:with:colons"])
        .status();
    assert!(made.unwrap().success());
    let log = std::fs::File::create(dir.join("output.log")).unwrap();
    Worker(Command::new(program).args(["start", "--nodaemon"]).arg(dir).stderr(log).spawn().unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_real_buildbot_master_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let (worker_port, web) = (free_port(), free_port());
    let mut master = Buildbot::create(&dir.path().join("m"), worker_port, web);
    let worker_dir = dir.path().join("w");
    let _worker = start_worker(&worker_dir, worker_port);
    master.wait_for_worker();

    // Every kind of command.
    master.force("b");
    let build = master.wait_for_build(1);
    let steps = master.get("builds/1/steps").unwrap();
    let results: Vec<(String, i64)> = steps["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["name"].as_str().unwrap().to_owned(), step["results"].as_i64().unwrap_or(-1)))
        .collect();
    let failing = ["fail", "timeout", "lines"];
    for (name, result) in &results {
        assert_eq!(*result, if failing.contains(&name.as_str()) { 2 } else { 0 }, "{name}: {results:?}");
    }
    assert_eq!((build["results"].as_i64(), results.len()), (Some(0), 19), "{results:?}");
    let stdio = master.log(1, "sh", "stdio");
    for line in [
        "ohi\n",
        "eerr\n",
        "o1\no2\no3\n",
        "opartial\n",
        "h using PTY: False\n",
        "hprogram finished with exit code 0\n",
    ] {
        assert!(stdio.contains(line), "{line:?} in {stdio}");
    }
    let pty = master.log(1, "pty", "stdio");
    assert!(pty.contains("o/dev/pts/") && pty.contains("o1\no2\no3\n"), "{pty}");
    let home = std::env::var("HOME").unwrap_or_default();
    let env = master.log(1, "env", "stdio");
    assert!(env.contains(&format!("o{home}x\n")) && env.contains("oin put\n"), "{env}");
    assert_eq!(master.log(1, "log", "mylog"), "ologged\n");
    assert!(
        master.log(1, "timeout", "stdio").contains("hcommand timed out: 1 seconds without output running b'echo a")
    );
    let state =
        steps["steps"].as_array().unwrap().iter().find(|step| step["name"] == "timeout").unwrap()["state_string"]
            .clone();
    assert_eq!(state, "'echo a; ...' (failure) (timed out)");
    for file in ["up.txt", "updir/b/f.txt", "updirgz/b/f.txt", "updirbz2/b/f.txt", "multi/f.txt"] {
        assert_eq!(std::fs::read_to_string(master.dir.join(file)).unwrap(), "x\n", "{file}");
    }
    let properties = master.get("builds/1/properties").unwrap();
    assert_eq!(properties["properties"][0]["prop"][0], "value");
    let workers = master.get("workers").unwrap();
    assert_eq!(workers["workers"][0]["workerinfo"]["admin"], "Your Name Here <admin@youraddress.invalid>\n");

    // A build that is stopped.
    master.force("long");
    let pid = running(&worker_dir, &master);
    master.call("builds/2", "stop", r#"{"reason":"enough"}"#);
    assert_eq!(master.wait_for_build(2)["results"], 6);
    assert!(!crate::support::is_alive(pid));

    // A master that dies and comes back.
    std::fs::remove_file(worker_dir.join("long/build/pid")).unwrap();
    master.force("long");
    let pid = running(&worker_dir, &master);
    master.kill();
    master.wait("the command's end", |_| (!crate::support::is_alive(pid)).then_some(()));
    std::fs::remove_file(worker_dir.join("long/build/pid")).unwrap();
    master.child = Buildbot::spawn(&master.dir);
    // The request of the interrupted build is built again on the same worker.
    let pid = running(&worker_dir, &master);
    master.call("builds/4", "stop", r#"{"reason":"enough"}"#);
    assert_eq!(master.wait_for_build(4)["results"], 6);
    assert!(!crate::support::is_alive(pid));
}

/// The process of the long build, once it runs.
fn running(worker_dir: &Path, master: &Buildbot) -> i32 {
    master.wait("the long build's start", |_| {
        std::fs::read_to_string(worker_dir.join("long/build/pid")).ok()?.trim().parse().ok()
    })
}
