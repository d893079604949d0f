//! `create-worker`: makes a worker's directory.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::{CreateArgs, flatten};
use crate::config::{FILE_NAME, WorkerConfig};

const HEADER: &str = "\
# A worker of a Buildguild or Buildbot master. \"buildguild-worker start\" reads this file.
# It holds the worker's password: keep it private, or name a file in password_file instead.
";

pub(super) fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    if args.protocol != "msgpack_experimental_v7" {
        bail!("protocol \"{}\" is not supported: this worker speaks msgpack_experimental_v7", args.protocol);
    }
    let config = WorkerConfig {
        use_tls: args.use_tls,
        tls_ca_file: args.tls_ca_file.clone(),
        keepalive: args.keepalive,
        maxdelay: args.maxdelay,
        maxretries: flatten(args.maxretries.clone()),
        umask: flatten(args.umask.clone()),
        numcpus: flatten(args.numcpus.clone()),
        allow_shutdown: args.allow_shutdown,
        delete_leftover_dirs: args.delete_leftover_dirs,
        log_size: if args.no_logrotate { 0 } else { args.log_size },
        log_count: flatten(args.log_count.clone()).unwrap_or(10),
        ..WorkerConfig::new(
            args.connection_string.as_ref().unwrap_or(&args.master),
            args.name.as_str(),
            args.password.as_str(),
        )
    };
    config.check()?;
    let dir = &args.basedir;
    let say = |text: String| {
        if !args.quiet {
            println!("{text}");
        }
    };
    if dir.is_dir() {
        if !args.force && fs::read_dir(dir)?.next().is_some() {
            bail!("{} exists and is not empty; --force uses it all the same", dir.display());
        }
        say(format!("updating {}", dir.display()));
    } else {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        say(format!("mkdir {}", dir.display()));
    }
    write_config(&dir.join(FILE_NAME), &config)?;
    let info = dir.join("info");
    fs::create_dir_all(&info).with_context(|| format!("cannot make {}", info.display()))?;
    for (name, text) in [
        ("admin", "Your Name Here <admin@youraddress.invalid>\n"),
        ("host", "Please put a description of this build host here\n"),
    ] {
        let path = info.join(name);
        if !path.exists() {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            say(format!("Creating info/{name}, you need to edit it appropriately."));
        }
    }
    say(format!("worker configured in {}", dir.canonicalize()?.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes anew, readable by the owner alone.
fn write_config(path: &Path, config: &WorkerConfig) -> anyhow::Result<()> {
    let text = format!("{HEADER}\n{}", toml::to_string(config)?);
    let new = path.with_extension("toml.new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .with_context(|| format!("cannot write {}", new.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}
