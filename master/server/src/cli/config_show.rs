//! `buildguild config show`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Directory;
use crate::basedir::Basedir;
use crate::run::load_settings;

/// `buildguild config ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the settings in force and where each comes from; secrets are hidden.
    Show(Show),
}

/// `buildguild config show`
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    directory: Directory,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let Self::Show(show) = self;
        let settings = load_settings(&Basedir::open(&show.directory.basedir)?)?;
        if show.json {
            println!("{}", serde_json::to_string_pretty(settings.effective())?);
            return Ok(ExitCode::SUCCESS);
        }
        let rows = settings.effective();
        let key_width = rows.iter().map(|row| row.key.len()).max().unwrap_or(0);
        let value_width = rows.iter().map(|row| row.value.len()).max().unwrap_or(0);
        for row in rows {
            println!("{:key_width$}  {:value_width$}  {}", row.key, row.value, row.origin);
        }
        Ok(ExitCode::SUCCESS)
    }
}
