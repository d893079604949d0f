//! `buildguild create-master`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
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
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => Ok(file.write_all(text.as_bytes())?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}
