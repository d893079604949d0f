//! `buildguild create-master`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

/// `buildguild create-master`
#[derive(Debug, Args)]
pub(crate) struct CreateMaster {
    /// The directory to make.
    basedir: PathBuf,
    /// The name of the farm config.
    #[arg(short, long, default_value = "master.cfg")]
    config: String,
    /// The database: `sqlite:///file`, relative to the directory, or `postgresql://user@host/name`.
    #[arg(long, default_value = "sqlite:///state.sqlite")]
    db: String,
    /// Write into a directory that is there already; files that exist are kept.
    #[arg(short, long)]
    force: bool,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
}

impl CreateMaster {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let made = std::fs::create_dir(&self.basedir);
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let empty = std::fs::read_dir(&self.basedir)?.next().is_none();
                if !empty && !self.force {
                    bail!("{} is not empty; --force writes what is missing in it", self.basedir.display());
                }
            }
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", self.basedir.display())),
        }
        let settings = buildguild_config::sample_settings(&self.db, &self.config);
        write_new(&self.basedir.join("buildguild.toml"), &settings)?;
        write_secret(&self.basedir.join("storage.key"), &buildguild_config::new_storage_key()?)?;
        write_new(&self.basedir.join(&self.config), buildguild_config::SAMPLE_CONFIG)?;
        if !self.quiet {
            let directory = self.basedir.display();
            println!("{directory} is ready: edit {directory}/{}, then", self.config);
            println!("  buildguild checkconfig {directory}");
            println!("  buildguild upgrade-master {directory}");
            println!("  buildguild start {directory}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a file unless it is there: what an admin wrote is never overwritten.
fn write_new(path: &Path, text: &str) -> Result<()> {
    write_with(OpenOptions::new().write(true).create_new(true), path, text)
}

/// The same for the owner's eyes only.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    write_with(OpenOptions::new().write(true).create_new(true).mode(0o600), path, text)
}

fn write_with(options: &mut OpenOptions, path: &Path, text: &str) -> Result<()> {
    match options.open(path) {
        Ok(mut file) => Ok(file.write_all(text.as_bytes())?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}
