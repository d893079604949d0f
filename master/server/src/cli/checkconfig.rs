//! `buildguild checkconfig`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use buildguild_config::{FarmSource, Settings, render_all};
use clap::Args;

use crate::basedir::Basedir;
use crate::run;

/// `buildguild checkconfig`
#[derive(Debug, Args)]
pub(crate) struct Checkconfig {
    /// A farm config, or a master's directory.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Say nothing when all is well.
    #[arg(short, long)]
    quiet: bool,
    /// The findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Checkconfig {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (settings, source) = self.source()?;
        let evaluators = run::evaluators(&settings)?;
        let outcome = run::runtime()?.block_on(evaluators.load(&source));
        let (findings, good) = match outcome {
            Ok(loaded) => (loaded.warnings, true),
            Err(diagnostics) => (diagnostics, false),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            if !findings.is_empty() {
                eprintln!("{}", render_all(&findings));
            }
            if good && !self.quiet {
                println!("Config file is good!");
            }
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The settings of the master that the config belongs to, and the config.
    fn source(&self) -> Result<(Settings, FarmSource)> {
        if self.path.is_dir() {
            let basedir = Basedir::open(&self.path)?;
            let settings = run::load_settings(&basedir)?;
            let source = run::farm_source(&basedir, &settings)?;
            return Ok((settings, source));
        }
        let file =
            std::fs::canonicalize(&self.path).with_context(|| format!("no such file: {}", self.path.display()))?;
        let directory = file.parent().unwrap_or(Path::new("/"));
        let name = file.file_name().context("not a file")?.to_string_lossy();
        let settings = run::load_settings(&Basedir::open(directory)?)?;
        Ok((settings, FarmSource::new(directory, name)))
    }
}
