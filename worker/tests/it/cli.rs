//! The command line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{eventually, is_alive, pid_in};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buildguild-worker"));
    command.env_remove("RUST_LOG");
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A worker whose master does not exist.
fn create(parent: &Path) -> String {
    let dir = parent.join("w").to_string_lossy().into_owned();
    // A port that nothing can listen on.
    stdout(&run(&["create-worker", "--quiet", &dir, "127.0.0.1:1", "w1", "pass word\"'#"]));
    dir
}

#[test]
fn create_worker_writes_a_directory_that_start_understands() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("w").to_string_lossy().into_owned();
    let args = [
        "create-worker",
        "--umask=0o22",
        "--keepalive=60",
        "--maxdelay=20",
        "--maxretries=None",
        "--numcpus=3",
        "--allow-shutdown=file",
        "--delete-leftover-dirs",
        "--use-tls",
        "--protocol=msgpack_experimental_v7",
        "--log-size=1000",
        "--log-count=None",
        "--relocatable",
        &dir,
        "ci.example.org",
        "w1",
        "pass word\"'#",
    ];
    let said = stdout(&run(&args));
    assert!(said.contains("worker configured in") && said.contains("info/admin"), "{said}");
    let file = Path::new(&dir).join("worker.toml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let config = buildguild_worker::WorkerConfig::load(Path::new(&dir)).unwrap();
    assert_eq!(config.address().unwrap().url(), "wss://ci.example.org:9989/");
    assert_eq!((config.password.as_deref(), config.umask_bits().unwrap()), (Some("pass word\"'#"), Some(0o22)));
    assert_eq!((config.keepalive, config.maxdelay, config.maxretries, config.numcpus), (60, 20, None, Some(3)));
    assert_eq!(config.allow_shutdown, Some(buildguild_worker::ShutdownBy::File));
    assert!(config.delete_leftover_dirs);
    let admin = Path::new(&dir).join("info/admin");
    assert_eq!(std::fs::read_to_string(&admin).unwrap(), "Your Name Here <admin@youraddress.invalid>\n");
    // Not twice, unless it is forced; what was edited stays.
    std::fs::write(&admin, "me\n").unwrap();
    let error = stderr(&run(&["create-worker", &dir, "other", "w1", "p"]));
    assert!(error.contains("is not empty; --force uses it"), "{error}");
    stdout(&run(&["create-worker", "-f", "--connection-string=tcp:host=h:port=1", &dir, "other", "w1", "p"]));
    let config = buildguild_worker::WorkerConfig::load(Path::new(&dir)).unwrap();
    assert_eq!((config.master.as_str(), config.use_tls), ("tcp:host=h:port=1", false));
    assert_eq!(std::fs::read_to_string(&admin).unwrap(), "me\n");
}

#[test]
fn mistakes_are_told() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("w").to_string_lossy().into_owned();
    for (args, text) in [
        (vec!["create-worker", &dir, "host:port", "w", "p"], "\"host:port\" is no master address"),
        (vec!["create-worker", &dir, "host", "a:b", "p"], "worker name \"a:b\" is empty or has a colon"),
        (vec!["create-worker", "--umask=999", &dir, "host", "w", "p"], "umask \"999\" is no octal number"),
        (vec!["create-worker", "--protocol=pb", &dir, "host", "w", "p"], "protocol \"pb\" is not supported"),
        (vec!["create-worker", "--allow-shutdown=maybe", &dir, "host", "w", "p"], "possible values: signal, file"),
        (vec!["start", &dir], "is this a worker's directory"),
        (vec!["stop", &dir], "is not a worker's directory"),
    ] {
        let error = stderr(&run(&args));
        assert!(error.contains(text), "{args:?}: {error}");
        assert!(!Path::new(&dir).exists());
    }
    let dir = create(parent.path());
    let file = Path::new(&dir).join("worker.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("keepalive", "keepalife")).unwrap();
    let error = stderr(&run(&["start", "--nodaemon", &dir]));
    assert!(error.contains("unknown field `keepalife`"), "{error}");
}

#[tokio::test]
async fn a_worker_runs_in_the_background_and_is_stopped() {
    let parent = tempfile::tempdir().unwrap();
    let dir = create(parent.path());
    assert_eq!(stdout(&run(&["stop", &dir])), "worker not running\n");
    let said = stdout(&run(&["start", &dir]));
    assert!(said.starts_with("worker started (process "), "{said}");
    let first = pid_in(&Path::new(&dir).join("worker.pid")).await;
    assert!(is_alive(first));
    let error = stderr(&run(&["start", &dir]));
    assert!(error.contains("runs in"), "{error}");
    assert!(stderr(&run(&["start", "--nodaemon", &dir])).contains("already"));
    stdout(&run(&["restart", "--quiet", &dir]));
    let second = pid_in(&Path::new(&dir).join("worker.pid")).await;
    assert!(first != second && !is_alive(first) && is_alive(second));
    assert_eq!(stdout(&run(&["stop", &dir])), format!("worker process {second} is dead\n"));
    let log = std::fs::read_to_string(Path::new(&dir).join("worker.log")).unwrap();
    assert!(log.contains("no connection to master") && log.contains("worker has ended"), "{log}");
    assert!(!log.contains("pass word"), "the password is in the log");
}

#[tokio::test]
async fn a_hangup_lets_the_worker_leave() {
    let parent = tempfile::tempdir().unwrap();
    let dir = create(parent.path());
    stdout(&run(&["start", "-q", &dir]));
    let pid = pid_in(&Path::new(&dir).join("worker.pid")).await;
    assert_eq!(stdout(&run(&["stop", "--graceful", &dir])), "worker leaves when its work is done\n");
    eventually("the worker's end", || !is_alive(pid)).await;
    // In the foreground.
    let mut child = program().args(["start", "--nodaemon", &dir]).stderr(Stdio::null()).spawn().unwrap();
    let pid_file = Path::new(&dir).join("worker.pid");
    let id = i32::try_from(child.id()).unwrap();
    eventually("the pid file", || std::fs::read_to_string(&pid_file).is_ok_and(|text| text.trim() == id.to_string()))
        .await;
    eventually("signal handlers", || handles_hangup(id)).await;
    kill(Pid::from_raw(id), Signal::SIGHUP).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Whether a process has taken over SIGHUP: bit 0 of the caught signals.
fn handles_hangup(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
    u64::from_str_radix(caught, 16).is_ok_and(|bits| bits & 1 == 1)
}

#[test]
fn too_many_failed_attempts_are_a_failure() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("w").to_string_lossy().into_owned();
    stdout(&run(&["create-worker", "-q", "--maxretries=1", "--maxdelay=0", &dir, "127.0.0.1:1", "w", "p"]));
    let output = run(&["start", "--nodaemon", &dir]);
    assert_eq!(output.status.code(), Some(1));
}
