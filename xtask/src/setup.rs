//! What the other commands need on a machine: Debian packages, the page's packages, stock Buildbot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{root, run, run_quietly};

/// A program and the Debian package that has it.
struct Needed {
    program: &'static str,
    package: &'static str,
}

const FOR_TESTS: &[Needed] = &[
    Needed { program: "/usr/lib/postgresql/*/bin/postgres", package: "postgresql" },
    Needed { program: "redis-server", package: "redis-server" },
    Needed { program: "/usr/lib/rabbitmq/bin/rabbitmq-server", package: "rabbitmq-server" },
    Needed { program: "/usr/sbin/nginx", package: "nginx" },
    Needed { program: "/usr/sbin/haproxy", package: "haproxy" },
    Needed { program: "/usr/bin/chromium", package: "chromium" },
    Needed { program: "git", package: "git" },
    Needed { program: "make", package: "make" },
    Needed { program: "gcc", package: "gcc" },
    Needed { program: "patch", package: "patch" },
];

/// Stock Buildbot, which tests run as a peer. It is only ever executed, as its users do.
const PYTHON_PACKAGES: &[&str] =
    &["buildbot[bundle]==4.3.0", "buildbot-worker==4.3.0", "psycopg2-binary", "aiohttp", "msgpack"];

/// Installs the Debian packages that the tests need, where they are missing.
pub(crate) fn debian_packages() -> Result<()> {
    install_missing(FOR_TESTS)
}

/// Installs what lets one process see another time.
pub(crate) fn faketime() -> Result<()> {
    install_missing(&[Needed { program: "faketime", package: "faketime" }])
}

/// Installs PostgreSQL, where it is missing.
pub(crate) fn postgresql() -> Result<()> {
    install_missing(&FOR_TESTS[..1])
}

fn install_missing(needed: &[Needed]) -> Result<()> {
    let missing: Vec<&str> = needed.iter().filter(|n| !is_installed(n.program)).map(|n| n.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if run_quietly(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("these Debian packages are missing: {0}\ninstall them with: sudo apt-get install {0}", missing.join(" "));
    }
    run(Command::new("apt-get").arg("update").arg("-qq"))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing))
}

fn is_installed(program: &str) -> bool {
    if let Some((before, after)) = program.split_once('*') {
        return std::fs::read_dir(before)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path().join(after.trim_start_matches('/')).exists());
    }
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Where things are kept that outlive one run but are no part of the checkout.
fn cache_directory() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cache"))
    });
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("buildguild"))
}

/// A Python environment with stock Buildbot; installed on first use.
pub(crate) fn buildbot_environment() -> Result<PathBuf> {
    python_environment("venv", PYTHON_PACKAGES)
}

/// A Python environment called `name` with `packages`; made anew when they are others than before.
fn python_environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let venv = cache_directory()?.join(name);
    let stamp = venv.join("installed.txt");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(venv);
    }
    std::fs::create_dir_all(cache_directory()?)?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    std::fs::write(&stamp, wanted)?;
    Ok(venv)
}

/// Generates requests from the OpenAPI document. It has an environment of its own: its dependencies and stock Buildbot's
/// need not agree.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// A Python environment with Schemathesis; installed on first use.
pub(crate) fn schemathesis_environment() -> Result<PathBuf> {
    python_environment("schemathesis", &[SCHEMATHESIS])
}

/// Installs the page's npm packages, if the lock file changed since they were.
fn page_packages() -> Result<PathBuf> {
    let www = root().join("www");
    let lock = std::fs::read(www.join("package-lock.json")).context("www/package-lock.json")?;
    let stamp = www.join("node_modules/.installed-lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(www);
    }
    run(Command::new("npm").current_dir(&www).args(["ci", "--no-audit", "--no-fund"]))?;
    std::fs::write(stamp, lock)?;
    Ok(www)
}

/// Builds the page into `www/dist`, from where the binary embeds it.
pub(crate) fn page() -> Result<()> {
    let www = page_packages()?;
    run(Command::new("npm").current_dir(www).args(["run", "--silent", "build"]))
}

/// Runs the page's own checks and tests.
pub(crate) fn page_tests() -> Result<()> {
    let www = page_packages()?;
    run(Command::new("npm").current_dir(&www).args(["run", "--silent", "check"]))?;
    run(Command::new("npm").current_dir(&www).args(["test", "--silent"]))
}

/// Whether the page can be built here.
pub(crate) fn has_npm() -> bool {
    is_installed("npm") && is_installed("node")
}
